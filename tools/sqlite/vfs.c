// SPDX-License-Identifier: MIT
/* The VFS: what is opened, and whether a database is committed by exchanges. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "database.h"
#include "vfs.h"

static bool descriptors;	/* descriptor_of() works */

/* --- a database ------------------------------------------------------------------------ */

static uint32_t fail(struct database *database, uint32_t reason)
{
	database->why_not = reason;
	return reason;
}

/* What the header says: 1, 2 with a WAL; 0: nothing. */
static int read_version(sqlite3_file *file)
{
	unsigned char version = 0;

	return file->pMethods->xRead(file, &version, 1, 19) == SQLITE_OK ? version : 0;
}

/* file:x.db?exchrange=journal: as where a commit is too large to be exchanged. */
static bool by_journal(const char *name)
{
	const char *how = sqlite3_uri_parameter(name, "exchrange");

	return how && strcmp(how, "journal") == 0;
}

/*
 * SQLite does.  Else it is a VFS on top of this one, as the multiplexer, that keeps a database in
 * several files, and their journal where it likes.
 */
static bool names_its_journal(const char *name)
{
	return sqlite3_filename_journal(name)[0] != '\0';
}

static uint32_t ask_device(struct database *database, struct exchrange_query *query)
{
	database->device = exchrange_open();
	if (database->device < 0)
		return fail(database, EXCHRANGE_REASON_NO_DEVICE);
	query->fd = database->fd;
	if (exchrange_query(database->device, query))
		return fail(database, EXCHRANGE_REASON_FILE_SYSTEM);
	if (query->backend == EXCHRANGE_BACKEND_NONE)
		return fail(database, query->reason);
	if (!(query->features & EXCHRANGE_FEATURE_VECTOR) ||
	    !(query->flags & EXCHRANGE_TO_EOF) || !(query->flags & EXCHRANGE_DSYNC))
		return fail(database, REASON_VECTOR);
	return 0;
}

/* 0: it is committed by exchanges. */
static uint32_t decide(struct database *database, int flags)
{
	struct exchrange_query query = { .alignment = 4096 };
	struct stat st;

	if (flags & SQLITE_OPEN_READONLY)
		return fail(database, REASON_READ_ONLY);
	if (!names_its_journal(database->name))
		return fail(database, REASON_OTHER_VFS);
	if (read_version(database->real) == 2)
		return fail(database, REASON_WAL);
	database->fd = descriptors ? descriptor_of(database->real, database->name) : -1;
	if (database->fd < 0)
		return fail(database, REASON_DEFAULT_VFS);
	if (!by_journal(database->name) && ask_device(database, &query))
		return database->why_not;
	if (fstat(database->fd, &st))
		return fail(database, REASON_DEFAULT_VFS);
	database->backend = query.backend;
	database->fresh = st.st_size == 0;
	pages_init(&database->pages, database->fd, query.alignment);
	return 0;
}

/* Whoever asked for this VFS by name is told; with the default one all goes on as it was. */
static int refuse_wal(const struct vfs *vfs, const struct database *database)
{
	sqlite3_log(SQLITE_CANTOPEN, "exchrange: %s is in WAL mode, which the VFS \"%s\" has not: PRAGMA journal_mode=DELETE by the default VFS first",
		    database->name, vfs->base.zName);
	return SQLITE_CANTOPEN;
}

static int open_real(struct database *database, int flags, int *out_flags)
{
	sqlite3_file *real = sqlite3_malloc64(default_vfs->szOsFile);
	int code;

	if (!real)
		return SQLITE_NOMEM;
	memset(real, 0, default_vfs->szOsFile);
	code = default_vfs->xOpen(default_vfs, database->name, real, flags, out_flags);
	if (code != SQLITE_OK) {
		if (real->pMethods)
			real->pMethods->xClose(real);
		sqlite3_free(real);
		return code;
	}
	database->real = real;
	return SQLITE_OK;
}

