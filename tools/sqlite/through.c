// SPDX-License-Identifier: MIT
/* What goes through to the default VFS as it is, and which descriptor that has of a file. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "database.h"

sqlite3_vfs *default_vfs;

/* --- of a file ---------------------------------------------------------------------- */

static sqlite3_file *real(sqlite3_file *file)
{
	return ((struct database *)file)->real;
}

static int through_read(sqlite3_file *file, void *buffer, int length, sqlite3_int64 offset)
{
	return real(file)->pMethods->xRead(real(file), buffer, length, offset);
}

static int through_write(sqlite3_file *file, const void *buffer, int length,
			 sqlite3_int64 offset)
{
	return real(file)->pMethods->xWrite(real(file), buffer, length, offset);
}

static int through_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	return real(file)->pMethods->xTruncate(real(file), size);
}

static int through_sync(sqlite3_file *file, int flags)
{
	return real(file)->pMethods->xSync(real(file), flags);
}

static int through_size(sqlite3_file *file, sqlite3_int64 *size)
{
	return real(file)->pMethods->xFileSize(real(file), size);
}

static int through_lock(sqlite3_file *file, int level)
{
	return real(file)->pMethods->xLock(real(file), level);
}

static int through_unlock(sqlite3_file *file, int level)
{
	return real(file)->pMethods->xUnlock(real(file), level);
}

static int through_check_reserved(sqlite3_file *file, int *reserved)
{
	return real(file)->pMethods->xCheckReservedLock(real(file), reserved);
}

static int through_sector_size(sqlite3_file *file)
{
	return real(file)->pMethods->xSectorSize(real(file));
}

static int through_characteristics(sqlite3_file *file)
{
	return real(file)->pMethods->xDeviceCharacteristics(real(file));
}

static int through_shm_map(sqlite3_file *file, int region, int size, int extend,
			   void volatile **where)
{
	return real(file)->pMethods->xShmMap(real(file), region, size, extend, where);
}

static int through_shm_lock(sqlite3_file *file, int offset, int count, int flags)
{
	return real(file)->pMethods->xShmLock(real(file), offset, count, flags);
}

static void through_shm_barrier(sqlite3_file *file)
{
	real(file)->pMethods->xShmBarrier(real(file));
}

static int through_shm_unmap(sqlite3_file *file, int delete)
{
	return real(file)->pMethods->xShmUnmap(real(file), delete);
}

static int through_fetch(sqlite3_file *file, sqlite3_int64 offset, int length, void **where)
{
	return real(file)->pMethods->xFetch(real(file), offset, length, where);
}

static int through_unfetch(sqlite3_file *file, sqlite3_int64 offset, void *where)
{
	return real(file)->pMethods->xUnfetch(real(file), offset, where);
}

void through_methods(sqlite3_io_methods *methods, const sqlite3_io_methods *of)
{
	*methods = (sqlite3_io_methods){
		.iVersion = of->iVersion < 3 ? of->iVersion : 3,
		.xRead = through_read,
		.xWrite = through_write,
		.xTruncate = through_truncate,
		.xSync = through_sync,
		.xFileSize = through_size,
		.xLock = through_lock,
		.xUnlock = through_unlock,
		.xCheckReservedLock = through_check_reserved,
		.xSectorSize = through_sector_size,
		.xDeviceCharacteristics = through_characteristics,
	};
	if (of->iVersion >= 2 && of->xShmMap) {
		methods->xShmMap = through_shm_map;
		methods->xShmLock = through_shm_lock;
		methods->xShmBarrier = through_shm_barrier;
		methods->xShmUnmap = through_shm_unmap;
	}
	if (of->iVersion >= 3 && of->xFetch) {
		methods->xFetch = through_fetch;
		methods->xUnfetch = through_unfetch;
	}
}

/* --- of the VFS ---------------------------------------------------------------------- */

static int through_full_name(sqlite3_vfs *vfs, const char *name, int room, char *full)
{
	(void)vfs;
	return default_vfs->xFullPathname(default_vfs, name, room, full);
}

static void *through_dl_open(sqlite3_vfs *vfs, const char *name)
{
	(void)vfs;
	return default_vfs->xDlOpen(default_vfs, name);
}

static void through_dl_error(sqlite3_vfs *vfs, int room, char *text)
{
	(void)vfs;
	default_vfs->xDlError(default_vfs, room, text);
}

static void (*through_dl_symbol(sqlite3_vfs *vfs, void *handle, const char *symbol))(void)
{
	(void)vfs;
	return default_vfs->xDlSym(default_vfs, handle, symbol);
}

