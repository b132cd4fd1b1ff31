/* SPDX-License-Identifier: MIT */
/*
 * What the files of the extension share: databases, their journals, how they are committed.
 * Documentation/sqlite.md has why it works.
 *
 * "The default VFS" is the one that was SQLite's default when the extension was loaded.
 */
#ifndef EXCHRANGE_SQLITE_DATABASE_H
#define EXCHRANGE_SQLITE_DATABASE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sqlite3ext.h>

#include "pages.h"

extern const sqlite3_api_routines *sqlite3_api;

struct journal_file;
struct super_journal;

/* A database that is committed by exchanges.  Used by one thread at a time, as SQLite does. */
struct database {
	sqlite3_file		base;		/* must be the first */
	sqlite3_io_methods	methods;	/* base.pMethods */
	sqlite3_file		*real;		/* the default VFS's */
	const char		*name;		/* as SQLite has it: good until xClose */
	bool			exchanges;	/* else all goes through to the default VFS */
	uint32_t		why_not;	/* EXCHRANGE_REASON_* or REASON_* below */
	uint32_t		backend;	/* EXCHRANGE_BACKEND_* */

	int			device;		/* owned; -1: commits by a journal on the disk */
	int			fd;		/* the default VFS's; never closed here */
	int			chunk;		/* SQLITE_FCNTL_CHUNK_SIZE */
	bool			fresh;		/* the directory may not know it durably yet */
	struct pages		pages;

	/* Of the transaction. */
	bool			sync;		/* xSync came: wait for the disk */
	bool			ready;		/* SQLITE_FCNTL_SYNC came: all is written */
	char			*foreign_super;	/* by which it was committed early, or NULL */
	pthread_t		thread;		/* that made it ready */
	/*
	 * That opened it, by SQLITE_FCNTL_PDB.  NULL where a VFS on top of this one does not hand
	 * that on, and so not the end of transactions either.
	 */
	const void		*connection;
	struct super_journal	*super;		/* of the commit that it is part of, or NULL */
	struct journal_file	*journal;	/* that is open, or NULL */
	/*
	 * Neither committed nor rolled back, or it is not known: there may be a hot journal on
	 * the disk.  Until SQLite begins anew, and plays that back, nothing is read or written.
	 */
	bool			torn;

	struct database		*next;
};

/* database.why_not, beside EXCHRANGE_REASON_*. */
enum {
	REASON_READ_ONLY = 0x20000,	/* opened for reading */
	REASON_DEFAULT_VFS,		/* does not tell its descriptor */
	REASON_VECTOR,			/* the module is too old */
	REASON_WAL,			/* a database in WAL mode */
	REASON_OTHER_VFS,		/* it was not SQLite that opened it */
};

/* --- list.c: which databases there are --------------------------------------------------- */

void list_lock(void);
void list_unlock(void);

/* With the lock. */
extern struct database *databases;

/* By a name of xOpen's, or of its journal; by the text of the name of a journal.  NULL: none. */
struct database *database_of_name(const char *name);
struct database *database_of_journal(const char *journal);

/* A connection to the database needs this journal, which is on the disk. */
bool is_torn(const char *journal);

void add_database(struct database *database);
void remove_database(struct database *database);

/* --- through.c: the default VFS ---------------------------------------------------------- */

extern sqlite3_vfs *default_vfs;

/* Bytes of one xWrite, at the most: SQLite's for Unix takes no more than 128 KiB, less one. */
#define VFS_PIECE	(64u << 10)

/* Methods that hand all on to the default VFS, as many as it has itself. */
void through_methods(sqlite3_io_methods *methods, const sqlite3_io_methods *real);

/* The VFS's own functions likewise, but for xOpen, xDelete and xAccess. */
void through_vfs(sqlite3_vfs *vfs);

/* The descriptor that @real has open of the regular file @name, for reading and writing; -1. */
int descriptor_of(sqlite3_file *real, const char *name);

/* Lets descriptor_of() work.  False: this VFS has no such thing. */
bool prepare_descriptors(void);

/* --- bytes.c: a file in memory ----------------------------------------------------------- */

/* From some MiB on it is a temporary file of the default VFS.  All zero: empty. */
struct bytes {
	char		*memory;
	uint64_t	size, room;
	sqlite3_file	*file;		/* where it has become too large, or NULL */
};

