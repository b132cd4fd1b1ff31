// SPDX-License-Identifier: MIT
/* The methods of a database that is committed by exchanges. */
#include <string.h>
#include <unistd.h>

#include "database.h"

/*
 * SQLite looks at these bytes of the header when it begins to read with no transaction open,
 * and then only.
 */
#define VERSION_OFFSET	24
#define VERSION_LENGTH	16

/* And this byte is 2 in a database with a WAL. */
#define READ_VERSION	19

static struct database *database_of(sqlite3_file *file)
{
	return (struct database *)file;
}

static int database_close(sqlite3_file *file)
{
	struct database *self = database_of(file);
	int code;

	if (self->exchanges) {
		roll_back(self);
		set_foreign_super(self, NULL);
		remove_database(self);
		pages_drop(&self->pages);
	}
	if (self->device >= 0)
		close(self->device);
	code = self->real->pMethods->xClose(self->real);
	sqlite3_free(self->real);
	self->real = NULL;
	return code;
}

/*
 * What is left of a transaction then has been given up.  Its end is an unlock, except
 * where SQLite keeps its locks, or takes none (locking_mode=EXCLUSIVE, nolock=1).
 */
static bool begins_to_read(int length, sqlite3_int64 offset)
{
	return length == VERSION_LENGTH && offset == VERSION_OFFSET;
}

static int database_read(sqlite3_file *file, void *buffer, int length, sqlite3_int64 offset)
{
	struct database *self = database_of(file);
	uint32_t missing;

	if (self->torn)
		return SQLITE_IOERR_READ;
	if (self->pages.begun && begins_to_read(length, offset))
		roll_back(self);
	if (!pages_have(&self->pages, offset, length))
		return self->real->pMethods->xRead(self->real, buffer, length, offset);
	if (pages_read(&self->pages, buffer, length, offset, &missing))
		return SQLITE_IOERR_READ;
	return missing ? SQLITE_IOERR_SHORT_READ : SQLITE_OK;
}

/*
 * With locking_mode=EXCLUSIVE SQLite believes that it can have a WAL.  It would write this
 * header, and then could not open the database any more.
 */
static bool turns_to_wal(const struct database *self, const char *buffer, int length,
			 sqlite3_int64 offset)
{
	if (offset > READ_VERSION || offset + length <= READ_VERSION ||
	    buffer[READ_VERSION - offset] != 2)
		return false;
	log_once(TOPIC_WAL, SQLITE_CANTOPEN, "%s: there is no WAL mode with this VFS",
		 self->name);
	return true;
}

static int database_write(sqlite3_file *file, const void *buffer, int length,
			  sqlite3_int64 offset)
{
	struct database *self = database_of(file);
	int code;

	if (self->torn)
		return SQLITE_IOERR_WRITE;
	if (in_place(self))
		return self->real->pMethods->xWrite(self->real, buffer, length, offset);
	if (turns_to_wal(self, buffer, length, offset))
		return SQLITE_IOERR_WRITE;
	self->ready = false;
	code = prepare_pages(self);
	if (code != SQLITE_OK)
		return code;
	return code_of_errno(pages_write(&self->pages, buffer, length, offset));
}

/* Where nothing was written it is the end of a commit that has made the database smaller. */
static bool ends_a_commit(struct database *self, sqlite3_int64 size)
{
	sqlite3_int64 now;

	return !self->pages.begun && !self->real->pMethods->xFileSize(self->real, &now) && size <= now;
}

static int database_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	struct database *self = database_of(file);
	int code;

	if (self->torn)
		return SQLITE_IOERR_TRUNCATE;
	if (in_place(self) || ends_a_commit(self, size))
		return self->real->pMethods->xTruncate(self->real, size);
	code = prepare_pages(self);
	if (code != SQLITE_OK)
		return code;
	return code_of_errno(pages_truncate(&self->pages, size));
}

/* The commit does it. */
static int database_sync(sqlite3_file *file, int flags)
{
	struct database *self = database_of(file);

	if (in_place(self))
		return self->real->pMethods->xSync(self->real, flags);
	self->sync = true;
	return SQLITE_OK;
}

static int database_size(sqlite3_file *file, sqlite3_int64 *size)
{
	struct database *self = database_of(file);

	if (!self->pages.begun)
		return self->real->pMethods->xFileSize(self->real, size);
	*size = self->pages.size;
	return SQLITE_OK;
}

/* A transaction that was not committed by now is rolled back. */
static int database_unlock(sqlite3_file *file, int level)
{
	struct database *self = database_of(file);

	if (level <= SQLITE_LOCK_SHARED) {
		roll_back(self);
		set_foreign_super(self, NULL);
		self->torn = false;
	}
	return self->real->pMethods->xUnlock(self->real, level);
}

/* A mapping shows the file, and not what is in slots. */
static int database_fetch(sqlite3_file *file, sqlite3_int64 offset, int length, void **where)
{
	struct database *self = database_of(file);

	*where = NULL;
	if (self->torn || pages_have(&self->pages, offset, length))
		return SQLITE_OK;
	return self->real->pMethods->xFetch(self->real, offset, length, where);
}

/* --- file controls ---------------------------------------------------------------------- */

