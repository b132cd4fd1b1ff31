// SPDX-License-Identifier: GPL-2.0
/*
 * What several connections, databases and VFSs do together; what is opened, and what is
 * refused.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/wait.h>
#include <unistd.h>

#include "database.h"

#define SPILL	"PRAGMA cache_size=4;"

static void fill(sqlite3 *db, unsigned int rows)
{
	execute(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b, c)");
	execute(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %u) INSERT INTO t SELECT i, hex(zeroblob(100)), 0 FROM n",
		rows);
}

/* --- readers ---------------------------------------------------------------------------- */

/* What a transaction has written so far is seen by its own connection, and by nobody else. */
static void others_see_the_last_commit(const struct manner *manner)
{
	sqlite3 *db = open_by(manner, "x.db"), *copy;

	fill(db, 1000);
	execute(db, "PRAGMA mmap_size=100000000;" SPILL "BEGIN; UPDATE t SET c = 1");
	assert_int_equal(number_of(db, "SELECT sum(c) FROM t"), 1000);
	/* SQLite's locks keep others out once it has written; the file itself is as it was. */
	assert_int_equal(run("cp x.db copy.db && test $(ls | wc -l) = 2"), 0);
	copy = open_plainly("copy.db");
	assert_int_equal(number_of(copy, "SELECT sum(c) FROM t"), 0);
	assert_string_equal(text_of(copy, "PRAGMA integrity_check"), "ok");
	close_database(copy);

	execute(db, "ROLLBACK");
	assert_int_equal(number_of(db, "SELECT sum(c) FROM t"), 0);
	execute(db, "BEGIN; UPDATE t SET c = 2; COMMIT");
	close_database(db);
	copy = open_plainly("x.db");
	assert_int_equal(number_of(copy, "SELECT sum(c) FROM t"), 2000);
	close_database(copy);
	assert_whole("x.db");
}

/* A page that was mapped before it was written and spilled: the reader gets the new one. */
static void mapped_pages_of_the_own_transaction(const struct manner *manner)
{
	sqlite3 *db = open_by(manner, "x.db");
	unsigned int i;

	fill(db, 3000);
	execute(db, "PRAGMA mmap_size=100000000; PRAGMA cache_size=3");
	for (i = 1; i <= 5; i++) {
		execute(db, "BEGIN");
		assert_int_equal(number_of(db, "SELECT sum(c) FROM t"), 3000 * (i - 1));
		execute(db, "UPDATE t SET c = c + 1");
		assert_int_equal(number_of(db, "SELECT sum(c) FROM t"), 3000 * i);
		execute(db, "INSERT INTO t(b, c) SELECT hex(zeroblob(200)), 0 FROM t LIMIT 500");
		assert_int_equal(number_of(db, "SELECT sum(c) FROM t"), 3000 * i);
		execute(db, "DELETE FROM t WHERE a > 3000; COMMIT");
	}
	close_database(db);
	assert_whole("x.db");
}

static void read_only_and_immutable(const struct manner *manner)
{
	sqlite3 *db = open_by(manner, "x.db"), *reader;
	char uri[100];

	fill(db, 10);
	snprintf(uri, sizeof(uri), "%s&mode=ro", manner->uri);
	reader = open_database("x.db", uri);
	assert_int_equal(number_of(reader, "SELECT count(*) FROM t"), 10);
	assert_int_equal(try(reader, "DELETE FROM t"), SQLITE_READONLY);
	assert_string_equal(text_of(reader, "PRAGMA exchrange"), "no: it is open for reading only");
	execute(db, "DELETE FROM t WHERE a > 5");
	assert_int_equal(number_of(reader, "SELECT count(*) FROM t"), 5);
	close_database(reader);

	snprintf(uri, sizeof(uri), "%s&immutable=1", manner->uri);
	reader = open_database("x.db", uri);
	assert_int_equal(number_of(reader, "SELECT count(*) FROM t"), 5);
	close_database(reader);
	close_database(db);

	/* Without locks there is no unlock that would end a transaction. */
	snprintf(uri, sizeof(uri), "%s&nolock=1", manner->uri);
	db = open_database("x.db", uri);
	execute(db, SPILL "BEGIN; INSERT INTO t(b) SELECT hex(zeroblob(3000)) FROM t; ROLLBACK");
	assert_int_equal(number_of(db, "SELECT count(*) FROM t"), 5);
	execute(db, "PRAGMA journal_mode=OFF; BEGIN; INSERT INTO t(b) SELECT hex(zeroblob(9000)) FROM t");
	(void)try(db, "ROLLBACK");
	assert_int_equal(number_of(db, "SELECT count(*) FROM t"), 5);
	execute(db, "DELETE FROM t WHERE a = 1");
	close_database(db);
	assert_whole("x.db");
}

