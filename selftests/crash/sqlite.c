// SPDX-License-Identifier: GPL-2.0
/*
 * Transactions of SQLite by the VFS of tools/sqlite.  At each crash point SQLite's own VFS opens the
 * database: it has nothing to roll back, integrity_check finds nothing, and its rows are those
 * of the model after exactly one transaction.
 */
#if __has_include(<sqlite3.h>)
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disks.h"
#include "special.h"
#include "sql.h"

#define EXTENSION	"/usr/local/lib/sqlite3/exchrange_vfs"
#define ROWS		120u
#define LARGEST		1800u	/* bytes of a row's text */

static const char *const names[] = { "x.db", "y.db" };

/* --- the model ---------------------------------------------------------------------------- */

/* Which transaction each row is of; 0: there is no such row. */
struct rows {
	unsigned int	of[ROWS];
};

/* Any number, the same for the same arguments. */
static unsigned int mix(unsigned int a, unsigned int b)
{
	uint64_t value = (a * 0x9e3779b97f4a7c15u) ^ (b * 0xc2b2ae3d27d4eb4fu);

	value ^= value >> 29;
	return (value * 0xbf58476d1ce4e5b9u) >> 40;
}

/* Some transactions delete most rows, and the database becomes smaller; some write most. */
static bool is_deletion(unsigned int number)
{
	return number % 7 == 5;
}

static bool is_of(unsigned int number, unsigned int row)
{
	static const unsigned int one_in[] = { 30, 6, 100, 2, 15 };

	if (number == 1)
		return true;
	if (is_deletion(number))
		return mix(number, row) % 3 != 0;
	return mix(number, row) % one_in[number % COUNT(one_in)] == 0 || row == number % ROWS;
}

static void next_rows(struct rows *rows, unsigned int number)
{
	unsigned int row;

	for (row = 0; row < ROWS; row++)
		if (is_of(number, row))
			rows->of[row] = is_deletion(number) ? 0 : number;
}

static unsigned int text_of(unsigned int number, unsigned int row, char *text)
{
	unsigned int length = 10 + mix(row, number) % (LARGEST - 10), i;

	for (i = 0; i < length; i++)
		text[i] = 'a' + mix(number + row, i) % 26;
	return length;
}

/* --- connections ---------------------------------------------------------------------------- */

static sqlite3 *open_by(const char *name, const char *vfs)
{
	sqlite3 *db;

	if (sqlite3_open_v2(path_of(name), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, vfs))
		fail_msg("%s: %s", name, sqlite3_errmsg(db));
	return db;
}

static void load_vfs(void)
{
	static bool loaded;
	char *message = NULL;
	sqlite3 *db;

	if (loaded)
		return;
	loaded = true;
	assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
	sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1, NULL);
	if (sqlite3_load_extension(db, EXTENSION, NULL, &message))
		fail_msg("%s: %s", EXTENSION, message);
	sqlite3_close(db);
}

static void change_row(sqlite3 *db, const char *schema, unsigned int number, unsigned int row)
{
	char text[LARGEST], sql[100];
	sqlite3_stmt *statement;

	snprintf(sql, sizeof(sql), is_deletion(number) ? "DELETE FROM %s.t WHERE a = ?1" :
		 "INSERT OR REPLACE INTO %s.t VALUES(?1, ?2, ?3)", schema);
	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
	sqlite3_bind_int(statement, 1, row);
	if (!is_deletion(number)) {
		sqlite3_bind_int(statement, 2, number);
		sqlite3_bind_text(statement, 3, text, text_of(number, row, text), SQLITE_STATIC);
	}
	if (sqlite3_step(statement) != SQLITE_DONE)
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	sqlite3_finalize(statement);
}

static void change_rows(sqlite3 *db, const char *schema, unsigned int number)
{
	unsigned int row;

	for (row = 0; row < ROWS; row++)
		if (is_of(number, row))
			change_row(db, schema, number, row);
}

/* --- the workload --------------------------------------------------------------------------- */

static void prepare(unsigned int databases)
{
	unsigned int i;

	for (i = 0; i < databases; i++) {
		sqlite3 *db = open_by(names[i], "unix");

		execute(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b, c); CREATE INDEX i ON t(c)");
		sqlite3_close(db);
	}
}

static sqlite3 *open_databases(unsigned int databases)
{
	char sql[200];
	sqlite3 *db;

	load_vfs();
	db = open_by(names[0], "exchrange");
	if (strncmp(answer_to(db, "PRAGMA exchrange"), "one ", 4))
		fail_msg("PRAGMA exchrange: %s", answer_to(db, "PRAGMA exchrange"));
	if (databases > 1) {
		snprintf(sql, sizeof(sql), "ATTACH '%s' AS y", path_of(names[1]));
		execute(db, sql);
	}
	/* Pages are written before the commit, too. */
	execute(db, "PRAGMA cache_size=8");
	return db;
}