/* SQLite's codes; a read behind the end is SQLITE_IOERR_SHORT_READ, with zeros. */
int bytes_read(const struct bytes *bytes, void *buffer, int length, sqlite3_int64 offset);
int bytes_write(struct bytes *bytes, const void *buffer, int length, sqlite3_int64 offset);
int bytes_truncate(struct bytes *bytes, sqlite3_int64 size);
int bytes_size(const struct bytes *bytes, sqlite3_int64 *size);
void bytes_drop(struct bytes *bytes);

/* What is in memory, to a file of the default VFS. */
int bytes_copy(const struct bytes *bytes, sqlite3_file *file);

/* --- journal.c: a rollback journal, in memory if it can be ------------------------------- */

struct journal_file {
	sqlite3_file	base;		/* must be the first */
	struct database	*database;
	sqlite3_file	*real;		/* on the disk, or NULL */
	struct bytes	bytes;		/* else */
	struct super_journal *super;	/* whose name it has, or NULL; with the list's lock */
};

/* xOpen of the journal @name of @database. */
int open_journal(struct database *database, const char *name, sqlite3_file *file, int flags,
		 int *out_flags);

/* The journal of the open transaction is on the disk, or nobody will say when it ends. */
bool in_place(const struct database *database);

/* --- super.c: super-journals --------------------------------------------------------------- */

/* A super-journal that SQLite has made, from its xOpen to its xDelete. */
struct super_journal {
	char			*name;		/* a copy */
	struct bytes		bytes;		/* journals' names */
	bool			on_disk;	/* too: somebody else's journal names it */
	bool			over;		/* its commit has failed, or was rolled back */
	unsigned int		opened;
	pthread_t		thread;		/* that made it */
	struct super_journal	*next;
};

/* xOpen with SQLITE_OPEN_SUPER_JOURNAL; SQLITE_NOTFOUND: the default VFS's business. */
int open_super(const char *name, sqlite3_file *file, int flags, int *out_flags);

/*
 * The super-journal of another VFS, which a rollback of what was committed early has to find.
 * NULL ends that.
 */
int set_foreign_super(struct database *database, const char *name);

/* xDelete and xAccess likewise. */
int delete_super(const char *name, int sync_directory);
int super_exists(const char *name, int *exists);

/* By a name that need not end with a null.  NULL: not one of ours. */
struct super_journal *find_super(const char *name, size_t length);

/* The database is no part of its super-journal's commit any more, which then is over. */
void leave_super(struct database *database);

/* What is open with that flag has at least this size. */
extern const int super_file_size;

/* --- commit.c ---------------------------------------------------------------------------- */

/* Databases that are committed together. */
#define GROUP_MAX	128	/* SQLite has at most 125 attached */

struct group {
	struct database	*members[GROUP_MAX];
	unsigned int	count;
};

/* Makes the staging files, unless they are there.  SQLITE_OK or SQLITE_IOERR_WRITE. */
int prepare_pages(struct database *database);

/*
 * Makes what was written the files' contents, all or nothing, and ends their transactions,
 * whether it succeeds or not.  @super: the name of a super-journal that is on the disk, whose
 * deletion is the commit, or NULL.  SQLITE_OK, SQLITE_FULL, or an SQLITE_IOERR_*.
 */
int commit_group(struct group *group, const char *super);

/* The database alone, or all that its connection has made ready in this thread. */
int commit_alone(struct database *database);
int commit_ready(struct database *database);

/* Forgets what was written since the last commit. */
void roll_back(struct database *database);

/* --- on_disk.c: SQLite's own way, where an exchange cannot be had ------------------------ */

/* Waits for the disk whatever the group wants. */
int commit_on_disk(struct group *group, const char *super);

/* --- methods.c: a database's methods ----------------------------------------------------- */

/* Sets base.pMethods. */
void database_methods(struct database *database);

/* --- log.c ------------------------------------------------------------------------------- */

/* Through sqlite3_log(): each @topic, 0 to 63, once for this process. */
void log_once(unsigned int topic, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

enum { TOPIC_ERRNO = 0, TOPIC_STAGING, TOPIC_DISK, TOPIC_FOREIGN_SUPER, TOPIC_WAL, TOPIC_NONE };

/* Why this database is not, unless it needs no words. */
void log_reason(const struct database *database);

/* Why a database is not committed by exchanges: a text. */
const char *reason_text(uint32_t reason);

/* And who commits it. */
const char *backend_text(uint32_t backend);

/* What SQLite calls an errno of a commit or of a staging file. */
int code_of_errno(int error);

#endif /* EXCHRANGE_SQLITE_DATABASE_H */
