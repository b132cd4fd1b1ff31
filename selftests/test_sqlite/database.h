/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of the VFS for SQLite share.  They go through SQLite's public interface, as
 * programs do, and look at what is on the disk by its own VFS.
 */
#ifndef TEST_SQLITE_DATABASE_H
#define TEST_SQLITE_DATABASE_H

#include <sqlite3.h>

#include "common.h"

/* How a database is committed. */
struct manner {
	const char	*name;
	const char	*uri;		/* behind file:x.db? */
	bool		exchanges;	/* needs the device, and a file system with a back end */
};

extern const struct manner by_exchange, by_journal;

/* The mount has a back end for vectors. */
bool has_vectors(void);

bool on_btrfs(void);

/* An empty folder below the mount point. */
void enter_empty_folder(void);

/* The same for a test by @manner, which ends where it needs the device and has it not. */
void begin_by(const struct manner *manner);

/* Loads the extension, once. */
void load_vfs(const char *entry);

/* With SQLITE_BUSY waited for. */
sqlite3 *open_database(const char *name, const char *uri);
sqlite3 *open_by(const struct manner *manner, const char *name);
sqlite3 *open_plainly(const char *name);		/* by SQLite's own VFS */
void close_database(sqlite3 *db);

/* The last code, 0 where all statements succeed. */
int try(sqlite3 *db, const char *format, ...) __attribute__((format(printf, 2, 3)));
void execute(sqlite3 *db, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The first column of the first row; good until the next call.  "" for none. */
const char *text_of(sqlite3 *db, const char *format, ...) __attribute__((format(printf, 2, 3)));
sqlite3_int64 number_of(sqlite3 *db, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* A number for all rows of table t. */
uint64_t digest(sqlite3 *db);

/* integrity_check, by SQLite's own VFS. */
void assert_whole(const char *name);

/* Files in the folder whose names begin with @prefix. */
unsigned int count_files(const char *prefix);

/* A test of both manners, in an empty folder. */
struct both {
	const char	*name;
	void		(*test)(const struct manner *manner);
};

/* Of tests of both manners only those by this one: "exchanges", "journals".  False: neither. */
bool choose_manner(const char *word);

/* Adds tests to those that the program runs; their names get "@group: " before them. */
void add_test(const char *group, const char *name, CMUnitTestFunction test, const void *row);

/* The same by a manner, that by journals in a group "@group, by journals". */
void add_by(const struct manner *manner, const char *group, const char *name,
	    CMUnitTestFunction test, const void *row);
void add_both(const char *group, const struct both *tests, size_t count);

/* Runs what was added; main()'s exit status. */
int run_program(void);

/* fork(2); a test that fails in the child aborts it. */
pid_t start_child(void);

/* The groups of tests. */
void add_connections(void);
void add_copies(void);
void add_pages(void);
void add_faults(void);
void add_killed(void);
void add_refused(void);
void add_transactions(void);

#endif /* TEST_SQLITE_DATABASE_H */
