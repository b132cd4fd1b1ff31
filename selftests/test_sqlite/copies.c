// SPDX-License-Identifier: GPL-2.0
/*
 * Copies that are made while transactions are committed, without asking SQLite: each is a good
 * database, of one transaction, and not older than what was acknowledged before.
 */
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "database.h"

#define ROWS	300u

/* Shared with the writer. */
struct progress {
	volatile unsigned int	acknowledged;
	volatile bool		ends;
};

/* Not common's, which needs the device. */
static bool has_snapshots(void)
{
	struct statfs fs;

	assert_int_equal(statfs(mount_point, &fs), 0);
	return fs.f_type == BTRFS_SUPER_MAGIC;
}

static struct progress *start_progress(void)
{
	struct progress *progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(progress != MAP_FAILED);
	return progress;
}

/* Transaction k gives k to all rows, and makes the database longer or shorter. */
static void write_always(const char *name, struct progress *progress)
{
	static const char *const journals[] = { "DELETE", "MEMORY", "OFF" };
	sqlite3 *db = open_by(&by_exchange, name);
	unsigned int k;

	execute(db, "PRAGMA cache_size=10");
	for (k = 1; !progress->ends; k++) {
		execute(db, "PRAGMA journal_mode=%s; PRAGMA synchronous=%s",
			journals[k % COUNT(journals)], k % 2 ? "FULL" : "OFF");
		execute(db, "BEGIN; UPDATE t SET c = %u", k);
		if (k % 5 == 1)
			execute(db, "UPDATE t SET b = zeroblob(900) WHERE a %% 3 = 0");
		if (k % 5 == 3)
			execute(db, "UPDATE t SET b = NULL");
		execute(db, "COMMIT");
		progress->acknowledged = k;
	}
	close_database(db);
}

/* By SQLite's own VFS through a mapping: it takes locks, and sees one transaction. */
static void read_mapped(const char *name, struct progress *progress)
{
	while (!progress->ends) {
		sqlite3 *db = open_plainly(name);

		execute(db, "PRAGMA mmap_size=100000000");
		assert_string_equal(text_of(db, "SELECT min(c) = max(c) AND count(*) = 300 FROM t"), "1");
		close_database(db);
		usleep(20000);
	}
}

static void assert_copy(const char *name, unsigned int acknowledged, unsigned int begun)
{
	sqlite3 *db = open_plainly(name);
	sqlite3_int64 k;

	assert_string_equal(text_of(db, "PRAGMA integrity_check"), "ok");
	k = number_of(db, "SELECT c FROM t WHERE a = 1");
	assert_int_equal(number_of(db, "SELECT count(*) FROM t WHERE c = %lld", (long long)k), ROWS);
	assert_true(k >= acknowledged);
	assert_true(k <= begun);
	close_database(db);
}

static void copy_once(struct progress *progress, bool snapshot)
{
	unsigned int acknowledged;

	usleep(rand() % 60000);
	acknowledged = progress->acknowledged;
	if (snapshot)
		assert_int_equal(run("btrfs -q subvolume snapshot live copy"), 0);
	else
		assert_int_equal(run("mkdir copy && cp --reflink=always live/x.db copy/"), 0);
	assert_int_equal(run("test $(ls copy | wc -l) = 1"), 0);
	assert_copy("copy/x.db", acknowledged, progress->acknowledged + 1);
	assert_int_equal(run(snapshot ? "btrfs -q subvolume delete copy" : "rm -r copy"), 0);
}

static void copies_at_random_moments(void **state)
{
	const unsigned int rounds = 10 + 100 / test_share();
	struct progress *progress = start_progress();
	pid_t writer, reader;
	unsigned int i;
	int status;
	sqlite3 *db;

	(void)state;
	begin_by(&by_exchange);
	assert_int_equal(run(has_snapshots() ? "btrfs -q subvolume create live" : "mkdir live"), 0);
	db = open_by(&by_exchange, "live/x.db");
	execute(db, "PRAGMA auto_vacuum=FULL; CREATE TABLE t(a INTEGER PRIMARY KEY, b, c)");
	execute(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %u) INSERT INTO t SELECT i, NULL, 0 FROM n",
		ROWS);
	close_database(db);

	writer = start_child();
	if (writer == 0) {
		write_always("live/x.db", progress);
		_exit(0);
	}
	reader = start_child();
	if (reader == 0) {
		read_mapped("live/x.db", progress);
		_exit(0);
	}
	for (i = 0; i < rounds; i++)
		copy_once(progress, has_snapshots() && i % 2);
	progress->ends = true;
	assert_int_equal(waitpid(writer, &status, 0), writer);
	assert_int_equal(status, 0);
	assert_int_equal(waitpid(reader, &status, 0), reader);
	assert_int_equal(status, 0);
	assert_true(progress->acknowledged > 5);
	assert_whole("live/x.db");
	munmap(progress, sizeof(*progress));
}

void add_copies(void)
{
	add_test("copies", "at random moments", copies_at_random_moments, NULL);
}
