// SPDX-License-Identifier: GPL-2.0
/*
 * bench_database MOUNTPOINT [WORK...]: what a transaction of SQLite costs by the VFS of
 * tools/sqlite, and by SQLite's own VFS with each of its journals, with synchronous=FULL, on a file system
 * like that of MOUNTPOINT on $SCRATCH_DEV1, which is made anew for each.
 *
 * The transactions are those of database.h.  WAL has its checkpoints as SQLite makes them, after 1,000 pages: there are as many transactions as
 * it takes for one or two, from an empty WAL on.  "WAL, no checkpoint" has none: its file grows.  MEMORY loses the database
 * in a crash; it is here as the floor of what SQLite itself takes.
 *
 * A line has, for each transaction: time, or instructions (`selftests/guest/run --icount`: of SQLite,
 * the VFS and the kernel), write requests, KiB and flushes, all until COMMIT has returned, and
 * the pages that SQLite's cache has written; then the size of all the database's files in the end.
 * What follows are ratios to ours: how many times as many transactions in a second (or for as many
 * instructions) ours makes.
 */
#if !__has_include(<sqlite3.h>)
#include <stdio.h>

int main(void)
{
	fprintf(stderr, "bench_database was built without libsqlite3-dev\n");
	return 4;
}
#else
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common.h"
#include "cost.h"
#include "database.h"

struct result {
	double		count;		/* transactions */
	struct cost	cost;		/* of all transactions */
	double		pages;		/* likewise, that SQLite's cache has written */
	double		files;		/* KiB */
};

static const char *disk(void)
{
	return getenv("SCRATCH_DEV1");
}

static void transact(sqlite3 *db, const struct work *work, sqlite3_stmt *statement,
		     unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		execute(db, "BEGIN");
		work->transact(statement, i);
		execute(db, "COMMIT");
	}
}

static double size_of_files(void)
{
	struct outcome outcome = run_and_keep("cat %s* | wc -c", path_of("x.db"));
	double size = strtod(outcome.out, NULL) / 1024;

	drop_outcome(&outcome);
	return size;
}

static struct result measure_journal(const struct journal *by, const struct work *work)
{
	struct result result = {
		.count = by->checkpoints ? work->wal_transactions : work->transactions,
	};
	sqlite3_stmt *statement;
	struct cost before;
	int pages, highest;
	sqlite3 *db;

	db = open_by(by);
	make_table(db);
	if (sqlite3_prepare_v2(db, work->sql, -1, &statement, NULL))
		errx(1, "%s: %s", work->sql, sqlite3_errmsg(db));
	srand(1);
	/* What the first ones make is there for the others. */
	transact(db, work, statement, 10);
	if (by->checkpoints)
		execute(db, "PRAGMA wal_checkpoint(TRUNCATE)");
	sync();
	sqlite3_db_status(db, SQLITE_DBSTATUS_CACHE_WRITE, &pages, &highest, 1);
	before = read_cost(disk());
	transact(db, work, statement, result.count);
	result.cost = cost_since(&before, disk());
	sqlite3_db_status(db, SQLITE_DBSTATUS_CACHE_WRITE, &pages, &highest, 0);
	result.pages = pages;
	result.files = size_of_files();
	sqlite3_finalize(statement);
	sqlite3_close(db);
	return result;
}

/* --- the table ------------------------------------------------------------------------------ */

static void print_header(void)
{
	printf("\n| file system | transaction | by | %s | writes | KiB | flushes | pages of SQLite | KiB of all files | ours makes times as many |\n",
	       cost_unit());
	printf("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
}

static void print_result(const char *name, const struct work *work, const struct journal *by,
			 const struct result *result, const struct result *ours)
{
	const double count = result->count, each = result->cost.ms / count;

	printf("| %s | %s | %s | %.3g | %.2f | %.1f | %.2f | %.1f | %.0f | %.2f |\n", name, work->text,
	       by->name, each, result->cost.writes / count, result->cost.sectors / 2 / count,
	       result->cost.flushes / count, result->pages / count, result->files,
	       each / (ours->cost.ms / ours->count));
	fflush(stdout);
}

/* Of the first @count of journals[]. */
static void measure_work(const char *name, const char *mkfs, const struct work *work,
			 unsigned int count)
{
	struct result ours = { }, result;
	unsigned int i;

	for (i = 0; i < count; i++) {
		enter_scratch(mkfs, "defaults");
		result = measure_journal(&journals[i], work);
		leave_scratch();
		if (i == 0)
			ours = result;
		print_result(name, work, &journals[i], &result, &ours);
	}
}

static void measure(const char *name, const char *mkfs, unsigned int count, char **names)
{
	unsigned int i;

	for (i = 0; i < COUNT(works); i++)
		if (is_asked_for(&works[i], names))
			measure_work(name, mkfs, &works[i], count);
}

int main(int argc, char **argv)
{
	start(argc < 2 ? argc : 2, argv);
	load_vfs();
	print_header();
	if (is_btrfs()) {
		measure("btrfs", "mkfs.btrfs -q -f", COUNT(journals), argv + 2);
		return 0;
	}
	measure("XFS, exchange=0", "mkfs.xfs -q -f -i exchange=0", COUNT(journals), argv + 2);
	/* For the others the feature makes no difference. */
	if (mkfs_knows_exchange())
		measure("XFS, exchange=1", "mkfs.xfs -q -f -i exchange=1", 1, argv + 2);
	return 0;
}
#endif
