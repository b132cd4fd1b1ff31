// SPDX-License-Identifier: MIT
/*
 * The commit in SQLite's own way, for what cannot be exchanged: a rollback journal on the
 * disk with the pages as they were, the new pages to their places, and the journal goes; with
 * several databases, a super-journal.  After a crash any SQLite rolls it back, by whatever VFS.
 *
 * Journals have the format of https://www.sqlite.org/fileformat2.html#the_rollback_journal.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "database.h"

#define HEADER		512	/* bytes; the journal's "sector" */
#define LOCK_BYTE	0x40000000	/* the page that has it is never written */
#define SMALLEST_PAGE	512
#define LARGEST_PAGE	65536

static const unsigned char magic[8] = { 0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7 };

/* One database of the commit. */
struct part {
	struct database	*database;
	sqlite3_file	*journal;	/* NULL: not there */
	const char	*name;		/* of the journal */
	sqlite3_int64	end;		/* of what was written of it */
	uint32_t	page_size;	/* of the old file */
	uint32_t	next_page;	/* that may have to be saved, counted from 1 */
	uint32_t	saved;		/* pages */
	uint32_t	nonce;
	unsigned char	*page;		/* page_size + 8 bytes */
	bool		in_place;	/* pages of the file have been written */
};

static void put_32(unsigned char *to, uint32_t value)
{
	to[0] = value >> 24;
	to[1] = value >> 16;
	to[2] = value >> 8;
	to[3] = value;
}

static uint32_t get_32(const unsigned char *from)
{
	return (uint32_t)from[0] << 24 | from[1] << 16 | from[2] << 8 | from[3];
}

/* --- the journal ---------------------------------------------------------------------- */

/* What rolls back need not be of the database's pages, but the page of the locks is. */
static uint32_t page_size_of(const struct database *database)
{
	unsigned char field[2];
	uint32_t size;

	if (pread(database->fd, field, 2, 16) != 2)
		return database->pages.unit;
	size = field[0] << 8 | field[1];
	if (size == 1)
		size = LARGEST_PAGE;
	if (size < SMALLEST_PAGE || size & (size - 1))
		return database->pages.unit <= LARGEST_PAGE ? database->pages.unit : LARGEST_PAGE;
	return size;
}

static int append(struct part *part, const void *buffer, int length)
{
	int code = part->journal->pMethods->xWrite(part->journal, buffer, length, part->end);

	part->end += length;
	return code;
}

static int write_header(struct part *part, uint32_t records)
{
	const struct pages *pages = &part->database->pages;
	unsigned char header[HEADER] = { 0 };

	memcpy(header, magic, sizeof(magic));
	put_32(header + 8, records);
	put_32(header + 12, part->nonce);
	put_32(header + 16, (pages->old_size + part->page_size - 1) / part->page_size);
	put_32(header + 20, HEADER);
	put_32(header + 24, part->page_size);
	return part->journal->pMethods->xWrite(part->journal, header, HEADER, 0);
}

static uint32_t checksum(const struct part *part, const unsigned char *page)
{
	uint32_t sum = part->nonce;
	int i;

	for (i = (int)part->page_size - 200; i > 0; i -= 200)
		sum += page[i];
	return sum;
}

/* Returns an SQLite code, as pages_each() hands it on. */
static int save_page(struct part *part, uint32_t number)
{
	const struct database *database = part->database;
	unsigned char *page = part->page + 4;
	uint64_t offset = (uint64_t)(number - 1) * part->page_size;
	ssize_t length = pread(database->fd, page, part->page_size, offset);

	if (length < 0)
		return SQLITE_IOERR_READ;
	memset(page + length, 0, part->page_size - length);
	put_32(part->page, number);
	put_32(page + part->page_size, checksum(part, page));
	part->saved++;
	return append(part, part->page, part->page_size + 8);
}

/* The pages that a run of changed bytes touches, each once, as far as the old file goes. */
static int save_run(void *context, uint64_t offset, uint64_t length)
{
	struct part *part = context;
	uint64_t end = offset + length;
	uint32_t number = offset / part->page_size + 1;
	int code = SQLITE_OK;

	if (end > part->database->pages.old_size)
		end = part->database->pages.old_size;
	if (number < part->next_page)
		number = part->next_page;
	for (; code == SQLITE_OK && (uint64_t)(number - 1) * part->page_size < end; number++)
		if (number != LOCK_BYTE / part->page_size + 1)
			code = save_page(part, number);
	part->next_page = number;
	return code;
}

