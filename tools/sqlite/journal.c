// SPDX-License-Identifier: MIT
/*
 * The rollback journal of a database: in memory, since the database's file stays as it is until
 * the commit.  SQLite reads it to roll back what it has written to slots.
 *
 * Two kinds are files on the disk: a hot journal that somebody has left, for as long as SQLite
 * plays it back; and that of a transaction for which no staging file could be made.  Then pages
 * are written in place, and all is as with the default VFS.
 */
#include <string.h>

#include "database.h"

/* SQLite's way to say that a journal is not hot any more; a header is longer. */
#define FINAL_LENGTH	28
#define HEADER_MIN	512

static struct journal_file *journal_of(sqlite3_file *file)
{
	return (struct journal_file *)file;
}

static void name_super(struct journal_file *journal, struct super_journal *super)
{
	list_lock();
	journal->super = super;
	list_unlock();
}

static int close_real(struct journal_file *journal)
{
	int code = SQLITE_OK;

	if (journal->real) {
		code = journal->real->pMethods->xClose(journal->real);
		sqlite3_free(journal->real);
		journal->real = NULL;
	}
	return code;
}

/* What the journal protects is on the disk before the journal is gone, with synchronous=OFF too. */
static int sync_database(const struct journal_file *journal)
{
	sqlite3_file *database = journal->database->real;

	return database->pMethods->xSync(database, SQLITE_SYNC_NORMAL);
}

/* The pages of a transaction that begins now can go to slots. */
static bool can_be_in_memory(struct database *database)
{
	return database->connection && prepare_pages(database) == SQLITE_OK;
}

static int journal_close(sqlite3_file *file)
{
	struct journal_file *journal = journal_of(file);
	int code = SQLITE_OK, closed;

	name_super(journal, NULL);
	if (journal->real)
		code = sync_database(journal);
	closed = close_real(journal);
	bytes_drop(&journal->bytes);
	if (journal->database->journal == journal)
		journal->database->journal = NULL;
	return code == SQLITE_OK ? closed : code;
}

static int journal_read(sqlite3_file *file, void *buffer, int length, sqlite3_int64 offset)
{
	struct journal_file *journal = journal_of(file);

	if (journal->real)
		return journal->real->pMethods->xRead(journal->real, buffer, length, offset);
	return bytes_read(&journal->bytes, buffer, length, offset);
}

static bool is_final(const char *buffer, int length, sqlite3_int64 offset)
{
	static const char zeros[FINAL_LENGTH];

	return offset == 0 && length == FINAL_LENGTH && memcmp(buffer, zeros, length) == 0;
}

/* A journal on the disk is not hot any more: it must not become so again by a power cut. */
static int finish_real(struct journal_file *journal, const void *buffer, int length)
{
	sqlite3_file *real = journal->real;
	int code = sync_database(journal);

	if (code == SQLITE_OK)
		code = buffer ? real->pMethods->xWrite(real, buffer, length, 0) :
			real->pMethods->xTruncate(real, 0);
	if (code == SQLITE_OK)
		code = real->pMethods->xSync(real, SQLITE_SYNC_NORMAL);
	return code;
}

static int journal_write(sqlite3_file *file, const void *buffer, int length, sqlite3_int64 offset)
{
	struct journal_file *journal = journal_of(file);

	if (is_final(buffer, length, offset)) {
		name_super(journal, NULL);
		if (journal->real)
			return finish_real(journal, buffer, length);
	} else if (journal->real && offset == 0 && length >= HEADER_MIN &&
		   can_be_in_memory(journal->database)) {
		/* The next transaction, of one who keeps the file open: in memory. */
		close_real(journal);
	}
	if (journal->real)
		return journal->real->pMethods->xWrite(journal->real, buffer, length, offset);
	if (offset > 0) {
		struct super_journal *super = find_super(buffer, length);

		if (super)
			name_super(journal, super);
	}
	return bytes_write(&journal->bytes, buffer, length, offset);
}

static int journal_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	struct journal_file *journal = journal_of(file);

	if (size == 0)
		name_super(journal, NULL);
	if (journal->real)
		return size ? journal->real->pMethods->xTruncate(journal->real, size) :
			finish_real(journal, NULL, 0);
	return bytes_truncate(&journal->bytes, size);
}

static int journal_sync(sqlite3_file *file, int flags)
{
	struct journal_file *journal = journal_of(file);

	return journal->real ? journal->real->pMethods->xSync(journal->real, flags) : SQLITE_OK;
}

static int journal_size(sqlite3_file *file, sqlite3_int64 *size)
{
	struct journal_file *journal = journal_of(file);

	if (journal->real)
		return journal->real->pMethods->xFileSize(journal->real, size);
	return bytes_size(&journal->bytes, size);
}

static int journal_lock(sqlite3_file *file, int level)
{
	(void)file;
	(void)level;
	return SQLITE_OK;
}

static int journal_check_reserved(sqlite3_file *file, int *reserved)
{
	(void)file;
	*reserved = 0;
	return SQLITE_OK;
}

static int journal_control(sqlite3_file *file, int operation, void *argument)
{
	struct journal_file *journal = journal_of(file);

	if (journal->real)
		return journal->real->pMethods->xFileControl(journal->real, operation, argument);
	return SQLITE_NOTFOUND;
}

/* Both as the database has them, on whose disk the journal would be. */
static int journal_sector_size(sqlite3_file *file)
{
	sqlite3_file *database = journal_of(file)->database->real;

	return database->pMethods->xSectorSize(database);
}

static int journal_characteristics(sqlite3_file *file)
{
	sqlite3_file *database = journal_of(file)->database->real;

	return database->pMethods->xDeviceCharacteristics(database);
}

static const sqlite3_io_methods journal_methods = {
	.iVersion = 1,
	.xClose = journal_close,
	.xRead = journal_read,
	.xWrite = journal_write,
	.xTruncate = journal_truncate,
	.xSync = journal_sync,
	.xFileSize = journal_size,
	.xLock = journal_lock,
	.xUnlock = journal_lock,
	.xCheckReservedLock = journal_check_reserved,
	.xFileControl = journal_control,
	.xSectorSize = journal_sector_size,
	.xDeviceCharacteristics = journal_characteristics,
};

int open_journal(struct database *database, const char *name, sqlite3_file *file, int flags,
		 int *out_flags)
{
	struct journal_file *journal = journal_of(file);
	int code;

	*journal = (struct journal_file){ .database = database };
	if (flags & SQLITE_OPEN_CREATE && can_be_in_memory(database)) {
		if (out_flags)
			*out_flags = flags;
	} else {
		/* Pages will be written in place: none may hide what the file has. */
		roll_back(database);
		journal->real = sqlite3_malloc64(default_vfs->szOsFile);
		if (!journal->real)
			return SQLITE_NOMEM;
		memset(journal->real, 0, default_vfs->szOsFile);
		code = default_vfs->xOpen(default_vfs, name, journal->real, flags, out_flags);
		if (code != SQLITE_OK) {
			sqlite3_free(journal->real);
			return code;
		}
	}
	journal->base.pMethods = &journal_methods;
	database->journal = journal;
	return SQLITE_OK;
}

bool in_place(const struct database *database)
{
	return !database->connection || (database->journal && database->journal->real);
}
