// SPDX-License-Identifier: MIT
/*
 * Super-journals: files whose deletion commits a transaction of several databases.  Here that
 * deletion is one exchange for all of them.
 *
 * A super-journal is in memory.  It is on the disk too if a journal on the disk names it, that of
 * a database which is not committed by exchanges: after a crash SQLite looks for it there.
 */
#include <string.h>

#include "database.h"

struct super_file {
	sqlite3_file		base;		/* must be the first */
	struct super_journal	*super;
	sqlite3_file		*real;		/* on the disk, or NULL */
	const char		*name;		/* as SQLite has it, for the default VFS */
	int			flags;
};

const int super_file_size = sizeof(struct super_file);

/* With the list's lock. */
static struct super_journal *supers;

/* --- the list ------------------------------------------------------------------------ */

static struct super_journal *find_locked(const char *name, size_t length)
{
	struct super_journal *super;

	for (super = supers; super; super = super->next)
		if (strlen(super->name) == length && memcmp(super->name, name, length) == 0)
			break;
	return super;
}

struct super_journal *find_super(const char *name, size_t length)
{
	struct super_journal *super;

	list_lock();
	super = find_locked(name, length);
	list_unlock();
	return super;
}

/* With the lock: a transaction has yet to be rolled back, or committed, that goes by it. */
static bool is_named(const struct super_journal *super)
{
	const struct database *database;

	for (database = databases; database; database = database->next)
		if (database->super == super ||
		    (database->journal && database->journal->super == super))
			return true;
	return false;
}

static void drop_super(struct super_journal *super)
{
	bytes_drop(&super->bytes);
	sqlite3_free(super->name);
	sqlite3_free(super);
}

/* With the lock; the caller drops it. */
static void unlink_super(struct super_journal *super)
{
	struct super_journal **link = &supers;

	while (*link != super)
		link = &(*link)->next;
	*link = super->next;
}

/*
 * Those that SQLite did not delete, after an error, go when nobody needs them.  This thread's
 * only: in another one a commit may be between closing and deleting its super-journal.
 */
static void sweep(void)
{
	struct super_journal *super, *next, *unused = NULL;

	list_lock();
	for (super = supers; super; super = next) {
		next = super->next;
		if (super->opened || is_named(super) ||
		    !pthread_equal(super->thread, pthread_self()))
			continue;
		unlink_super(super);
		super->next = unused;
		unused = super;
	}
	list_unlock();
	for (; unused; unused = next) {
		next = unused->next;
		drop_super(unused);
	}
}

void leave_super(struct database *database)
{
	if (!database->super)
		return;
	list_lock();
	database->super->over = true;
	database->super = NULL;
	list_unlock();
}

int set_foreign_super(struct database *database, const char *name)
{
	char *copy = NULL, *old = database->foreign_super;

	if (!name && !old)
		return SQLITE_OK;
	if (name) {
		copy = sqlite3_mprintf("%s", name);
		if (!copy)
			return SQLITE_IOERR_NOMEM;
	}
	list_lock();
	database->foreign_super = copy;
	list_unlock();
	sqlite3_free(old);
	return SQLITE_OK;
}

/* --- the file ------------------------------------------------------------------------- */

static struct super_file *super_of(sqlite3_file *file)
{
	return (struct super_file *)file;
}

static int super_close(sqlite3_file *file)
{
	struct super_file *self = super_of(file);
	int code = SQLITE_OK;

	if (self->real) {
		code = self->real->pMethods->xClose(self->real);
		sqlite3_free(self->real);
	}
	list_lock();
	self->super->opened--;
	list_unlock();
	return code;
}

static int super_read(sqlite3_file *file, void *buffer, int length, sqlite3_int64 offset)
{
	return bytes_read(&super_of(file)->super->bytes, buffer, length, offset);
}

static int super_write(sqlite3_file *file, const void *buffer, int length, sqlite3_int64 offset)
{
	return bytes_write(&super_of(file)->super->bytes, buffer, length, offset);
}

static int super_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	return bytes_truncate(&super_of(file)->super->bytes, size);
}

static int super_size(sqlite3_file *file, sqlite3_int64 *size)
{
	return bytes_size(&super_of(file)->super->bytes, size);
}

/* Journals that have this super-journal's name will be in memory, all of them. */
static bool all_in_memory(const struct super_journal *super)
{
	const char *name = super->bytes.memory;
	const char *end = name + super->bytes.size;

	for (; name < end; name += strlen(name) + 1) {
		const struct database *database = database_of_journal(name);

		if (!database || in_place(database))
			return false;
	}
	return true;
}

static int put_on_disk(struct super_file *self)
{
	int code;

	self->real = sqlite3_malloc64(default_vfs->szOsFile);
	if (!self->real)
		return SQLITE_NOMEM;
	memset(self->real, 0, default_vfs->szOsFile);
	code = default_vfs->xOpen(default_vfs, self->name, self->real, self->flags, NULL);
	if (code != SQLITE_OK) {
		sqlite3_free(self->real);
		self->real = NULL;
		return code;
	}
	self->super->on_disk = true;
	return bytes_copy(&self->super->bytes, self->real);
}

