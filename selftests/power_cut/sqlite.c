// SPDX-License-Identifier: GPL-2.0
#include "sqlite.h"

#if HAS_SQLITE
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common.h"
#include "sql.h"

#define EXTENSION	"/usr/local/lib/sqlite3/exchrange_vfs"
#define NAME		"sqlite.db"

/* Bytes of a row's text, as SQL: longer and shorter from one transaction to the next. */
#define LENGTH		"(%u * 171 + a * 37) %% 900"

static sqlite3 *open_by(const char *vfs)
{
	sqlite3 *db;

	if (sqlite3_open_v2(path_of(NAME), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, vfs))
		fail_msg(NAME ": %s", sqlite3_errmsg(db));
	return db;
}

void sqlite_prepare(void)
{
	sqlite3 *db;

	/* Of a guest that lost its power while it prepared. */
	unlink(path_of(NAME));
	unlink(path_of(NAME "-journal"));
	db = open_by("unix");
	execute(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b, c); CREATE INDEX i ON t(b)");
	execute(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60) INSERT INTO t(a) SELECT i FROM n");
	sqlite_commit(db, 1);
	sqlite3_close(db);
}

sqlite3 *sqlite_open(void)
{
	static const char *const modes[] = { "DELETE", "TRUNCATE", "MEMORY", "OFF" };
	char *message = NULL, sql[100];
	unsigned char random = 0;
	sqlite3 *db;

	assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
	sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1, NULL);
	if (sqlite3_load_extension(db, EXTENSION, NULL, &message))
		fail_msg("%s: %s", EXTENSION, message);
	sqlite3_close(db);

	db = open_by("exchrange");
	assert_memory_equal(answer_to(db, "PRAGMA exchrange"), "one ", 4);
	assert_int_equal(getentropy(&random, sizeof(random)), 0);
	snprintf(sql, sizeof(sql), "PRAGMA synchronous=FULL; PRAGMA journal_mode=%s",
		 modes[random % COUNT(modes)]);
	execute(db, sql);
	return db;
}

void sqlite_commit(sqlite3 *db, unsigned int number)
{
	char sql[200];

	snprintf(sql, sizeof(sql), "UPDATE t SET c = %u, b = substr(hex(zeroblob(450)), 1, " LENGTH ")",
		 number, number);
	execute(db, sql);
}

unsigned int sqlite_number(void)
{
	sqlite3 *db = open_by("unix");
	unsigned int number = 0;
	const char *text = answer_to(db, "PRAGMA integrity_check");
	char sql[200];

	if (strcmp(text, "ok")) {
		printf("# " NAME ": %s\n", text);
	} else {
		number = strtoul(answer_to(db, "SELECT c FROM t WHERE a = 1"), NULL, 10);
		snprintf(sql, sizeof(sql), "SELECT count(*) FROM t WHERE c = %u AND length(b) = "
			 LENGTH, number, number);
		if (strcmp(answer_to(db, sql), "60"))
			number = 0;
	}
	sqlite3_close(db);
	return number;
}

#else

void sqlite_prepare(void)
{
}

struct sqlite3 *sqlite_open(void)
{
	return 0;
}

void sqlite_commit(struct sqlite3 *db, unsigned int number)
{
	(void)db;
	(void)number;
}

unsigned int sqlite_number(void)
{
	return 0;
}

#endif
