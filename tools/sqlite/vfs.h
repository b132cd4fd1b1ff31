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

#endif /* EXCHRANGE_SQLITE_VFS_H */
