// SPDX-License-Identifier: MIT
/*
 * The entry points.  SQLite makes their names of the file's: exchrange_vfs.so registers the VFS
 * "exchrange"; exchrange_vfs_default.so, a link to it, makes it the default of the process.
 */
#include <sqlite3ext.h>

#include "vfs.h"

SQLITE_EXTENSION_INIT1

/* sqlite3_filename_database() and sqlite3_filename_journal() */
#define OLDEST_SQLITE	3031000

static struct vfs by_name = { .base.zName = "exchrange" };
static struct vfs by_default = { .base.zName = "exchrange-default", .is_default = true };

static int load(struct vfs *vfs, char **message, const sqlite3_api_routines *api)
{
	sqlite3_vfs *there;
	int code;

	SQLITE_EXTENSION_INIT2(api);
	if (sqlite3_libversion_number() < OLDEST_SQLITE) {
		*message = sqlite3_mprintf("exchrange: SQLite %s is too old: 3.31 or newer",
					   sqlite3_libversion());
		return SQLITE_ERROR;
	}
	/*
	 * Every connection may load it.  It stays registered when SQLite is shut down, which makes
	 * its own VFS the default when it begins anew.
	 */
	there = sqlite3_vfs_find(vfs->base.zName);
	if (!there)
		code = register_vfs(vfs);
	else
		code = vfs->is_default ? sqlite3_vfs_register(there, 1) : SQLITE_OK;
	if (code != SQLITE_OK) {
		*message = sqlite3_mprintf("exchrange: the VFS cannot be registered");
		return code;
	}
	return SQLITE_OK_LOAD_PERMANENTLY;
}

int sqlite3_exchrangevfs_init(sqlite3 *connection, char **message,
			      const sqlite3_api_routines *api)
{
	(void)connection;
	return load(&by_name, message, api);
}

/* Both: a program may name the VFS as well. */
int sqlite3_exchrangevfsdefault_init(sqlite3 *connection, char **message,
				     const sqlite3_api_routines *api)
{
	int code = sqlite3_exchrangevfs_init(connection, message, api);

	return code == SQLITE_OK_LOAD_PERMANENTLY ? load(&by_default, message, api) : code;
}
