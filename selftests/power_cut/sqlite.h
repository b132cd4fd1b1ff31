/* SPDX-License-Identifier: GPL-2.0 */
/* A database of SQLite beside the other files, by the VFS of tools/sqlite. */
#ifndef SELFTESTS_POWER_CUT_SQLITE_H
#define SELFTESTS_POWER_CUT_SQLITE_H

/* It was built with SQLite.  Without, the other functions do nothing. */
#if __has_include(<sqlite3.h>)
#define HAS_SQLITE	1
#else
#define HAS_SQLITE	0
#endif

struct sqlite3;

/* With transaction 1, durable. */
void sqlite_prepare(void);

/* By the VFS, in a journal mode that chance takes. */
struct sqlite3 *sqlite_open(void);

/* Transaction @number changes all rows, and is durable when it returns. */
void sqlite_commit(struct sqlite3 *db, unsigned int number);

/* Whose transaction the whole database is of, by SQLite's own VFS; 0: of none. */
unsigned int sqlite_number(void);

#endif /* SELFTESTS_POWER_CUT_SQLITE_H */
