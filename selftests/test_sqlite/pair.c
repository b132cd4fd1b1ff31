// SPDX-License-Identifier: GPL-2.0
/* Two databases that change together. */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pair.h"

const char *const modes[MODES] = {
	"", "PRAGMA journal_mode=MEMORY", "PRAGMA synchronous=OFF; PRAGMA y.synchronous=OFF",
	"PRAGMA journal_mode=PERSIST", "PRAGMA locking_mode=EXCLUSIVE",
	"PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=OFF",
};

unsigned int mode_step(void)
{
	return test_share() < 10 ? 1 : MODES / 2;
}

void make_both(void)
{
	sqlite3 *db = open_plainly("x.db");

	execute(db, "ATTACH 'y.db' AS y");
	execute(db, "CREATE TABLE main.t(a INTEGER PRIMARY KEY, b, c); CREATE TABLE y.u(a INTEGER PRIMARY KEY, b, c)");
	execute(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) INSERT INTO t SELECT i, hex(zeroblob(200)), 10 FROM n");
	execute(db, "INSERT INTO u SELECT a, b, 0 FROM t");
	close_database(db);
}

sqlite3 *attach_to(const char *main_uri, const struct manner *manner, const char *pragmas)
{
	sqlite3 *db = open_database("x.db", main_uri);

	execute(db, "ATTACH 'file:y.db?%s' AS y", manner->uri);
	execute(db, SPILL "PRAGMA y.cache_size=4; %s", pragmas);
	return db;
}

sqlite3 *attach(const struct manner *manner, const char *pragmas)
{
	return attach_to(manner->uri, manner, pragmas);
}

const char *const transfer =
	"BEGIN; UPDATE t SET c = c - 1, b = hex(randomblob(200)); UPDATE u SET c = c + 1, b = hex(randomblob(250)); COMMIT";

sqlite3_int64 assert_pair(void)
{
	sqlite3 *x = open_plainly("x.db"), *y = open_plainly("y.db");
	sqlite3_int64 sum = number_of(x, "SELECT sum(c) FROM t");

	assert_string_equal(text_of(x, "PRAGMA integrity_check"), "ok");
	assert_string_equal(text_of(y, "PRAGMA integrity_check"), "ok");
	assert_int_equal(sum + number_of(y, "SELECT sum(c) FROM u"), 2000);
	assert_int_equal(sum % 200, 0);
	close_database(x);
	close_database(y);
	return sum;
}

sqlite3_int64 renew_pair(void)
{
	sqlite3_int64 sum = assert_pair();
	sqlite3 *db;

	if (sum > 400)
		return sum;
	db = open_plainly("x.db");
	execute(db, "ATTACH 'y.db' AS y; UPDATE t SET c = 10; UPDATE u SET c = 0");
	close_database(db);
	return assert_pair();
}

bool keeps_locks(sqlite3 *db)
{
	return strcmp(text_of(db, "PRAGMA locking_mode"), "exclusive") == 0;
}

void assert_goes_on(sqlite3 *db)
{
	const bool alone = keeps_locks(db);
	sqlite3_int64 sum;

	if (!sqlite3_get_autocommit(db))
		(void)try(db, "ROLLBACK");
	if (alone && try(db, "SELECT count(*) FROM t, u")) {
		close_database(db);
		assert_pair();
		return;
	}
	sum = number_of(db, "SELECT sum(c) FROM t");
	assert_int_equal(number_of(db, "SELECT sum(c) FROM u"), 2000 - sum);
	if (!alone)
		assert_int_equal(assert_pair(), sum);
	execute(db, "%s", transfer);
	close_database(db);
	assert_int_equal(assert_pair(), sum - 200);
}

void run_in_child(void (*run)(const struct manner *manner, const char *pragmas),
		  const struct manner *manner, const char *pragmas)
{
	int status;
	pid_t pid = start_child();

	if (pid == 0) {
		run(manner, pragmas);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status)
		fail_msg("the child with \"%s\" has ended with %#x", pragmas, status);
}