/* All is written.  @super: the super-journal's name, or NULL. */
static int make_ready(struct database *self, const char *super)
{
	int code;

	leave_super(self);
	self->thread = pthread_self();
	self->ready = true;

	/* A rollback of what was committed too early. */
	if (!super && self->foreign_super)
		return commit_alone(self);
	if (!super)
		return SQLITE_OK;
	self->super = find_super(super, strlen(super));
	if (self->super)
		return SQLITE_OK;

	/*
	 * The connection's own VFS is another one, whose deletion of the super-journal we do
	 * not see; and an error after that SQLite does not look at.  So it is now.
	 */
	log_once(TOPIC_FOREIGN_SUPER, SQLITE_WARNING,
		 "%s: several databases, not all by this VFS: each is committed by itself",
		 self->name);
	code = set_foreign_super(self, super);
	if (code != SQLITE_OK)
		return code;
	self->sync = true;
	return commit_alone(self);
}

static int second_phase(struct database *self)
{
	set_foreign_super(self, NULL);
	return self->pages.begun ? commit_ready(self) : SQLITE_OK;
}

/* PRAGMA exchrange tells how the database is committed. */
static int answer_pragma(const struct database *self, char **arguments)
{
	if (sqlite3_stricmp(arguments[1], "exchrange"))
		return SQLITE_NOTFOUND;
	if (self->exchanges)
		arguments[0] = sqlite3_mprintf("%s", backend_text(self->backend));
	else
		arguments[0] = sqlite3_mprintf("no: %s", reason_text(self->why_not));
	return arguments[0] ? SQLITE_OK : SQLITE_NOMEM;
}

static int through_control(struct database *self, int operation, void *argument)
{
	return self->real->pMethods->xFileControl(self->real, operation, argument);
}

static int any_control(struct database *self, int operation, void *argument)
{
	int code;

	if (operation == SQLITE_FCNTL_PRAGMA) {
		code = answer_pragma(self, argument);
		if (code != SQLITE_NOTFOUND)
			return code;
	}
	code = through_control(self, operation, argument);
	if (operation == SQLITE_FCNTL_VFSNAME && code == SQLITE_OK)
		*(char **)argument = sqlite3_mprintf("exchrange/%z", *(char **)argument);
	return code;
}

static int through_only_control(sqlite3_file *file, int operation, void *argument)
{
	return any_control(database_of(file), operation, argument);
}

static int database_control(sqlite3_file *file, int operation, void *argument)
{
	struct database *self = database_of(file);

	switch (operation) {
	case SQLITE_FCNTL_SYNC:
		if (self->pages.begun)
			return make_ready(self, argument);
		break;
	case SQLITE_FCNTL_COMMIT_PHASETWO:
		return second_phase(self);
	case SQLITE_FCNTL_BEGIN_ATOMIC_WRITE:
		return prepare_pages(self) ? SQLITE_IOERR_BEGIN_ATOMIC : SQLITE_OK;
	case SQLITE_FCNTL_COMMIT_ATOMIC_WRITE:
		/* Whatever follows: the second phase comes, or a rollback. */
		return SQLITE_OK;
	case SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE:
		roll_back(self);
		return SQLITE_OK;
	case SQLITE_FCNTL_SIZE_HINT:
		/* The file has its size until the commit. */
		if (!in_place(self))
			return SQLITE_OK;
		break;
	case SQLITE_FCNTL_CHUNK_SIZE:
		self->chunk = *(int *)argument > 0 ? *(int *)argument : 0;
		break;
	case SQLITE_FCNTL_PDB:
		self->connection = *(void **)argument;
		break;
	}
	return any_control(self, operation, argument);
}

static bool has_atomic_batches(void)
{
	static int answer = -1;

	if (answer < 0)
		answer = sqlite3_compileoption_used("ENABLE_BATCH_ATOMIC_WRITE");
	return answer;
}

static int database_characteristics(sqlite3_file *file)
{
	struct database *self = database_of(file);
	int flags = self->real->pMethods->xDeviceCharacteristics(self->real);

	/* SQLite then does without a journal of ours; builds that cannot, do not ask. */
	if (!in_place(self) && has_atomic_batches())
		flags |= SQLITE_IOCAP_BATCH_ATOMIC;
	return flags;
}

void database_methods(struct database *database)
{
	sqlite3_io_methods *methods = &database->methods;

	through_methods(methods, database->real->pMethods);
	methods->xClose = database_close;
	methods->xFileControl = through_only_control;
	database->base.pMethods = methods;
	if (!database->exchanges)
		return;

	methods->xRead = database_read;
	methods->xWrite = database_write;
	methods->xTruncate = database_truncate;
	methods->xSync = database_sync;
	methods->xFileSize = database_size;
	methods->xUnlock = database_unlock;
	methods->xFileControl = database_control;
	methods->xDeviceCharacteristics = database_characteristics;
	if (methods->xFetch)
		methods->xFetch = database_fetch;
	/* Without shared memory there is no WAL. */
	methods->xShmMap = NULL;
	methods->xShmLock = NULL;
	methods->xShmBarrier = NULL;
	methods->xShmUnmap = NULL;
}