/* --- writers ------------------------------------------------------------------------------ */

static void add_ones(const char *uri, unsigned int count)
{
	sqlite3 *db = open_database("x.db", uri);

	while (count--) {
		execute(db, "BEGIN IMMEDIATE; UPDATE t SET c = c + 1 WHERE a = 1");
		execute(db, "UPDATE t SET c = c - 1 WHERE a = 900; COMMIT");
	}
	close_database(db);
}

/* Processes with this VFS and with SQLite's own: no sum is lost, none is seen half. */
static void writers_and_readers(const struct manner *manner)
{
	const char *uris[] = { manner->uri, manner->uri, "vfs=unix" };
	const unsigned int rounds = 150 / test_share();
	sqlite3 *db = open_by(manner, "x.db");
	unsigned int i, left = COUNT(uris);
	pid_t pids[COUNT(uris)];
	int status;

	fill(db, 900);
	for (i = 0; i < COUNT(uris); i++) {
		pids[i] = start_child();
		if (pids[i] == 0) {
			/* No connection of the parent's is touched here. */
			add_ones(uris[i], rounds);
			_exit(0);
		}
	}
	while (left) {
		assert_int_equal(number_of(db, "SELECT sum(c) FROM t"), 0);
		if (waitpid(-1, &status, WNOHANG) > 0) {
			assert_int_equal(status, 0);
			left--;
		}
	}
	assert_int_equal(number_of(db, "SELECT c FROM t WHERE a = 1"), COUNT(uris) * rounds);
	close_database(db);
	assert_whole("x.db");
}

struct thread {
	const struct manner	*manner;
	unsigned int		rounds;
};

static void *thread_main(void *argument)
{
	const struct thread *thread = argument;
	sqlite3 *db = open_by(thread->manner, "x.db");
	unsigned int i;

	/* Connections of one process have one process's locks: none is lost by another's close. */
	for (i = 0; i < thread->rounds; i++) {
		sqlite3 *other = open_by(thread->manner, "x.db");

		execute(db, "BEGIN IMMEDIATE; UPDATE t SET c = c + 1 WHERE a = 1");
		assert_true(number_of(other, "SELECT count(*) FROM t") >= 0);
		execute(db, "COMMIT");
		close_database(other);
	}
	close_database(db);
	return NULL;
}

