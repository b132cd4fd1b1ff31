// SPDX-License-Identifier: GPL-2.0
/*
 * Random transactions under many PRAGMAs: after each of them the database is what a plain one
 * is, by SQLite's own VFS, that got the same statements; and so it is for whoever opens it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "database.h"

struct row {
	const char	*name;
	const char	*journal_mode, *synchronous;
	const char	*more;		/* PRAGMAs before the first table */
	bool		keeps_lock;	/* nobody else can read */
	bool		no_rollback;	/* SQLite gives no savepoints in this mode */
};

#define ROW(journal, synchronous, more, ...) \
	{ journal " " synchronous " " more, journal, synchronous, more, ##__VA_ARGS__ }

#define SPILL	"PRAGMA cache_size=4;"
#define KEEP	"PRAGMA cache_size=4;PRAGMA locking_mode=EXCLUSIVE;"

static const struct row rows[] = {
	ROW("DELETE", "FULL", ""),
	ROW("DELETE", "FULL", SPILL),
	ROW("DELETE", "NORMAL", SPILL),
	ROW("DELETE", "OFF", SPILL),
	ROW("DELETE", "EXTRA", ""),
	ROW("TRUNCATE", "FULL", SPILL),
	ROW("TRUNCATE", "OFF", ""),
	ROW("PERSIST", "FULL", SPILL),
	ROW("PERSIST", "OFF", SPILL),
	ROW("MEMORY", "FULL", SPILL),
	ROW("MEMORY", "OFF", SPILL),
	ROW("OFF", "FULL", SPILL, .no_rollback = true),
	ROW("OFF", "OFF", SPILL, .no_rollback = true),
	ROW("DELETE", "FULL", KEEP, .keeps_lock = true),
	ROW("TRUNCATE", "FULL", KEEP, .keeps_lock = true),
	ROW("PERSIST", "OFF", KEEP, .keeps_lock = true),
	ROW("MEMORY", "FULL", KEEP, .keeps_lock = true),
	ROW("OFF", "FULL", KEEP, .keeps_lock = true, .no_rollback = true),
	ROW("DELETE", "FULL", SPILL "PRAGMA mmap_size=100000000;"),
	ROW("DELETE", "FULL", SPILL "PRAGMA auto_vacuum=FULL;"),
	ROW("TRUNCATE", "FULL", SPILL "PRAGMA auto_vacuum=INCREMENTAL;"),
	ROW("DELETE", "FULL", SPILL "PRAGMA page_size=512;"),
	ROW("DELETE", "FULL", SPILL "PRAGMA page_size=1024;PRAGMA auto_vacuum=FULL;"),
	ROW("DELETE", "FULL", SPILL "PRAGMA page_size=8192;"),
	ROW("PERSIST", "FULL", SPILL "PRAGMA page_size=65536;PRAGMA auto_vacuum=FULL;"),
	ROW("OFF", "OFF", SPILL "PRAGMA page_size=2048;", .no_rollback = true),
};

/* --- random statements ---------------------------------------------------------------- */

/* The same numbers for the same seed, on any machine. */
static uint32_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

static void put(sqlite3 *db, const char *sql, sqlite3_int64 a, const void *bytes, int length,
		int c)
{
	sqlite3_stmt *statement;

	if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL))
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	sqlite3_bind_int64(statement, 1, a);
	sqlite3_bind_blob(statement, 2, bytes, length, SQLITE_STATIC);
	sqlite3_bind_int(statement, 3, c);
	if (sqlite3_step(statement) != SQLITE_DONE)
		fail_msg("%s: %s (%d)", sql, sqlite3_errmsg(db), sqlite3_extended_errcode(db));
	sqlite3_finalize(statement);
}

static void change(sqlite3 *db, uint64_t *state)
{
	static char bytes[20000];
	uint32_t kind = next_random(state) % 10, a = next_random(state) % 400;
	uint32_t length = next_random(state) % (next_random(state) % 8 ? 300 : sizeof(bytes));

	memset(bytes, 'a' + next_random(state) % 26, length);
	if (kind < 5)
		put(db, "INSERT OR REPLACE INTO t VALUES(?1, ?2, ?3)", a, bytes, length, kind);
	else if (kind < 8)
		put(db, "UPDATE t SET b = ?2, c = c + ?3 WHERE a = ?1", a, bytes, length, kind);
	else if (kind < 9)
		execute(db, "DELETE FROM t WHERE a BETWEEN %u AND %u", a, a + 10);
	else
		execute(db, "UPDATE t SET c = c + 1 WHERE a %% 7 = %u", a % 7);
}

