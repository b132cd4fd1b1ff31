// SPDX-License-Identifier: GPL-2.0
/*
 * bench_transactions MOUNTPOINT MICROSECONDS [WORK...]: transactions of SQLite a second, and their 99th
 * percentile, on a disk of which each request takes so long (slow_disk.h).  The file system on it is one
 * like that of MOUNTPOINT, made anew for each journal.
 *
 * The works are those of database.h, and
 *
 *	several	two writers, each in a process of its own, update a row again and again, while two
 *		readers read 50 rows each millisecond
 *
 * In a guest of `selftests/guest/run --virtual-time` the processor takes a nanosecond for each instruction,
 * and where it waits for the disk that takes what the disk takes, no more.  So both are models, but all that
 * runs is real; only ratios are printed, to ours.
 */
#if !__has_include(<sqlite3.h>)
#include <stdio.h>

int main(void)
{
	fprintf(stderr, "bench_transactions was built without libsqlite3-dev\n");
	return 4;
}
#else
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common.h"
#include "database.h"
#include "slow_disk.h"

#define WRITERS		2u
#define READERS		2u
#define EACH		100u	/* transactions of a writer */
#define MOST		2000u	/* of all of them */

/* What the processes of "several" share. */
struct shared {
	unsigned int	writing;	/* writers that are not done */
	double		done[WRITERS];	/* ns: when they were */
	uint64_t	reads;
	uint64_t	refused;	/* a writer or reader waited for ten seconds */
	double		took[MOST];	/* ns of each transaction */
};

static struct shared *shared;
static unsigned int disk_us;

struct result {
	double		per_second;
	double		p99;		/* ns */
	double		reads;		/* per second */
	uint64_t	refused;
};

static double now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

/* --- the transactions ----------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double percentile_99(double *values, unsigned int count)
{
	qsort(values, count, sizeof(*values), compare);
	return values[(count * 99 + 99) / 100 - 1];
}

/* At least fifty, and of a WAL with as many checkpoints as belong to them. */
static unsigned int count_of(const struct journal *by, const struct work *work)
{
	unsigned int count = by->checkpoints ? work->wal_transactions : work->transactions;

	return (50 + count - 1) / count * count;
}

static struct result measure_one(const struct journal *by, const struct work *work)
{
	const unsigned int count = count_of(by, work);
	sqlite3 *db = open_by(by);
	struct result result = { };
	sqlite3_stmt *statement;
	double begin, before;
	unsigned int i;

	assert_true(count <= MOST);
	make_table(db);
	if (sqlite3_prepare_v2(db, work->sql, -1, &statement, NULL))
		errx(1, "%s: %s", work->sql, sqlite3_errmsg(db));
	srand(1);
	for (i = 0; i < 10; i++)
		work->transact(statement, i);
	if (by->checkpoints)
		execute(db, "PRAGMA wal_checkpoint(TRUNCATE)");
	sync();
	begin = now_ns();
	for (i = 0; i < count; i++) {
		before = now_ns();
		execute(db, "BEGIN");
		work->transact(statement, i);
		execute(db, "COMMIT");
		shared->took[i] = now_ns() - before;
	}
	result.per_second = count / (now_ns() - begin) * 1e9;
	result.p99 = percentile_99(shared->took, count);
	sqlite3_finalize(statement);
	sqlite3_close(db);
	return result;
}

/* --- several at once -------------------------------------------------------------------------- */

static int count_refused(int code)
{
	if (code == SQLITE_BUSY)
		__atomic_add_fetch(&shared->refused, 1, __ATOMIC_SEQ_CST);
	else if (code)
		errx(1, "several: error %d of SQLite", code);
	return code;
}

/* From the moment when it wants to write: waiting for the other is a part of it. */
static void write_rows(const struct journal *by, unsigned int writer)
{
	sqlite3 *db = open_by(by);
	unsigned int i;
	char sql[100];

	srand(writer + 1);
	for (i = 0; i < EACH; i++) {
		const double before = now_ns();

		while (count_refused(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL)))
			continue;
		snprintf(sql, sizeof(sql), "UPDATE t SET b = hex(randomblob(50)) WHERE a = %u",
			 1 + rand() % ROWS);
		execute(db, sql);
		while (count_refused(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL)))
			continue;
		shared->took[writer * EACH + i] = now_ns() - before;
	}
	shared->done[writer] = now_ns();
	__atomic_sub_fetch(&shared->writing, 1, __ATOMIC_SEQ_CST);
	sqlite3_close(db);
}