static void threads_of_one_process(const struct manner *manner)
{
	struct thread thread = { .manner = manner, .rounds = 100 / test_share() };
	sqlite3 *db = open_by(thread.manner, "x.db");
	pthread_t threads[4];
	unsigned int i;

	fill(db, 10);
	for (i = 0; i < COUNT(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, thread_main, &thread), 0);
	for (i = 0; i < COUNT(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(number_of(db, "SELECT c FROM t WHERE a = 1"),
			 COUNT(threads) * thread.rounds);
	close_database(db);
	assert_whole("x.db");
}

/*
 * One connection's transaction keeps its locks while another of the process is opened
 * and closed.  A child would believe in the locks that SQLite remembers;
 * another program asks the kernel.
 */
static void locks_stay(const struct manner *manner)
{
	static const char *const refused = "! sqlite3 x.db 'BEGIN IMMEDIATE' 2>/dev/null";
	sqlite3 *db = open_by(manner, "x.db"), *other;

	fill(db, 100);
	execute(db, "BEGIN IMMEDIATE; UPDATE t SET c = 1");
	assert_int_equal(run("%s", refused), 0);
	other = open_by(manner, "x.db");
	assert_int_equal(number_of(other, "SELECT count(*) FROM t"), 100);
	assert_int_equal(run("%s", refused), 0);
	close_database(other);
	assert_int_equal(run("%s", refused), 0);
	execute(db, SPILL "INSERT INTO t(b) SELECT hex(zeroblob(2000)) FROM t");
	assert_int_equal(run("%s", refused), 0);
	execute(db, "COMMIT");
	assert_int_equal(run("sqlite3 x.db 'BEGIN IMMEDIATE'"), 0);
	close_database(db);
}

/* --- several databases ---------------------------------------------------------------------- */

static sqlite3 *open_pair(const char *uri, const char *uri2)
{
	sqlite3 *db = open_database("x.db", uri);

	execute(db, "ATTACH 'file:y.db?%s' AS y", uri2);
	execute(db, "CREATE TABLE IF NOT EXISTS main.t(a INTEGER PRIMARY KEY, c)");
	execute(db, "CREATE TABLE IF NOT EXISTS y.u(a INTEGER PRIMARY KEY, c)");
	execute(db, "INSERT OR IGNORE INTO t VALUES(1, 1000); INSERT OR IGNORE INTO u VALUES(1, 0)");
	return db;
}

static sqlite3_int64 on_disk(const char *name, const char *table)
{
	sqlite3 *db = open_plainly(name);
	sqlite3_int64 value = number_of(db, "SELECT c FROM %s", table);

	close_database(db);
	return value;
}

static const char *const transfer =
	"BEGIN; UPDATE t SET c = c - 1; UPDATE u SET c = c + 1; COMMIT";

/* With a super-journal, and where SQLite makes none. */
static void attached_databases(const struct manner *manner)
{
	static const char *const modes[] = {
		"", "PRAGMA main.journal_mode=TRUNCATE; PRAGMA y.journal_mode=PERSIST",
		"PRAGMA main.journal_mode=MEMORY; PRAGMA y.journal_mode=MEMORY",
		"PRAGMA main.synchronous=OFF; PRAGMA y.synchronous=OFF",
		"PRAGMA main.journal_mode=OFF; PRAGMA y.journal_mode=DELETE",
		"PRAGMA locking_mode=EXCLUSIVE",
	};
	unsigned int i, j;
	sqlite3 *db;

	for (i = 0; i < COUNT(modes); i++) {
		db = open_pair(manner->uri, manner->uri);
		execute(db, "%s", modes[i]);
		for (j = 0; j < 5; j++)
			execute(db, "%s", transfer);
		/* One of them has no change. */
		execute(db, "BEGIN IMMEDIATE; UPDATE t SET c = c - 1; COMMIT");
		execute(db, "BEGIN IMMEDIATE; UPDATE u SET c = c + 1; COMMIT");
		/* None has. */
		execute(db, "BEGIN IMMEDIATE; COMMIT");
		execute(db, "BEGIN; UPDATE t SET c = 5; UPDATE u SET c = 6");
		(void)try(db, "ROLLBACK");
		assert_int_equal(number_of(db, "SELECT t.c + u.c FROM t, u"), 1000);
		close_database(db);
		assert_int_equal(on_disk("y.db", "u"), 6 * (i + 1));
		assert_int_equal(on_disk("x.db", "t"), 1000 - 6 * (i + 1));
		assert_int_equal(count_files(""), 4);	/* with . and .. */
	}
	assert_whole("x.db");
	assert_whole("y.db");
}

/* No name appears beside the databases while they are committed. */
static void no_journal_on_the_disk(void **state)
{
	int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	char events[4096];
	sqlite3 *db;

	(void)state;
	begin_by(&by_exchange);
	db = open_pair(by_exchange.uri, by_exchange.uri);
	assert_true(inotify_add_watch(watch, ".", IN_CREATE | IN_MOVED_TO) >= 0);
	execute(db, SPILL);
	execute(db, "%s", transfer);
	execute(db, "BEGIN; CREATE TABLE v(x); INSERT INTO v SELECT zeroblob(100000); COMMIT");
	execute(db, "BEGIN; DELETE FROM v; ROLLBACK");
	execute(db, "VACUUM");
	assert_int_equal(read(watch, events, sizeof(events)), -1);
	close(watch);
	close_database(db);
}

/* Databases of two VFSs in one transaction, either of them the first. */
static void attached_to_other_vfs(const struct manner *manner)
{
	const char *uris[][2] = { { manner->uri, "vfs=unix" }, { "vfs=unix", manner->uri } };
	unsigned int i, j;

	for (i = 0; i < COUNT(uris); i++) {
		sqlite3 *db = open_pair(uris[i][0], uris[i][1]);

		for (j = 0; j < 5; j++)
			execute(db, "%s", transfer);
		execute(db, "BEGIN; UPDATE t SET c = 5; UPDATE u SET c = 6; ROLLBACK");
		assert_int_equal(number_of(db, "SELECT t.c + u.c FROM t, u"), 1000);
		close_database(db);
		assert_int_equal(on_disk("y.db", "u"), 5 * (i + 1));
		assert_int_equal(on_disk("x.db", "t"), 1000 - 5 * (i + 1));
		assert_int_equal(count_files(""), 4);
	}
}

/*
 * A file that is opened by a VFS which is put on this one, and does not hand on all that SQLite
 * says: with a journal that it does not name, or without the calls that end a transaction.
 */
static void under_another_vfs(const struct manner *manner)
{
	const char *journal[] = { "exchrange", "journal" };
	sqlite3_vfs *vfs = sqlite3_vfs_find("exchrange");
	sqlite3_file *file = calloc(1, vfs->szOsFile);
	char full[300], beside[320], page[BLOCK];
	unsigned int i;

	assert_non_null(file);
	for (i = 0; i < 2; i++) {
		const char *name;
		int flags;

		snprintf(full, sizeof(full), "%s/sqlite/piece%u", mount_point, i);
		snprintf(beside, sizeof(beside), "%s-journal", full);
		name = sqlite3_create_filename(full, i ? beside : "", "", !manner->exchanges,
					       journal);
		assert_int_equal(vfs->xOpen(vfs, name, file, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
					    SQLITE_OPEN_MAIN_DB, &flags), SQLITE_OK);
		memset(page, 'a' + i, sizeof(page));
		assert_int_equal(file->pMethods->xLock(file, SQLITE_LOCK_SHARED), SQLITE_OK);
		assert_int_equal(file->pMethods->xLock(file, SQLITE_LOCK_RESERVED), SQLITE_OK);
		assert_int_equal(file->pMethods->xLock(file, SQLITE_LOCK_EXCLUSIVE), SQLITE_OK);
		assert_int_equal(file->pMethods->xWrite(file, page, sizeof(page), 0), SQLITE_OK);
		assert_int_equal(file->pMethods->xSync(file, SQLITE_SYNC_NORMAL), SQLITE_OK);
		assert_int_equal(file->pMethods->xUnlock(file, SQLITE_LOCK_NONE), SQLITE_OK);
		assert_int_equal(file->pMethods->xClose(file), SQLITE_OK);
		assert_int_equal(run("test $(tr -d %c <%s | wc -c) = 0 && test $(stat -c %%s %s) = 4096",
				     'a' + i, full, full), 0);
		sqlite3_free_filename((void *)name);
	}
	free(file);
}

/* A VFS on top may make a database longer by a truncate, where SQLite itself only hints at it. */
static void longer_by_a_truncate(const struct manner *manner)
{
	sqlite3 *db = open_by(manner, "x.db");
	sqlite3_file *file;
	char same[100];

	fill(db, 10);
	snprintf(same, sizeof(same), "test $(stat -c %%s x.db) = %lld",
		 number_of(db, "PRAGMA page_count") * number_of(db, "PRAGMA page_size"));
	execute(db, "BEGIN IMMEDIATE");
	assert_int_equal(sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file),
			 SQLITE_OK);
	assert_int_equal(file->pMethods->xTruncate(file, 1000000), SQLITE_OK);
	assert_int_equal(run("%s", same), 0);
	execute(db, "ROLLBACK");
	assert_int_equal(run("%s", same), 0);
	execute(db, "UPDATE t SET c = 1");
	assert_int_equal(run("%s", same), 0);
	close_database(db);
	assert_whole("x.db");
}

/* --- what is on the disk already --------------------------------------------------------------- */

/* A hot journal of one who was killed in the middle of its transaction, pages in place. */
static void leave_hot_journal(void)
{
	int status;
	pid_t pid;

	pid = start_child();
	if (pid == 0) {
		sqlite3 *db = open_plainly("x.db");

		execute(db, SPILL "BEGIN; UPDATE t SET c = 99, b = hex(zeroblob(300))");
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(count_files("x.db-journal"), 1);
}

static void hot_journal(const struct manner *manner)
{
	static const char *const modes[] = {
		"", "PRAGMA synchronous=OFF", "PRAGMA journal_mode=TRUNCATE",
		"PRAGMA journal_mode=PERSIST", "PRAGMA journal_mode=MEMORY",
		"PRAGMA locking_mode=EXCLUSIVE", "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=TRUNCATE",
	};
	unsigned int i, j;

	for (i = 0; i < COUNT(modes); i++) {
		sqlite3 *db;

		enter_empty_folder();
		db = open_plainly("x.db");
		fill(db, 2000);
		close_database(db);
		leave_hot_journal();
		db = open_by(manner, "x.db");
		execute(db, SPILL);
		execute(db, "%s", modes[i]);
		assert_int_equal(number_of(db, "SELECT sum(c) + sum(length(b)) FROM t"), 400000);
		for (j = 0; j < 3; j++) {
			execute(db, "BEGIN; UPDATE t SET c = c + 1; COMMIT");
			execute(db, "BEGIN; UPDATE t SET b = hex(zeroblob(700)); ROLLBACK");
		}
		assert_int_equal(number_of(db, "SELECT sum(c) FROM t"), 6000);
		close_database(db);
		db = open_plainly("x.db");
		assert_int_equal(number_of(db, "SELECT sum(c) + sum(length(b)) FROM t"), 406000);
		close_database(db);
		assert_whole("x.db");
	}
}

/* While it is open: others come and go, and one of them is killed. */
static void hot_journal_meanwhile(const struct manner *manner)
{
	sqlite3 *db = open_by(manner, "x.db");

	fill(db, 2000);
	execute(db, SPILL "PRAGMA journal_mode=PERSIST");
	execute(db, "UPDATE t SET c = 1");
	leave_hot_journal();
	execute(db, "UPDATE t SET c = c + 1 WHERE a = 1");
	assert_int_equal(number_of(db, "SELECT sum(c) FROM t"), 2001);
	leave_hot_journal();
	assert_int_equal(number_of(db, "SELECT sum(c) FROM t"), 2001);
	close_database(db);
	assert_whole("x.db");
}

static void wal(const struct manner *manner)
{
	sqlite3 *db = open_by(manner, "x.db");
	char uri[100];

	/* Asked for, it stays what it is: no error, as SQLite has it. */
	fill(db, 10);
	assert_string_equal(text_of(db, "PRAGMA journal_mode=WAL"), "delete");
	execute(db, "PRAGMA locking_mode=EXCLUSIVE; UPDATE t SET c = 1");
	(void)try(db, "PRAGMA journal_mode=WAL");
	execute(db, "UPDATE t SET c = c + 1");
	close_database(db);
	assert_int_equal(count_files("x.db"), 1);

	db = open_plainly("x.db");
	assert_int_equal(number_of(db, "SELECT sum(c) FROM t"), 20);
	assert_string_equal(text_of(db, "PRAGMA journal_mode=WAL"), "wal");
	execute(db, "UPDATE t SET c = c + 1");
	close_database(db);
	snprintf(uri, sizeof(uri), "file:x.db?%s", manner->uri);
	assert_int_equal(sqlite3_open_v2(uri, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI, NULL),
			 SQLITE_CANTOPEN);
	sqlite3_close(db);
	db = open_plainly("x.db");
	assert_string_equal(text_of(db, "PRAGMA journal_mode=DELETE"), "delete");
	close_database(db);
	db = open_by(manner, "x.db");
	execute(db, "UPDATE t SET c = c + 1");
	close_database(db);
	assert_whole("x.db");
}

/* --- other ways to write --------------------------------------------------------------------- */

static void backups(const struct manner *manner)
{
	static const unsigned int sizes[] = { 512, 1024, 4096, 16384 };
	unsigned int i, j;

	/* Of pages that are smaller than the other's, SQLite writes the last ones by itself. */
	for (i = 0; i < COUNT(sizes); i++)
		for (j = 0; j < COUNT(sizes); j++) {
			sqlite3 *from = open_plainly("from.db"), *to = open_by(manner, "to.db");
			sqlite3_backup *backup;

			execute(from, "PRAGMA page_size=%u", sizes[i]);
			fill(from, 333);
			execute(to, "PRAGMA page_size=%u", sizes[j]);
			fill(to, 700);
			backup = sqlite3_backup_init(to, "main", from, "main");
			assert_non_null(backup);
			assert_int_equal(sqlite3_backup_step(backup, -1), SQLITE_DONE);
			assert_int_equal(sqlite3_backup_finish(backup), SQLITE_OK);
			assert_true(digest(to) == digest(from));
			execute(to, "UPDATE t SET c = 3");
			close_database(from);
			close_database(to);
			assert_whole("to.db");
			assert_int_equal(run("rm from.db to.db && test -z \"$(ls)\""), 0);
		}
}

static void vacuum_to_other_page_sizes(const struct manner *manner)
{
	static const unsigned int sizes[] = { 512, 65536, 1024, 4096, 2048, 8192, 512 };
	sqlite3 *db = open_by(manner, "x.db");
	uint64_t want;
	unsigned int i;

	fill(db, 2000);
	want = digest(db);
	for (i = 0; i < COUNT(sizes); i++) {
		execute(db, "PRAGMA page_size=%u; VACUUM", sizes[i]);
		assert_true(digest(db) == want);
		assert_int_equal(number_of(db, "PRAGMA page_size"), sizes[i]);
		assert_whole("x.db");
		execute(db, "BEGIN; DELETE FROM t WHERE a %% 2; ROLLBACK");
	}
	close_database(db);
	assert_whole("x.db");
}

/* SQLITE_FCNTL_CHUNK_SIZE: the file's size is a multiple of it. */
static void chunks(const struct manner *manner)
{
	sqlite3 *db = open_by(manner, "x.db");
	int size = 262144;

	assert_int_equal(sqlite3_file_control(db, "main", SQLITE_FCNTL_CHUNK_SIZE, &size),
			 SQLITE_OK);
	fill(db, 100);
	assert_int_equal(run("test $(stat -c %%s x.db) = 262144"), 0);
	execute(db, "BEGIN; INSERT INTO t(b) SELECT hex(zeroblob(20000)) FROM t LIMIT 20; COMMIT");
	assert_int_equal(run("test $(($(stat -c %%s x.db) %% 262144)) = 0"), 0);
	execute(db, "DELETE FROM t WHERE a > 50; VACUUM");
	assert_int_equal(run("test $(stat -c %%s x.db) = 262144"), 0);
	execute(db, "UPDATE t SET c = 1");
	close_database(db);
	assert_whole("x.db");
}

/* A journal that is larger than what is kept in memory. */
static void large_transactions(const struct manner *manner)
{
	sqlite3 *db = open_by(manner, "x.db");

	fill(db, 100);
	execute(db, "BEGIN; INSERT INTO t(b) SELECT zeroblob(400000) FROM t LIMIT 90; COMMIT");
	execute(db, SPILL "BEGIN; UPDATE t SET b = zeroblob(410000) WHERE a > 100; UPDATE t SET c = 1; ROLLBACK");
	assert_int_equal(number_of(db, "SELECT sum(length(b)) + sum(c IS 1) FROM t"),
			 90 * 400000 + 100 * 200);
	execute(db, "BEGIN; UPDATE t SET b = zeroblob(410000) WHERE a > 100; COMMIT");
	assert_int_equal(number_of(db, "SELECT sum(length(b)) FROM t"), 90 * 410000 + 100 * 200);
	execute(db, "BEGIN; DELETE FROM t WHERE a > 100; COMMIT; VACUUM");
	close_database(db);
	assert_whole("x.db");
}

/* --- without a back end ---------------------------------------------------------------------- */

/* All is as with SQLite's own VFS, WAL too. */
static void falls_back(void **state)
{
	sqlite3 *db, *other;

	(void)state;
	if (access("/dev/shm", W_OK))
		skip();
	assert_int_equal(run("rm -rf /dev/shm/sqlite && mkdir /dev/shm/sqlite"), 0);
	assert_int_equal(chdir("/dev/shm/sqlite"), 0);
	db = open_by(&by_exchange, "x.db");
	assert_int_equal(strncmp(text_of(db, "PRAGMA exchrange"), "no: ", 4), 0);
	fill(db, 100);
	execute(db, SPILL "BEGIN; UPDATE t SET b = hex(zeroblob(2000))");
	assert_int_equal(count_files("x.db-journal"), 1);
	execute(db, "ROLLBACK");
	assert_string_equal(text_of(db, "PRAGMA journal_mode=WAL"), "wal");
	execute(db, "UPDATE t SET c = 7");
	other = open_plainly("x.db");
	assert_int_equal(number_of(other, "SELECT sum(c) FROM t"), 700);
	assert_int_equal(count_files("x.db-wal"), 1);
	close_database(other);
	close_database(db);

	/* By name a WAL is refused, even there: nobody asks for this VFS to get no exchange. */
	load_vfs("sqlite3_exchrangevfsdefault_init");
	db = open_database("x.db", "vfs=exchrange-default");
	execute(db, "UPDATE t SET c = 8");
	close_database(db);
	assert_whole("x.db");
	assert_int_equal(chdir(mount_point), 0);
	assert_int_equal(run("rm -r /dev/shm/sqlite"), 0);
}

/* SQLite that is shut down and begins anew makes its own VFS the default again. */
static void default_after_shutdown(void **state)
{
	int status, i;
	pid_t pid;

	(void)state;
	pid = start_child();
	if (pid == 0) {
		for (i = 0; i < 2; i++) {
			load_vfs("sqlite3_exchrangevfsdefault_init");
			assert_string_equal(sqlite3_vfs_find(NULL)->zName, "exchrange-default");
			/* By name alone it is no default. */
			sqlite3_shutdown();
			load_vfs(NULL);
			assert_string_equal(sqlite3_vfs_find(NULL)->zName, "unix");
		}
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static unsigned int notices;

static void count_notices(void *context, int code, const char *text)
{
	(void)context;
	(void)code;
	notices += strncmp(text, "exchrange: ", 11) == 0;
}

/* In a process of its own, since it is said once for each reason. */
static void says_so_once(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	if (access("/dev/shm", W_OK))
		skip();
	pid = start_child();
	if (pid == 0) {
		unsigned int i;

		sqlite3_shutdown();
		sqlite3_config(SQLITE_CONFIG_LOG, count_notices, NULL);
		load_vfs(NULL);
		for (i = 0; i < 3; i++)
			close_database(open_database("/dev/shm/once.db", "vfs=exchrange"));
		_exit(notices == 1 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	unlink("/dev/shm/once.db");
}

void add_connections(void)
{
	static const struct both tests[] = {
		{ "others see the last commit", others_see_the_last_commit },
		{ "mapped pages of the own transaction", mapped_pages_of_the_own_transaction },
		{ "read only and immutable", read_only_and_immutable },
		{ "writers and readers", writers_and_readers },
		{ "threads of one process", threads_of_one_process },
		{ "locks stay", locks_stay },
		{ "attached databases", attached_databases },
		{ "attached to other vfs", attached_to_other_vfs },
		{ "under another vfs", under_another_vfs },
		{ "longer by a truncate", longer_by_a_truncate },
		{ "hot journal", hot_journal },
		{ "hot journal meanwhile", hot_journal_meanwhile },
		{ "wal", wal },
		{ "backups", backups },
		{ "vacuum to other page sizes", vacuum_to_other_page_sizes },
		{ "chunks", chunks },
		{ "large transactions", large_transactions },
	};

	add_test("what is said", "says so once", says_so_once, NULL);
	add_test("connections", "default after a shutdown", default_after_shutdown, NULL);
	add_both("connections", tests, COUNT(tests));
	add_test("connections", "no journal on the disk", no_journal_on_the_disk, NULL);
	add_test("connections", "falls back", falls_back, NULL);
}