static int open_database(const struct vfs *vfs, const char *name, struct database *database,
			 int flags, int *out_flags)
{
	int opened = flags, code;

	*database = (struct database){ .name = name, .device = -1, .fd = -1 };
	code = open_real(database, flags, &opened);
	if (code != SQLITE_OK)
		return code;
	if (out_flags)
		*out_flags = opened;

	database->exchanges = !decide(database, opened);
	database_methods(database);
	if (database->exchanges) {
		add_database(database);
		return SQLITE_OK;
	}
	if (database->why_not == REASON_WAL && !vfs->is_default) {
		code = refuse_wal(vfs, database);
		database->base.pMethods->xClose(&database->base);
		database->base.pMethods = NULL;
		return code;
	}
	if (database->device >= 0)
		close(database->device);
	database->device = -1;
	log_reason(database);
	return SQLITE_OK;
}

/* --- the VFS's functions -------------------------------------------------------------------- */

static const struct vfs *vfs_of(sqlite3_vfs *vfs)
{
	return (const struct vfs *)vfs;
}

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
		    int *out_flags)
{
	struct database *owner = NULL;
	int code;

	if (name && flags & SQLITE_OPEN_MAIN_DB)
		return open_database(vfs_of(vfs), name, (struct database *)file, flags, out_flags);
	if (name && flags & SQLITE_OPEN_SUPER_JOURNAL) {
		code = open_super(name, file, flags, out_flags);
		if (code != SQLITE_NOTFOUND)
			return code;
	}
	if (name && flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL))
		owner = database_of_name(sqlite3_filename_database(name));
	if (owner && flags & SQLITE_OPEN_WAL) {
		log_once(TOPIC_WAL, SQLITE_CANTOPEN, "%s: there is no WAL mode with this VFS",
			 owner->name);
		return SQLITE_CANTOPEN;
	}
	/* To look whether it is hot, SQLite opens it for reading. */
	if (owner && flags & SQLITE_OPEN_READWRITE)
		return open_journal(owner, name, file, flags, out_flags);
	return default_vfs->xOpen(default_vfs, name, file, flags, out_flags);
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync_directory)
{
	int code = delete_super(name, sync_directory);

	(void)vfs;
	if (code != SQLITE_NOTFOUND)
		return code;
	if (is_torn(name))
		return SQLITE_IOERR_DELETE;
	if (!database_of_journal(name))
		return default_vfs->xDelete(default_vfs, name, sync_directory);

	/*
	 * There mostly is none on the disk.  Where one is, it must not come back after a power
	 * cut: the database may have changed since.
	 */
	code = default_vfs->xDelete(default_vfs, name, 1);
	return code == SQLITE_IOERR_DELETE_NOENT ? SQLITE_OK : code;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *result)
{
	int code = super_exists(name, result);

	(void)vfs;
	if (code != SQLITE_NOTFOUND)
		return code;
	return default_vfs->xAccess(default_vfs, name, flags, result);
}

static int larger(int a, int b)
{
	return a > b ? a : b;
}

static int find_default(void)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

	/* Connections of two threads may load the extension at once. */
	pthread_mutex_lock(&mutex);
	if (!default_vfs) {
		default_vfs = sqlite3_vfs_find(NULL);
		descriptors = default_vfs && prepare_descriptors();
	}
	pthread_mutex_unlock(&mutex);
	return default_vfs ? SQLITE_OK : SQLITE_ERROR;
}

int register_vfs(struct vfs *vfs)
{
	if (find_default() != SQLITE_OK)
		return SQLITE_ERROR;
	through_vfs(&vfs->base);
	vfs->base.szOsFile = larger(larger(sizeof(struct database), sizeof(struct journal_file)),
				    larger(super_file_size, default_vfs->szOsFile));
	vfs->base.xOpen = vfs_open;
	vfs->base.xDelete = vfs_delete;
	vfs->base.xAccess = vfs_access;
	return sqlite3_vfs_register(&vfs->base, vfs->is_default);
}
