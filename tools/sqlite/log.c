// SPDX-License-Identifier: MIT
/* What users and administrators are told: SQLite's error log, and its codes. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "database.h"

void log_once(unsigned int topic, int code, const char *format, ...)
{
	static uint64_t said;
	const uint64_t bit = 1ull << topic;
	char text[512];
	va_list arguments;

	if (__atomic_fetch_or(&said, bit, __ATOMIC_RELAXED) & bit)
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	sqlite3_log(code, "exchrange: %s", text);
}

const char *reason_text(uint32_t reason)
{
	switch (reason) {
	case REASON_READ_ONLY:
		return "it is open for reading only";
	case REASON_DEFAULT_VFS:
		return "the default VFS is not SQLite's own for Unix";
	case REASON_VECTOR:
		return "the module is too old to exchange many ranges at once";
	case REASON_WAL:
		return "it is in WAL mode";
	case REASON_OTHER_VFS:
		return "another VFS is put on this one";
	case EXCHRANGE_REASON_NO_DEVICE:
		return "there is no /dev/exchrange: the module is not loaded";
	case EXCHRANGE_REASON_FILE_SYSTEM:
		return "its file system has no back end";
	default:
		return "its file has no back end ('exchrange query' says why)";
	}
}

const char *backend_text(uint32_t backend)
{
	switch (backend) {
	case EXCHRANGE_BACKEND_XFS:
		return "one XFS transaction, or XFS's own exchange of one range";
	case EXCHRANGE_BACKEND_XFS_TRANSACTION:
		return "one XFS transaction";
	case EXCHRANGE_BACKEND_BTRFS:
		return "one btrfs transaction";
	default:
		return "a rollback journal at the commit";
	}
}

void log_reason(const struct database *database)
{
	const uint32_t reason = database->why_not;
	/* Topics of their own: the device's reasons, the library's one, and ours. */
	const unsigned int topic = reason >= REASON_READ_ONLY ? 48 + reason - REASON_READ_ONLY :
		reason >= EXCHRANGE_REASON_NO_DEVICE ? 47 : 16 + reason % 31;

	if (reason != REASON_READ_ONLY)
		log_once(topic, SQLITE_NOTICE, "%s: as with the default VFS: %s", database->name,
			 reason_text(reason));
}

/*
 * Only codes by which SQLite throws its cache away, and reads the file again: SQLITE_FULL,
 * and those of SQLITE_IOERR.
 */
int code_of_errno(int error)
{
	switch (error) {
	case 0:
		return SQLITE_OK;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return SQLITE_FULL;
	case ENOMEM:
		return SQLITE_IOERR_NOMEM;
	default:
		return SQLITE_IOERR_WRITE;
	}
}