/* All names are written when SQLite syncs it, and no journal has its name yet. */
static int super_sync(sqlite3_file *file, int flags)
{
	struct super_file *self = super_of(file);
	int code = SQLITE_OK;

	if (self->super->bytes.file)
		return SQLITE_IOERR_FSYNC;	/* MiB of names */
	if (!self->super->on_disk && !all_in_memory(self->super))
		code = put_on_disk(self);
	if (code == SQLITE_OK && self->real)
		code = self->real->pMethods->xSync(self->real, flags);
	return code;
}

static int super_lock(sqlite3_file *file, int level)
{
	(void)file;
	(void)level;
	return SQLITE_OK;
}

static int super_check_reserved(sqlite3_file *file, int *reserved)
{
	(void)file;
	*reserved = 0;
	return SQLITE_OK;
}

static int super_control(sqlite3_file *file, int operation, void *argument)
{
	(void)file;
	(void)operation;
	(void)argument;
	return SQLITE_NOTFOUND;
}

/* Nothing that would spare SQLite the sync. */
static int super_zero(sqlite3_file *file)
{
	(void)file;
	return 0;
}

static const sqlite3_io_methods super_methods = {
	.iVersion = 1,
	.xClose = super_close,
	.xRead = super_read,
	.xWrite = super_write,
	.xTruncate = super_truncate,
	.xSync = super_sync,
	.xFileSize = super_size,
	.xLock = super_lock,
	.xUnlock = super_lock,
	.xCheckReservedLock = super_check_reserved,
	.xFileControl = super_control,
	.xSectorSize = super_zero,
	.xDeviceCharacteristics = super_zero,
};

/* --- what the VFS does with them --------------------------------------------------------- */

static struct super_journal *make_super(const char *name)
{
	struct super_journal *super = sqlite3_malloc64(sizeof(*super));

	if (!super)
		return NULL;
	*super = (struct super_journal){
		.name = sqlite3_mprintf("%s", name), .thread = pthread_self(),
	};
	if (!super->name) {
		sqlite3_free(super);
		return NULL;
	}
	list_lock();
	super->next = supers;
	supers = super;
	list_unlock();
	return super;
}

int open_super(const char *name, sqlite3_file *file, int flags, int *out_flags)
{
	struct super_journal *super;

	sweep();
	super = find_super(name, strlen(name));
	if (!super) {
		if (!(flags & SQLITE_OPEN_CREATE) || !databases)
			return SQLITE_NOTFOUND;
		super = make_super(name);
		if (!super)
			return SQLITE_NOMEM;
	}
	list_lock();
	super->opened++;
	list_unlock();
	*super_of(file) = (struct super_file){
		.base.pMethods = &super_methods, .super = super, .name = name, .flags = flags,
	};
	if (out_flags)
		*out_flags = flags;
	return SQLITE_OK;
}

static void members_of(const struct super_journal *super, struct group *group)
{
	struct database *database;

	group->count = 0;
	list_lock();
	for (database = databases; database; database = database->next)
		if (database->super == super && group->count < GROUP_MAX)
			group->members[group->count++] = database;
	list_unlock();
}

/*
 * The deletion that has to be durable is the commit.  SQLite deletes a super-journal otherwise
 * too, when the last journal that names it was rolled back: it must not go before.
 */
int delete_super(const char *name, int sync_directory)
{
	struct super_journal *super = find_super(name, strlen(name));
	struct group group;
	int code = SQLITE_OK;
	bool keep;

	if (!super)
		return SQLITE_NOTFOUND;
	if (sync_directory && !super->over) {
		members_of(super, &group);
		if (group.count)
			code = commit_group(&group, super->on_disk ? name : NULL);
		else if (super->on_disk)
			code = default_vfs->xDelete(default_vfs, name, sync_directory);
		if (code != SQLITE_OK) {
			super->over = true;
			return code;
		}
		keep = false;
	} else {
		list_lock();
		keep = is_named(super);
		list_unlock();
		if (!keep && super->on_disk)
			code = default_vfs->xDelete(default_vfs, name, sync_directory);
	}
	list_lock();
	keep |= super->opened > 0;
	if (!keep) {
		struct database *database;

		/* Their journals are in memory yet, and mean nothing any more. */
		for (database = databases; database; database = database->next)
			if (database->journal && database->journal->super == super)
				database->journal->super = NULL;
		unlink_super(super);
	}
	list_unlock();
	if (!keep)
		drop_super(super);
	return code;
}

int super_exists(const char *name, int *exists)
{
	const struct database *database;
	bool found;

	list_lock();
	found = find_locked(name, strlen(name));
	for (database = databases; database && !found; database = database->next)
		found = database->foreign_super && strcmp(database->foreign_super, name) == 0;
	list_unlock();
	if (!found)
		return SQLITE_NOTFOUND;
	*exists = 1;
	return SQLITE_OK;
}