/* What is durable when its COMMIT has returned, and how SQLite wants to commit it. */
static bool choose_pragmas(sqlite3 *db, unsigned int *random)
{
	static const char *const modes[] = { "DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF" };
	static const char *const syncs[] = { "OFF", "NORMAL", "FULL", "EXTRA" };
	unsigned int sync = rand_r(random) % COUNT(syncs);
	char sql[200];

	snprintf(sql, sizeof(sql), "PRAGMA journal_mode=%s; PRAGMA synchronous=%s",
		 modes[rand_r(random) % COUNT(modes)], syncs[sync]);
	execute(db, sql);
	/* "PRAGMA synchronous" is of the main database alone. */
	snprintf(sql, sizeof(sql), "PRAGMA y.synchronous=%s", syncs[sync]);
	(void)sqlite3_exec(db, sql, NULL, NULL, NULL);
	return sync > 0;
}

static void transact(sqlite3 *db, unsigned int databases, unsigned int number)
{
	execute(db, "BEGIN");
	change_rows(db, "main", number);
	if (databases > 1)
		change_rows(db, "y", number);
	execute(db, "COMMIT");
}

/* None of it is ever in a file. */
static void roll_back(sqlite3 *db, unsigned int databases, unsigned int number)
{
	execute(db, "BEGIN");
	change_rows(db, "main", number + 1000);
	if (databases > 1)
		change_rows(db, "y", number + 1000);
	(void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
}

static void work(unsigned int databases, unsigned int rounds, unsigned int *random)
{
	sqlite3 *db = open_databases(databases);
	unsigned int number;

	for (number = 1; number <= rounds; number++) {
		bool durable = choose_pragmas(db, random);

		if (rand_r(random) % 4 == 0)
			roll_back(db, databases, number);
		if (rand_r(random) % 6 == 0)
			execute(db, "VACUUM");
		mark("begun-%u", number);
		transact(db, databases, number);
		if (durable)
			mark("durable-%u", number);
	}
	sqlite3_close(db);
}

/* --- the verdict ---------------------------------------------------------------------------- */

static bool is_row(sqlite3_stmt *statement, const struct rows *rows)
{
	unsigned int row = sqlite3_column_int(statement, 0);
	char text[LARGEST];
	unsigned int length;

	if (row >= ROWS || !rows->of[row] ||
	    (unsigned int)sqlite3_column_int(statement, 1) != rows->of[row])
		return false;
	length = text_of(rows->of[row], row, text);
	return (unsigned int)sqlite3_column_bytes(statement, 2) == length &&
	       memcmp(sqlite3_column_text(statement, 2), text, length) == 0;
}

static bool has_rows(sqlite3 *db, const struct rows *rows)
{
	unsigned int want = 0, found = 0, row;
	sqlite3_stmt *statement;
	bool same = true;

	for (row = 0; row < ROWS; row++)
		want += rows->of[row] != 0;
	if (sqlite3_prepare_v2(db, "SELECT a, b, c FROM t", -1, &statement, NULL))
		return false;
	while (same && sqlite3_step(statement) == SQLITE_ROW) {
		same = is_row(statement, rows);
		found++;
	}
	sqlite3_finalize(statement);
	return same && found == want;
}

/* Of the transactions up to @last; below zero: it is damaged, or of none. */
static int number_of(const char *name, size_t last)
{
	struct rows rows = { };
	const char *text;
	int number = -1;
	sqlite3 *db;
	size_t i;

	if (run("! ls %s-* 2>/dev/null", path_of(name))) {
		print_message("# there is something beside %s\n", name);
		return -1;
	}
	db = open_by(name, "unix");
	text = answer_to(db, "PRAGMA integrity_check");
	if (strcmp(text, "ok")) {
		print_message("# %s: integrity_check: %s\n", name, text);
		sqlite3_close(db);
		return -1;
	}
	for (i = 0; i <= last; i++) {
		if (i)
			next_rows(&rows, i);
		if (has_rows(db, &rows))
			number = i;
	}
	sqlite3_close(db);
	return number;
}

static enum verdict judge_databases(unsigned int databases, struct promise promise)
{
	int number = number_of(names[0], promise.begun), other = number;

	if (databases > 1)
		other = number_of(names[1], promise.begun);
	if (number >= 0 && number == other && (size_t)number >= promise.durable)
		return (size_t)number == promise.begun ? VERDICT_NEW : VERDICT_OLD;
	print_message("# transaction %zu was durable and %zu begun; there are %d and %d\n",
		      promise.durable, promise.begun, number, other);
	return number >= 0 && number == other ? VERDICT_LOST : VERDICT_TORN;
}

static void prepare_one(void)
{
	prepare(1);
}

static void run_one(unsigned int rounds, unsigned int *random)
{
	work(1, rounds, random);
}

static enum verdict judge_one(struct promise promise)
{
	return judge_databases(1, promise);
}

static void prepare_two(void)
{
	prepare(2);
}

static void run_two(unsigned int rounds, unsigned int *random)
{
	work(2, rounds, random);
}

static enum verdict judge_two(struct promise promise)
{
	return judge_databases(2, promise);
}

const struct special sqlite_database = { prepare_one, run_one, judge_one };
const struct special sqlite_databases = { prepare_two, run_two, judge_two };
#endif