static int name_super(struct part *part, const char *super)
{
	const int length = strlen(super);
	unsigned char field[20];
	uint32_t sum = 0;
	int i, code;

	for (i = 0; i < length; i++)
		sum += super[i];
	put_32(field, LOCK_BYTE / part->page_size + 1);
	put_32(field + 4, length);
	put_32(field + 8, sum);
	memcpy(field + 12, magic, sizeof(magic));
	code = append(part, field, 4);
	if (code == SQLITE_OK)
		code = append(part, super, length);
	if (code == SQLITE_OK)
		code = append(part, field + 4, 16);
	return code;
}

/*
 * Whatever "synchronous" says: without it a power cut could leave a part of the pages, or a
 * journal that rolls back what was committed after it.
 */
static int sync_file(sqlite3_file *file)
{
	return file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
}

static int open_part(struct part *part)
{
	const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MAIN_JOURNAL;
	sqlite3_file *file;
	int code;

	part->name = sqlite3_filename_journal(part->database->name);
	part->page_size = page_size_of(part->database);
	part->end = HEADER;
	sqlite3_randomness(sizeof(part->nonce), &part->nonce);
	part->page = sqlite3_malloc64(part->page_size + 8);
	file = sqlite3_malloc64(default_vfs->szOsFile);
	if (!file || !part->page) {
		sqlite3_free(file);
		return SQLITE_IOERR_NOMEM;
	}
	memset(file, 0, default_vfs->szOsFile);
	code = default_vfs->xOpen(default_vfs, part->name, file, flags, NULL);
	if (code != SQLITE_OK) {
		sqlite3_free(file);
		return SQLITE_IOERR_WRITE;
	}
	part->journal = file;
	return file->pMethods->xTruncate(file, 0);
}

/* Records first, then their number: a journal that was torn rolls back nothing. */
static int write_journal(struct part *part, const char *super)
{
	int code = open_part(part);

	if (code == SQLITE_OK)
		code = write_header(part, 0);
	if (code == SQLITE_OK)
		code = pages_each(&part->database->pages, save_run, part);
	if (code == ENOMEM)
		code = SQLITE_IOERR_NOMEM;
	if (code == SQLITE_OK && super)
		code = name_super(part, super);
	if (code == SQLITE_OK)
		code = sync_file(part->journal);
	if (code == SQLITE_OK)
		code = write_header(part, part->saved);
	if (code == SQLITE_OK)
		code = sync_file(part->journal);
	return code;
}

static void close_journal(struct part *part)
{
	if (!part->journal)
		return;
	part->journal->pMethods->xClose(part->journal);
	sqlite3_free(part->journal);
	part->journal = NULL;
}

/* --- the pages ------------------------------------------------------------------------- */

static int write_run(void *context, uint64_t offset, uint64_t length)
{
	struct part *part = context;
	sqlite3_file *real = part->database->real;
	char *piece = sqlite3_malloc64(VFS_PIECE);
	int code = piece ? SQLITE_OK : SQLITE_IOERR_NOMEM;

	while (code == SQLITE_OK && length) {
		uint32_t part_length = length < VFS_PIECE ? length : VFS_PIECE, missing;

		if (pages_read(&part->database->pages, piece, part_length, offset, &missing))
			code = SQLITE_IOERR_READ;
		else
			code = real->pMethods->xWrite(real, piece, part_length, offset);
		offset += part_length;
		length -= part_length;
	}
	sqlite3_free(piece);
	return code;
}

static int write_in_place(struct part *part)
{
	sqlite3_file *real = part->database->real;
	sqlite3_int64 size = part->database->pages.size;
	int code;

	part->in_place = true;
	if (part->database->pages.size > part->database->pages.old_size)
		(void)real->pMethods->xFileControl(real, SQLITE_FCNTL_SIZE_HINT, &size);
	code = pages_each(&part->database->pages, write_run, part);
	if (code == ENOMEM)
		code = SQLITE_IOERR_NOMEM;
	return code == SQLITE_OK ? sync_file(real) : code;
}

/* The journal backwards: the file is as it was. */
static int play_back(struct part *part)
{
	sqlite3_file *journal = part->journal, *real = part->database->real;
	sqlite3_int64 offset = HEADER;
	uint32_t i;
	int code = SQLITE_OK;

	for (i = 0; i < part->saved && code == SQLITE_OK; i++) {
		code = journal->pMethods->xRead(journal, part->page, part->page_size + 8, offset);
		if (code == SQLITE_OK)
			code = real->pMethods->xWrite(real, part->page + 4, part->page_size,
						      (uint64_t)(get_32(part->page) - 1) *
						      part->page_size);
		offset += part->page_size + 8;
	}
	if (code == SQLITE_OK)
		code = real->pMethods->xTruncate(real, part->database->pages.old_size);
	return code == SQLITE_OK ? sync_file(real) : code;
}

/* --- all of them ------------------------------------------------------------------------ */

