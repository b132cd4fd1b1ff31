/* SPDX-License-Identifier: MIT */
#ifndef EXCHRANGE_SQLITE_VFS_H
#define EXCHRANGE_SQLITE_VFS_H

#include <stdbool.h>
#include <sqlite3ext.h>

struct vfs {
	sqlite3_vfs	base;		/* must be the first; zName is set */
	bool		is_default;	/* for all that is opened after it is registered */
};

/* An SQLite code. */
int register_vfs(struct vfs *vfs);

/* SQLite finds them by these names, which it makes of the file's. */
#define EXPORT	__attribute__((visibility("default")))

EXPORT int sqlite3_exchrangevfs_init(sqlite3 *connection, char **message,
				     const sqlite3_api_routines *api);
EXPORT int sqlite3_exchrangevfsdefault_init(sqlite3 *connection, char **message,
					    const sqlite3_api_routines *api);

#endif /* EXCHRANGE_SQLITE_VFS_H */