static void through_dl_close(sqlite3_vfs *vfs, void *handle)
{
	(void)vfs;
	default_vfs->xDlClose(default_vfs, handle);
}

static int through_randomness(sqlite3_vfs *vfs, int length, char *buffer)
{
	(void)vfs;
	return default_vfs->xRandomness(default_vfs, length, buffer);
}

static int through_sleep(sqlite3_vfs *vfs, int microseconds)
{
	(void)vfs;
	return default_vfs->xSleep(default_vfs, microseconds);
}

static int through_time(sqlite3_vfs *vfs, double *now)
{
	(void)vfs;
	return default_vfs->xCurrentTime(default_vfs, now);
}

static int through_last_error(sqlite3_vfs *vfs, int room, char *text)
{
	(void)vfs;
	return default_vfs->xGetLastError(default_vfs, room, text);
}

static int through_time_64(sqlite3_vfs *vfs, sqlite3_int64 *now)
{
	(void)vfs;
	return default_vfs->xCurrentTimeInt64(default_vfs, now);
}

static int through_set_call(sqlite3_vfs *vfs, const char *name, sqlite3_syscall_ptr call)
{
	(void)vfs;
	return default_vfs->xSetSystemCall(default_vfs, name, call);
}

static sqlite3_syscall_ptr through_get_call(sqlite3_vfs *vfs, const char *name)
{
	(void)vfs;
	return default_vfs->xGetSystemCall(default_vfs, name);
}

static const char *through_next_call(sqlite3_vfs *vfs, const char *name)
{
	(void)vfs;
	return default_vfs->xNextSystemCall(default_vfs, name);
}

void through_vfs(sqlite3_vfs *vfs)
{
	vfs->iVersion = default_vfs->iVersion < 3 ? default_vfs->iVersion : 3;
	vfs->mxPathname = default_vfs->mxPathname;
	vfs->xFullPathname = through_full_name;
	vfs->xDlOpen = through_dl_open;
	vfs->xDlError = through_dl_error;
	vfs->xDlSym = through_dl_symbol;
	vfs->xDlClose = through_dl_close;
	vfs->xRandomness = through_randomness;
	vfs->xSleep = through_sleep;
	vfs->xCurrentTime = through_time;
	vfs->xGetLastError = through_last_error;
	if (vfs->iVersion >= 2 && default_vfs->xCurrentTimeInt64)
		vfs->xCurrentTimeInt64 = through_time_64;
	if (vfs->iVersion >= 3 && default_vfs->xSetSystemCall) {
		vfs->xSetSystemCall = through_set_call;
		vfs->xGetSystemCall = through_get_call;
		vfs->xNextSystemCall = through_next_call;
	}
}

/* --- its descriptor -------------------------------------------------------------------- */

/*
 * A descriptor of our own would have to be closed, and that would end the locks that this
 * process has of the database: POSIX ties them to the process, not to a descriptor.  So
 * the default VFS's is used.  It asks for a file's size by fstat(2), which SQLite lets
 * others stand in for.
 */
static int (*next_fstat)(int fd, struct stat *st);
static __thread int *asked_for;	/* where to put the descriptor, or NULL */

static int note_fstat(int fd, struct stat *st)
{
	if (asked_for)
		*asked_for = fd;
	return next_fstat(fd, st);
}

bool prepare_descriptors(void)
{
	if (strncmp(default_vfs->zName, "unix", 4) || default_vfs->iVersion < 3 ||
	    !default_vfs->xSetSystemCall)
		return false;
	if (!next_fstat)
		next_fstat = (int (*)(int, struct stat *))
			default_vfs->xGetSystemCall(default_vfs, "fstat");
	return next_fstat &&
		default_vfs->xSetSystemCall(default_vfs, "fstat",
					    (sqlite3_syscall_ptr)note_fstat) == SQLITE_OK;
}

int descriptor_of(sqlite3_file *file, const char *name)
{
	struct stat by_name, by_descriptor;
	sqlite3_int64 size;
	int fd = -1, code;

	asked_for = &fd;
	code = file->pMethods->xFileSize(file, &size);
	asked_for = NULL;
	if (code != SQLITE_OK || fd < 0 || (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDWR)
		return -1;
	if (fstat(fd, &by_descriptor) || !S_ISREG(by_descriptor.st_mode) ||
	    stat(name, &by_name) || by_name.st_ino != by_descriptor.st_ino ||
	    by_name.st_dev != by_descriptor.st_dev)
		return -1;
	return fd;
}