static void change_some(sqlite3 *db, uint64_t *state)
{
	uint32_t count = 1 + next_random(state) % 12;

	while (count--)
		change(db, state);
}

/* What a transaction is, by a number; the same for both databases. */
static void transact(sqlite3 *db, const struct row *row, uint64_t seed, bool plain)
{
	uint64_t state = seed * 7919 + 17;
	uint32_t kind = next_random(&state) % 12;

	next_random(&state);
	if (kind == 0) {
		execute(db, "VACUUM");
		return;
	}
	if (kind == 1) {
		execute(db, "PRAGMA incremental_vacuum(3)");
		return;
	}
	if (kind == 2) {
		change(db, &state);		/* by itself */
		return;
	}
	execute(db, "BEGIN");
	change_some(db, &state);
	if (kind == 3 && !row->no_rollback) {
		execute(db, "SAVEPOINT s");
		change_some(db, &state);
		execute(db, "ROLLBACK TO s");
		change_some(db, &state);
		execute(db, "RELEASE s");
	}
	if (kind == 4)
		execute(db, "CREATE TABLE IF NOT EXISTS u(x); INSERT INTO u SELECT b FROM t");
	if (kind == 5)
		execute(db, "DROP TABLE IF EXISTS u");
	if (kind >= 10) {
		/* With no journal SQLite says that it cannot; the plain database has one. */
		int code = try(db, "ROLLBACK");

		if (plain || !row->no_rollback)
			assert_int_equal(code, SQLITE_OK);
		return;
	}
	execute(db, "COMMIT");
}

/* --- the comparison --------------------------------------------------------------------- */

static void assert_same(sqlite3 *db, sqlite3 *plain, const struct row *row, uint64_t seed,
			bool thoroughly)
{
	uint64_t want = digest(plain);
	sqlite3 *other;

	if (digest(db) != want)
		fail_msg("seed %llu: not what the plain database has", (unsigned long long)seed);
	if (row->keeps_lock)
		return;
	other = open_plainly("x.db");
	if (digest(other) != want)
		fail_msg("seed %llu: others see something else", (unsigned long long)seed);
	if (thoroughly)
		assert_string_equal(text_of(other, "PRAGMA integrity_check"), "ok");
	close_database(other);
}

static sqlite3 *make(sqlite3 *db, const struct row *row)
{
	execute(db, "%s CREATE TABLE t(a INTEGER PRIMARY KEY, b, c)", row->more);
	execute(db, "CREATE INDEX i ON t(c, b)");
	return db;
}

static void test_row(const struct row *row, const struct manner *manner)
{
	const unsigned int rounds = 240 / test_share();
	sqlite3 *db, *plain;
	sqlite3_int64 pages;
	unsigned int i;

	begin_by(manner);
	db = open_by(manner, "x.db");
	assert_int_equal(strcasecmp(text_of(db, "PRAGMA journal_mode=%s", row->journal_mode),
				    row->journal_mode), 0);
	execute(db, "PRAGMA synchronous=%s", row->synchronous);
	make(db, row);
	plain = open_plainly("plain.db");
	execute(plain, "PRAGMA synchronous=OFF");
	make(plain, row);

	for (i = 0; i < rounds; i++) {
		transact(db, row, i, false);
		transact(plain, row, i, true);
		assert_same(db, plain, row, i, i % 20 == 0);
	}
	if (manner->exchanges)
		assert_int_equal(count_files("x.db"), 1);
	/* It has become smaller again and again, and the file with it. */
	pages = number_of(db, "PRAGMA page_count") * number_of(db, "PRAGMA page_size");
	close_database(db);
	close_database(plain);
	assert_int_equal(run("test $(stat -c %%s x.db) = %lld", (long long)pages), 0);
	assert_whole("x.db");
	assert_int_equal(count_files("x.db"), 1);
}

static void test_by_exchange(void **state)
{
	test_row(*state, &by_exchange);
}

static void test_by_journal(void **state)
{
	test_row(*state, &by_journal);
}

void add_transactions(void)
{
	unsigned int i;

	for (i = 0; i < COUNT(rows); i++) {
		add_by(&by_exchange, "transactions", rows[i].name, test_by_exchange, &rows[i]);
		add_by(&by_journal, "transactions", rows[i].name, test_by_journal, &rows[i]);
	}
}
