// SPDX-License-Identifier: MIT
/* A file in memory, which goes to a temporary file when it becomes too large for that. */
#include <string.h>

#include "database.h"

#define LARGEST_IN_MEMORY	(8u << 20)
#define FIRST_ROOM		(16u << 10)

int bytes_copy(const struct bytes *bytes, sqlite3_file *file)
{
	uint64_t done = 0;
	int code = SQLITE_OK;

	while (code == SQLITE_OK && done < bytes->size) {
		uint64_t rest = bytes->size - done;
		int length = rest < VFS_PIECE ? rest : VFS_PIECE;

		code = file->pMethods->xWrite(file, bytes->memory + done, length, done);
		done += length;
	}
	return code;
}

static int to_temporary_file(struct bytes *bytes)
{
	const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXCLUSIVE |
		SQLITE_OPEN_DELETEONCLOSE | SQLITE_OPEN_TEMP_JOURNAL;
	sqlite3_file *file = sqlite3_malloc64(default_vfs->szOsFile);
	int code;

	if (!file)
		return SQLITE_IOERR_NOMEM;
	memset(file, 0, default_vfs->szOsFile);
	code = default_vfs->xOpen(default_vfs, NULL, file, flags, NULL);
	if (code == SQLITE_OK)
		code = bytes_copy(bytes, file);
	if (code != SQLITE_OK) {
		if (file->pMethods)
			file->pMethods->xClose(file);
		sqlite3_free(file);
		return code;
	}
	sqlite3_free(bytes->memory);
	*bytes = (struct bytes){ .file = file };
	return SQLITE_OK;
}

static int make_room(struct bytes *bytes, uint64_t size)
{
	uint64_t room = bytes->room ?: FIRST_ROOM;
	char *memory;

	if (size <= bytes->room)
		return SQLITE_OK;
	while (room < size)
		room *= 2;
	memory = sqlite3_realloc64(bytes->memory, room);
	if (!memory)
		return SQLITE_IOERR_NOMEM;
	memset(memory + bytes->room, 0, room - bytes->room);
	bytes->memory = memory;
	bytes->room = room;
	return SQLITE_OK;
}

int bytes_read(const struct bytes *bytes, void *buffer, int length, sqlite3_int64 offset)
{
	uint64_t there = 0;

	if (bytes->file)
		return bytes->file->pMethods->xRead(bytes->file, buffer, length, offset);
	if ((uint64_t)offset < bytes->size)
		there = bytes->size - offset;
	if (there >= (uint64_t)length) {
		memcpy(buffer, bytes->memory + offset, length);
		return SQLITE_OK;
	}
	if (there)
		memcpy(buffer, bytes->memory + offset, there);
	memset((char *)buffer + there, 0, length - there);
	return SQLITE_IOERR_SHORT_READ;
}

int bytes_write(struct bytes *bytes, const void *buffer, int length, sqlite3_int64 offset)
{
	uint64_t end = offset + length;
	int code = SQLITE_OK;

	if (!bytes->file && end > LARGEST_IN_MEMORY)
		code = to_temporary_file(bytes);
	if (code == SQLITE_OK && bytes->file)
		return bytes->file->pMethods->xWrite(bytes->file, buffer, length, offset);
	if (code == SQLITE_OK)
		code = make_room(bytes, end);
	if (code != SQLITE_OK)
		return code;
	memcpy(bytes->memory + offset, buffer, length);
	if (end > bytes->size)
		bytes->size = end;
	return SQLITE_OK;
}

int bytes_truncate(struct bytes *bytes, sqlite3_int64 size)
{
	/* An empty one is in memory again. */
	if (!size) {
		bytes_drop(bytes);
		return SQLITE_OK;
	}
	if (bytes->file)
		return bytes->file->pMethods->xTruncate(bytes->file, size);
	/* What is cut off is zeros if it comes back. */
	if ((uint64_t)size < bytes->size) {
		memset(bytes->memory + size, 0, bytes->size - size);
		bytes->size = size;
	}
	return SQLITE_OK;
}

int bytes_size(const struct bytes *bytes, sqlite3_int64 *size)
{
	if (bytes->file)
		return bytes->file->pMethods->xFileSize(bytes->file, size);
	*size = bytes->size;
	return SQLITE_OK;
}

void bytes_drop(struct bytes *bytes)
{
	if (bytes->file) {
		bytes->file->pMethods->xClose(bytes->file);
		sqlite3_free(bytes->file);
	}
	sqlite3_free(bytes->memory);
	*bytes = (struct bytes){ 0 };
}