static void read_rows(const struct journal *by, unsigned int reader)
{
	sqlite3 *db = open_by(by);
	char sql[100];

	srand(100 + reader);
	while (__atomic_load_n(&shared->writing, __ATOMIC_SEQ_CST)) {
		unsigned int first = rand() % ROWS;

		snprintf(sql, sizeof(sql), "SELECT sum(length(b)) FROM t WHERE a BETWEEN %u AND %u",
			 first, first + 49);
		if (!count_refused(sqlite3_exec(db, sql, NULL, NULL, NULL)))
			__atomic_add_fetch(&shared->reads, 1, __ATOMIC_SEQ_CST);
		usleep(1000);
	}
	sqlite3_close(db);
}

/* Each opens the database itself: SQLite's locks are a process's. */
static struct result measure_several(const struct journal *by)
{
	struct result result = { };
	sqlite3 *db = open_by(by);
	double begin, end = 0;
	unsigned int i;
	int status;

	make_table(db);
	sqlite3_close(db);
	sync();
	*shared = (struct shared) { .writing = WRITERS };
	fflush(stdout);
	begin = now_ns();
	for (i = 0; i < WRITERS + READERS; i++) {
		if (fork())
			continue;
		if (i < WRITERS)
			write_rows(by, i);
		else
			read_rows(by, i);
		_exit(0);
	}
	while (wait(&status) > 0)
		if (status)
			errx(1, "several: a process has ended with %d", status);
	for (i = 0; i < WRITERS; i++)
		if (shared->done[i] > end)
			end = shared->done[i];
	result.per_second = WRITERS * EACH / (end - begin) * 1e9;
	result.reads = shared->reads / (end - begin) * 1e9;
	result.refused = shared->refused;
	result.p99 = percentile_99(shared->took, WRITERS * EACH);
	return result;
}

/* --- the table ------------------------------------------------------------------------------ */

static void print_header(void)
{
	printf("\n| file system | disk | transaction | by | ours makes times as many a second | 99th percentile, times ours | reads a second, times ours | given up after 10 s |\n");
	printf("| --- | --- | --- | --- | --- | --- | --- | --- |\n");
}

/* @work is NULL for "several", which has readers; ours may all have found the database locked. */
static void print_result(const char *name, const struct work *work, const struct journal *by,
			 const struct result *result, const struct result *ours)
{
	const char *text = work ? work->text : "several writers and readers";

	printf("| %s | %u µs | %s | %s | %.2f | %.2f | ", name, disk_us, text, by->name,
	       ours->per_second / result->per_second, result->p99 / ours->p99);
	if (work)
		printf("| |\n");
	else if (ours->reads)
		printf("%.2f | %" PRIu64 " |\n", result->reads / ours->reads, result->refused);
	else
		printf("%.0f, ours 0 | %" PRIu64 " |\n", result->reads, result->refused);
	/* For whoever looks at the run, not a figure. */
	printf("# %s, %u us, %s, %s: %.1f a second, p99 %.2f ms\n", name, disk_us, text, by->name,
	       result->per_second, result->p99 / 1e6);
	fflush(stdout);
}

/* @work is NULL for "several".  Of the first @count of journals[]. */
static void measure_work(const char *name, const char *mkfs, const struct work *work,
			 unsigned int count)
{
	struct result ours = { }, result;
	unsigned int i;

	for (i = 0; i < count; i++) {
		make_slow_disk(disk_us);
		enter_scratch(mkfs, "defaults");
		result = work ? measure_one(&journals[i], work) : measure_several(&journals[i]);
		unmount_scratch();
		remove_slow_disk();
		if (i == 0)
			ours = result;
		print_result(name, work, &journals[i], &result, &ours);
	}
}

static void measure(const char *name, const char *mkfs, unsigned int count, char **names)
{
	static const struct work several = { .name = "several" };
	unsigned int i;

	for (i = 0; i < COUNT(works); i++)
		if (is_asked_for(&works[i], names))
			measure_work(name, mkfs, &works[i], count);
	if (is_asked_for(&several, names))
		measure_work(name, mkfs, NULL, count);
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "usage: bench_transactions MOUNTPOINT MICROSECONDS [WORK...]\n");
		return 2;
	}
	start(2, argv);
	load_vfs();
	disk_us = strtoul(argv[2], NULL, 10);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(shared != MAP_FAILED);
	print_header();
	if (is_btrfs()) {
		measure("btrfs", "mkfs.btrfs -q -f", COUNT(journals), argv + 3);
		return 0;
	}
	measure("XFS, exchange=0", "mkfs.xfs -q -f -i exchange=0", COUNT(journals), argv + 3);
	return 0;
}
#endif