/* A name for a super-journal of our own, with the zeros that SQLite has around names. */
static char *make_super_name(const struct database *database, char **buffer)
{
	const size_t length = strlen(database->name);
	uint32_t number;
	char *name;

	sqlite3_randomness(sizeof(number), &number);
	*buffer = sqlite3_malloc64(length + 32);
	if (!*buffer)
		return NULL;
	memset(*buffer, 0, length + 32);
	name = *buffer + 4;
	snprintf(name, length + 16, "%s-mj%06X9%02X", database->name, number >> 8 & 0xffffff,
		 number & 0xff);
	return name;
}

static int write_super(const char *name, const struct part *parts, unsigned int count)
{
	const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXCLUSIVE |
		SQLITE_OPEN_SUPER_JOURNAL;
	sqlite3_file *file = sqlite3_malloc64(default_vfs->szOsFile);
	sqlite3_int64 offset = 0;
	unsigned int i;
	int code;

	if (!file)
		return SQLITE_IOERR_NOMEM;
	memset(file, 0, default_vfs->szOsFile);
	code = default_vfs->xOpen(default_vfs, name, file, flags, NULL);
	if (code != SQLITE_OK) {
		sqlite3_free(file);
		return SQLITE_IOERR_WRITE;
	}
	for (i = 0; i < count && code == SQLITE_OK; i++) {
		const char *journal = sqlite3_filename_journal(parts[i].database->name);
		const int length = strlen(journal) + 1;

		code = file->pMethods->xWrite(file, journal, length, offset);
		offset += length;
	}
	if (code == SQLITE_OK)
		code = sync_file(file);
	file->pMethods->xClose(file);
	sqlite3_free(file);
	return code;
}

/*
 * A part that cannot be brought back keeps its journal, which is hot: whoever opens the
 * database rolls it back.  False: there is one, and what its journal names has to stay.
 */
static bool undo(struct part *parts, unsigned int count)
{
	bool whole = true;
	unsigned int i;

	for (i = 0; i < count; i++) {
		struct part *part = &parts[i];
		bool torn = part->in_place && play_back(part) != SQLITE_OK;
		bool there = part->journal;

		close_journal(part);
		part->database->torn = torn;
		if (there && !torn)
			default_vfs->xDelete(default_vfs, part->name, 1);
		whole &= !torn;
	}
	return whole;
}

static void cut(struct database *database)
{
	if (database->pages.size < database->pages.old_size)
		(void)database->real->pMethods->xTruncate(database->real, database->pages.size);
}

/*
 * The moment: one file is deleted.  Where that fails it is not known whether it is gone; the
 * journals tell, and whoever opens the databases rolls them back or not.
 */
static int decide(struct part *parts, unsigned int count, const char *super)
{
	const char *name = super ?: parts[0].name;
	unsigned int i;
	int code;

	for (i = 0; i < count; i++)
		close_journal(&parts[i]);
	code = default_vfs->xDelete(default_vfs, name, 1);
	for (i = 0; i < count; i++) {
		if (code != SQLITE_OK) {
			parts[i].database->torn = true;
			continue;
		}
		cut(parts[i].database);
		/* One that names a super-journal which is not there means nothing. */
		if (super)
			default_vfs->xDelete(default_vfs, parts[i].name, 0);
	}
	return code;
}

/* All but the moment. */
static int prepare(struct part *parts, unsigned int count, const char *super)
{
	unsigned int i;
	int code = SQLITE_OK;

	for (i = 0; i < count && code == SQLITE_OK; i++)
		code = write_journal(&parts[i], super);
	for (i = 0; i < count && code == SQLITE_OK; i++)
		code = write_in_place(&parts[i]);
	return code;
}

int commit_on_disk(struct group *group, const char *super)
{
	struct part *parts = sqlite3_malloc64((group->count + 1) * sizeof(*parts));
	const bool own_super = !super && group->count > 1;
	char *buffer = NULL;
	unsigned int i;
	int code = SQLITE_OK;

	if (!parts)
		return SQLITE_IOERR_NOMEM;
	memset(parts, 0, (group->count + 1) * sizeof(*parts));
	for (i = 0; i < group->count; i++)
		parts[i].database = group->members[i];
	if (own_super) {
		super = make_super_name(parts[0].database, &buffer);
		code = super ? write_super(super, parts, group->count) : SQLITE_IOERR_NOMEM;
	}
	if (code == SQLITE_OK)
		code = prepare(parts, group->count, super);
	if (code == SQLITE_OK)
		code = decide(parts, group->count, super);
	else if (own_super && super && undo(parts, group->count))
		default_vfs->xDelete(default_vfs, super, 0);
	else if (!own_super)
		undo(parts, group->count);
	for (i = 0; i < group->count; i++)
		sqlite3_free(parts[i].page);
	sqlite3_free(buffer);
	sqlite3_free(parts);
	return code;
}
