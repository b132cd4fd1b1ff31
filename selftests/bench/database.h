/* SPDX-License-Identifier: GPL-2.0 */
/*
 * SQLite's ways to commit, and transactions to compare them by.  For programs that are linked with
 * SQLite: so inline.
 *
 *	row	a row of 20,000, at random, gets other contents
 *	rows	50 of them
 *	bulk	1,000 rows of 100 bytes are added
 */
#ifndef SELFTESTS_BENCH_DATABASE_H
#define SELFTESTS_BENCH_DATABASE_H

#include <err.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

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

/* --- SQLite ----------------------------------------------------------------------------- */

static inline void execute(sqlite3 *db, const char *sql)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL))
		errx(1, "%s: %s", sql, sqlite3_errmsg(db));
}

static inline void load_vfs(void)
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

static inline bool is_exchange(int argc, char **values)
{
	return argc == 1 && values[0] && !strncmp(values[0], "one ", 4);
}

/* It must not be measured that a commit goes another way. */
static inline int check_exchange(void *context, int argc, char **values, char **names)
{
	(void)context;
	(void)names;
	if (!is_exchange(argc, values))
		errx(1, "PRAGMA exchrange: %s", argc ? values[0] : "nothing");
	return 0;
}

static inline sqlite3 *open_by(const struct journal *by)
{
	sqlite3 *db;

	if (sqlite3_open_v2(path_of("x.db"), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
			    by->vfs))
		errx(1, "x.db: %s", sqlite3_errmsg(db));
	/* For others that have it open. */
	sqlite3_busy_timeout(db, 10000);
	execute(db, by->pragmas);
	execute(db, "PRAGMA synchronous=FULL");
	if (!strcmp(by->vfs, "exchrange") &&
	    sqlite3_exec(db, "PRAGMA exchrange", check_exchange, NULL, NULL))
		errx(1, "PRAGMA exchrange: %s", sqlite3_errmsg(db));
	return db;
}

static inline void make_table(sqlite3 *db)
{
	char sql[200];

	execute(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
	snprintf(sql, sizeof(sql), "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %u) INSERT INTO t SELECT i, hex(zeroblob(50)) FROM n",
		 ROWS);
	execute(db, sql);
}

/* --- the transactions --------------------------------------------------------------------- */

static inline void step(sqlite3_stmt *statement)
{
	if (sqlite3_step(statement) != SQLITE_DONE)
		errx(1, "%s", sqlite3_errmsg(sqlite3_db_handle(statement)));
	sqlite3_reset(statement);
}

static inline void update_row(sqlite3_stmt *statement, unsigned int number)
{
	char text[101];

	snprintf(text, sizeof(text), "%0100u", number);
	sqlite3_bind_text(statement, 1, text, -1, SQLITE_STATIC);
	sqlite3_bind_int(statement, 2, 1 + rand() % ROWS);
	step(statement);
}

static inline void update_rows(sqlite3_stmt *statement, unsigned int number)
{
	unsigned int i;

	for (i = 0; i < 50; i++)
		update_row(statement, number);
}

static inline void add_rows(sqlite3_stmt *statement, unsigned int number)
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

/* @names are those of some works, or none: of all. */
static inline bool is_asked_for(const struct work *work, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (!strcmp(*names, work->name))
			return true;
	return false;
}

#endif /* SELFTESTS_BENCH_DATABASE_H */
