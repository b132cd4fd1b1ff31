// SPDX-License-Identifier: GPL-2.0
/*
 * Has a program that knows nothing of it load the VFS: the extension of $EXCHRANGE_VFS, when the
 * program starts (as a preloaded library), or when its SQLite is initialized
 * (SQLITE_EXTRA_INIT).
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

int load_exchrange_vfs(const char *unused);

int load_exchrange_vfs(const char *unused)
{
	const char *path = getenv("EXCHRANGE_VFS");
	char *message = NULL;
	sqlite3 *db;
	int code;

	(void)unused;
	if (!path)
		return SQLITE_OK;
	code = sqlite3_open(":memory:", &db);
	if (code == SQLITE_OK) {
		sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1, NULL);
		code = sqlite3_load_extension(db, path, NULL, &message);
	}
	if (code)
		fprintf(stderr, "%s: %s\n", path, message ? message : sqlite3_errstr(code));
	sqlite3_close(db);
	return code;
}

#ifdef PRELOADED
__attribute__((constructor)) static void load_at_start(void)
{
	if (load_exchrange_vfs(NULL))
		exit(1);
}
#endif
