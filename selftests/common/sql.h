/* SPDX-License-Identifier: GPL-2.0 */
/* SQL, for programs that are linked with SQLite: so inline. */
#ifndef SELFTESTS_SQL_H
#define SELFTESTS_SQL_H

#include <sqlite3.h>
#include <stdio.h>

#include "common.h"

static inline void execute(sqlite3 *db, const char *sql)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL))
		fail_msg("%s: %s (%d)", sql, sqlite3_errmsg(db), sqlite3_extended_errcode(db));
}

/* The first column of the first row; where there is none, an error's text.  Good until the next. */
static inline const char *answer_to(sqlite3 *db, const char *sql)
{
	static char answer[200];
	sqlite3_stmt *statement;

	if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL))
		return sqlite3_errmsg(db);
	snprintf(answer, sizeof(answer), "%s", sqlite3_step(statement) == SQLITE_ROW ?
		 (const char *)sqlite3_column_text(statement, 0) : sqlite3_errmsg(db));
	sqlite3_finalize(statement);
	return answer;
}

#endif /* SELFTESTS_SQL_H */
