// SPDX-License-Identifier: GPL-2.0
/*
 * bench_database MOUNTPOINT [WORK...]: what a transaction of SQLite costs by the VFS of
 * tools/sqlite, and by SQLite's own VFS with each of its journals, with synchronous=FULL, on a file system
 * like that of MOUNTPOINT on $SCRATCH_DEV1, which is made anew for each.
 *
 *	row	a row of 20,000, at random, gets other contents
 *	rows	50 of them
 *	bulk	1,000 rows of 100 bytes are added
 *
 * WAL has its checkpoints as SQLite makes them, after 1,000 pages: there are as many transactions as
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
#include <err.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "cost.h"

#define EXTENSION	"/usr/local/lib/sqlite3/exchrange_vfs"
#define ROWS		20000u

struct journal {
	const char	*name;
	const char	*vfs;
	const char	*pragmas;
	bool		checkpoints;
};

static const struct journal journals[] = {
	{ "exchrange",		"exchrange",	"PRAGMA journal_mode=DELETE" },
	{ "DELETE",		"unix",		"PRAGMA journal_mode=DELETE" },
	{ "TRUNCATE",		"unix",		"PRAGMA journal_mode=TRUNCATE" },
	{ "PERSIST",		"unix",		"PRAGMA journal_mode=PERSIST" },
	{ "WAL",		"unix",		"PRAGMA journal_mode=WAL", true },
	{ "WAL, no checkpoint",	"unix",		"PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0" },
	{ "MEMORY",		"unix",		"PRAGMA journal_mode=MEMORY" },
};

struct work {
	const char	*name;
	const char	*text;
	unsigned int	transactions;
	unsigned int	wal_transactions;	/* that make one checkpoint, or several */
	void		(*transact)(sqlite3_stmt *statement, unsigned int number);
	const char	*sql;
};

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

/* --- SQLite ----------------------------------------------------------------------------- */

static void execute(sqlite3 *db, const char *sql)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL))
		errx(1, "%s: %s", sql, sqlite3_errmsg(db));
}

static void load_vfs(void)
{
	char *message = NULL;
	sqlite3 *db;

	if (sqlite3_open(":memory:", &db))
		errx(1, "sqlite3_open");
	sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1, NULL);
	if (sqlite3_load_extension(db, EXTENSION, NULL, &message))
		errx(1, "%s: %s", EXTENSION, message);
	sqlite3_close(db);
}

static bool is_exchange(int argc, char **values)
{
	return argc == 1 && values[0] && !strncmp(values[0], "one ", 4);
}

/* It must not be measured that a commit goes another way. */
static int check_exchange(void *context, int argc, char **values, char **names)
{
	(void)context;
	(void)names;
	if (!is_exchange(argc, values))
		errx(1, "PRAGMA exchrange: %s", argc ? values[0] : "nothing");
	return 0;
}

static sqlite3 *open_by(const struct journal *by)
{
	sqlite3 *db;

	if (sqlite3_open_v2(path_of("x.db"), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
			    by->vfs))
		errx(1, "x.db: %s", sqlite3_errmsg(db));
	execute(db, by->pragmas);
	execute(db, "PRAGMA synchronous=FULL");
	if (!strcmp(by->vfs, "exchrange") &&
	    sqlite3_exec(db, "PRAGMA exchrange", check_exchange, NULL, NULL))
		errx(1, "PRAGMA exchrange: %s", sqlite3_errmsg(db));
	return db;
}

static void make_table(sqlite3 *db)
{
	char sql[200];

	execute(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
	snprintf(sql, sizeof(sql), "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %u) INSERT INTO t SELECT i, hex(zeroblob(50)) FROM n",
		 ROWS);
	execute(db, sql);
}

/* --- the transactions --------------------------------------------------------------------- */

static void step(sqlite3_stmt *statement)
{
	if (sqlite3_step(statement) != SQLITE_DONE)
		errx(1, "%s", sqlite3_errmsg(sqlite3_db_handle(statement)));
	sqlite3_reset(statement);
}

static void update_row(sqlite3_stmt *statement, unsigned int number)
{
	char text[101];

	snprintf(text, sizeof(text), "%0100u", number);
	sqlite3_bind_text(statement, 1, text, -1, SQLITE_STATIC);
	sqlite3_bind_int(statement, 2, 1 + rand() % ROWS);
	step(statement);
}

static void update_rows(sqlite3_stmt *statement, unsigned int number)
{
	unsigned int i;

	for (i = 0; i < 50; i++)
		update_row(statement, number);
}

static void add_rows(sqlite3_stmt *statement, unsigned int number)
{
	char text[101];
	unsigned int i;

	snprintf(text, sizeof(text), "%0100u", number);
	sqlite3_bind_text(statement, 1, text, -1, SQLITE_STATIC);
	for (i = 0; i < 1000; i++)
		step(statement);
}

static const struct work works[] = {
	{ "row", "a row", 200, 1010, update_row, "UPDATE t SET b = ?1 WHERE a = ?2" },
	{ "rows", "50 rows", 30, 63, update_rows, "UPDATE t SET b = ?1 WHERE a = ?2" },
	{ "bulk", "1,000 new rows", 30, 72, add_rows, "INSERT INTO t(b) VALUES(?1)" },
};

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

static bool is_asked_for(const struct work *work, int argc, char **argv)
{
	int i;

	for (i = 2; i < argc; i++)
		if (!strcmp(argv[i], work->name))
			return true;
	return argc == 2;
}

static void measure(const char *name, const char *mkfs, unsigned int count, int argc, char **argv)
{
	unsigned int i;

	for (i = 0; i < COUNT(works); i++)
		if (is_asked_for(&works[i], argc, argv))
			measure_work(name, mkfs, &works[i], count);
}

int main(int argc, char **argv)
{
	start(2, argv);
	load_vfs();
	print_header();
	if (is_btrfs()) {
		measure("btrfs", "mkfs.btrfs -q -f", COUNT(journals), argc, argv);
		return 0;
	}
	measure("XFS, exchange=0", "mkfs.xfs -q -f -i exchange=0", COUNT(journals), argc, argv);
	/* For the others the feature makes no difference. */
	if (kernel_has_own_exchange())
		measure("XFS, exchange=1", "mkfs.xfs -q -f -i exchange=1", 1, argc, argv);
	return 0;
}
#endif
