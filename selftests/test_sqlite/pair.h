/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Two databases, and transactions of both: what a row of x.db's table t has less in c, that of
 * y.db's u has more.  So the files tell how many transactions there were, and that none is in
 * one of them alone.
 */
#ifndef TEST_SQLITE_PAIR_H
#define TEST_SQLITE_PAIR_H

#include "database.h"

#define SPILL	"PRAGMA cache_size=4;"

/* PRAGMAs for both, under which a transaction goes other ways. */
#define MODES	6u
extern const char *const modes[MODES];

/* For a loop: where only a share of all is for this run, two of them. */
unsigned int mode_step(void);

void make_both(void);

/* x.db by @main_uri, and y.db by @manner; or both by @manner. */
sqlite3 *attach_to(const char *main_uri, const struct manner *manner, const char *pragmas);
sqlite3 *attach(const struct manner *manner, const char *pragmas);

/* One transaction: 1 of each row. */
extern const char *const transfer;

/* The sum of x.db by SQLite's own VFS; y.db has the rest.  A hot journal is rolled back. */
sqlite3_int64 assert_pair(void);

/* The same, with enough in x.db for some transactions more. */
sqlite3_int64 renew_pair(void);

/* With locking_mode=EXCLUSIVE. */
bool keeps_locks(sqlite3 *db);

/*
 * After a fault the connection sees what the files have, and can go on.  One that keeps its
 * locks, and was not able to roll back what is on the disk, has to be closed for that.  In the
 * end both are.
 */
void assert_goes_on(sqlite3 *db);

void run_in_child(void (*run)(const struct manner *manner, const char *pragmas),
		  const struct manner *manner, const char *pragmas);

#endif /* TEST_SQLITE_PAIR_H */
