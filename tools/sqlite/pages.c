// SPDX-License-Identifier: MIT
/* What a transaction has written: slots, and a tail. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sqlite3ext.h>

#include "pages.h"

SQLITE_EXTENSION_INIT3

/* Bytes of slots that stay allocated from one transaction to the next. */
#define KEPT		(16u << 20)
#define FIRST_ROOM	64

/* --- files -------------------------------------------------------------------------- */

static int write_all(int fd, const void *buffer, uint64_t length, uint64_t offset)
{
	const char *from = buffer;

	while (length) {
		ssize_t done = pwrite(fd, from, length, offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done ? errno : ENOSPC;
		from += done;
		offset += done;
		length -= done;
	}
	return 0;
}

/* Zeros behind the end. */
static int read_all(int fd, void *buffer, uint64_t length, uint64_t offset)
{
	char *to = buffer;

	while (length) {
		ssize_t done = pread(fd, to, length, offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return errno;
		if (!done) {
			memset(to, 0, length);
			return 0;
		}
		to += done;
		offset += done;
		length -= done;
	}
	return 0;
}

static int set_size(int fd, uint64_t size)
{
	while (ftruncate(fd, size))
		if (errno != EINTR)
			return errno;
	return 0;
}

/* By SQLite's allocator, whose limits programs can set.  Zeros; NULL: no memory. */
static void *allocate(uint64_t bytes)
{
	void *memory = sqlite3_malloc64(bytes);

	if (memory)
		memset(memory, 0, bytes);
	return memory;
}

static uint64_t nearer(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* --- the table of slots --------------------------------------------------------------- */

/* Where @unit is, or would be; the table has room. */
static struct page_slot *place_of(struct page_slot *table, uint32_t room, uint64_t unit)
{
	uint32_t i = (unit * 0x9e3779b97f4a7c15u) >> 32;

	for (;; i++) {
		struct page_slot *entry = &table[i & (room - 1)];

		if (!entry->taken || entry->unit == unit)
			return entry;
	}
}

/* NULL: the unit has no slot. */
static const struct page_slot *find_slot(const struct pages *pages, uint64_t unit)
{
	const struct page_slot *entry;

	if (!pages->count)
		return NULL;
	entry = place_of(pages->table, pages->room, unit);
	return entry->taken ? entry : NULL;
}

/* Makes room for @more slots, so that add_slot() cannot fail. */
static int reserve_slots(struct pages *pages, uint32_t more)
{
	uint32_t room = pages->room ?: FIRST_ROOM, i;
	struct page_slot *table;

	/* Half of it stays empty; slots are counted by 32 bits. */
	while (room / 2 < (uint64_t)pages->count + more) {
		if (room > UINT32_MAX / 4)
			return E2BIG;
		room *= 2;
	}
	if (room == pages->room)
		return 0;

	table = allocate((uint64_t)room * sizeof(*table));
	if (!table)
		return ENOMEM;
	for (i = 0; i < pages->room; i++)
		if (pages->table[i].taken)
			*place_of(table, room, pages->table[i].unit) = pages->table[i];
	sqlite3_free(pages->table);
	pages->table = table;
	pages->room = room;
	return 0;
}

static void add_slot(struct pages *pages, uint64_t unit)
{
	struct page_slot *entry = place_of(pages->table, pages->room, unit);

	*entry = (struct page_slot){ .unit = unit, .slot = pages->count++, .taken = true };
}

/* --- a transaction -------------------------------------------------------------------- */

static int begin(struct pages *pages)
{
	off_t size;

	if (pages->begun)
		return 0;
	size = lseek(pages->file, 0, SEEK_END);
	if (size < 0)
		return errno;
	pages->old_size = size;
	pages->size = size;
	pages->base = size - size % pages->unit;
	pages->tail_used = false;
	pages->count = 0;
	pages->begun = true;
	return 0;
}

/* What the file has behind its last whole unit goes with the tail. */
static int begin_tail(struct pages *pages)
{
	uint64_t end = nearer(pages->old_size, pages->size);
	char *rest;
	int error;

	if (pages->tail_used)
		return 0;
	error = set_size(pages->tail, 0);
	if (!error && end > pages->base) {
		rest = sqlite3_malloc64(end - pages->base);
		if (!rest)
			return ENOMEM;
		error = read_all(pages->file, rest, end - pages->base, pages->base);
		if (!error)
			error = write_all(pages->tail, rest, end - pages->base, 0);
		sqlite3_free(rest);
	}
	if (!error)
		pages->tail_used = true;
	return error;
}

static int write_tail(struct pages *pages, const void *buffer, uint32_t length, uint64_t offset)
{
	int error = begin_tail(pages);

	return error ?: write_all(pages->tail, buffer, length, offset - pages->base);
}

/* Whole units without slots, @count of them. */
static int write_new_slots(struct pages *pages, const char *buffer, uint64_t unit, uint32_t count)
{
	int error = reserve_slots(pages, count);

	if (!error)
		error = write_all(pages->slots, buffer, (uint64_t)count * pages->unit,
				  (uint64_t)pages->count * pages->unit);
	while (!error && count--)
		add_slot(pages, unit++);
	return error;
}

/* A part of one that has no slot: the rest of it is the file's. */
static int write_part(struct pages *pages, const char *buffer, uint32_t length, uint64_t offset)
{
	uint64_t unit = offset / pages->unit;
	char *whole = sqlite3_malloc64(pages->unit);
	int error;

	if (!whole)
		return ENOMEM;
	error = read_all(pages->file, whole, pages->unit, unit * pages->unit);
	if (!error) {
		memcpy(whole + offset % pages->unit, buffer, length);
		error = write_new_slots(pages, whole, unit, 1);
	}
	sqlite3_free(whole);
	return error;
}

static int write_slots(struct pages *pages, const char *buffer, uint32_t length, uint64_t offset)
{
	while (length) {
		uint64_t unit = offset / pages->unit;
		uint32_t skip = offset % pages->unit;
		uint32_t part = nearer(pages->unit - skip, length);
		const struct page_slot *entry = find_slot(pages, unit);
		int error;

		if (entry) {
			error = write_all(pages->slots, buffer, part,
					  (uint64_t)entry->slot * pages->unit + skip);
		} else if (part < pages->unit) {
			error = write_part(pages, buffer, part, offset);
		} else {
			uint32_t count = 1;

			while (length - part >= pages->unit &&
			       !find_slot(pages, unit + count)) {
				part += pages->unit;
				count++;
			}
			error = write_new_slots(pages, buffer, unit, count);
		}
		if (error)
			return error;
		buffer += part;
		offset += part;
		length -= part;
	}
	return 0;
}

/* Zeros where the transaction has cut the file and makes it longer again. */
static int fill(struct pages *pages, uint64_t end)
{
	char *zeros = allocate(pages->unit);
	int error = zeros ? 0 : ENOMEM;

	while (!error && pages->size < end) {
		uint32_t part = nearer(pages->unit - pages->size % pages->unit,
				       end - pages->size);

		error = write_slots(pages, zeros, part, pages->size);
		if (!error)
			pages->size += part;
	}
	sqlite3_free(zeros);
	return error;
}

void pages_init(struct pages *pages, int file, uint32_t unit)
{
	*pages = (struct pages){ .file = file, .slots = -1, .tail = -1, .unit = unit };
}

void pages_give_up(struct pages *pages)
{
	if (pages->slots >= 0)
		close(pages->slots);
	if (pages->tail >= 0)
		close(pages->tail);
	pages->slots = -1;
	pages->tail = -1;
}

void pages_drop(struct pages *pages)
{
	pages_give_up(pages);
	sqlite3_free(pages->table);
	pages_init(pages, -1, pages->unit);
}

bool pages_ready(const struct pages *pages)
{
	return pages->slots >= 0 && pages->tail >= 0;
}

bool pages_have(const struct pages *pages, uint64_t offset, uint64_t length)
{
	uint64_t unit;

	if (!pages->begun)
		return false;
	if (offset + length > nearer(pages->base, pages->size))
		return true;
	for (unit = offset / pages->unit; unit * pages->unit < offset + length; unit++)
		if (find_slot(pages, unit))
			return true;
	return false;
}

int pages_read(const struct pages *pages, void *buffer, uint32_t length, uint64_t offset,
	       uint32_t *missing)
{
	char *to = buffer;

	*missing = 0;
	if (offset >= pages->size)
		*missing = length;
	else if (offset + length > pages->size)
		*missing = offset + length - pages->size;
	length -= *missing;
	memset(to + length, 0, *missing);

	while (length) {
		uint32_t skip = offset % pages->unit;
		uint32_t part = nearer(pages->unit - skip, length);
		const struct page_slot *entry;
		int error;

		if (offset >= pages->base && pages->tail_used) {
			part = length;
			error = read_all(pages->tail, to, part, offset - pages->base);
		} else {
			entry = find_slot(pages, offset / pages->unit);
			error = entry ? read_all(pages->slots, to, part,
						 (uint64_t)entry->slot * pages->unit + skip) :
				read_all(pages->file, to, part, offset);
		}
		if (error)
			return error;
		to += part;
		offset += part;
		length -= part;
	}
	return 0;
}

int pages_write(struct pages *pages, const void *buffer, uint32_t length, uint64_t offset)
{
	uint32_t in_place = 0;
	int error = begin(pages);

	if (!error && offset > pages->size)
		error = fill(pages, nearer(offset, pages->base));
	if (error)
		return error;
	if (offset < pages->base)
		in_place = nearer(length, pages->base - offset);
	error = write_slots(pages, buffer, in_place, offset);
	if (!error && in_place < length)
		error = write_tail(pages, (const char *)buffer + in_place, length - in_place,
				   offset + in_place);
	if (!error && offset + length > pages->size)
		pages->size = offset + length;
	return error;
}

int pages_truncate(struct pages *pages, uint64_t size)
{
	int error = begin(pages);

	if (!error && size > pages->size && pages->size < pages->base)
		error = fill(pages, nearer(size, pages->base));
	if (!error && size > pages->base)
		error = begin_tail(pages);
	if (!error && pages->tail_used)
		error = set_size(pages->tail, size > pages->base ? size - pages->base : 0);
	if (!error)
		pages->size = size;
	return error;
}

/*
 * Blocks that are freed are not written before the transaction that frees them is durable, and
 * with it the exchange before it.  Where that fails the next transaction has another file.
 */
static void give_back(int *staging)
{
	if (*staging < 0 || !set_size(*staging, 0))
		return;
	close(*staging);
	*staging = -1;
}

void pages_forget(struct pages *pages, bool reuse)
{
	if (!pages->begun)
		return;
	if (pages->tail_used)
		give_back(&pages->tail);
	/* What cannot be given back now is in the way of nobody. */
	if (!reuse)
		give_back(&pages->slots);
	else if ((uint64_t)pages->count * pages->unit > KEPT)
		(void)set_size(pages->slots, KEPT);
	/* A table that is far too large would be cleared again and again. */
	if (pages->room > FIRST_ROOM && pages->count < pages->room / 8) {
		sqlite3_free(pages->table);
		pages->table = NULL;
		pages->room = 0;
	} else if (pages->count) {
		memset(pages->table, 0, pages->room * sizeof(*pages->table));
	}
	pages->count = 0;
	pages->begun = false;
	pages->tail_used = false;
}

/* --- the exchange --------------------------------------------------------------------- */

static int by_unit(const void *a, const void *b)
{
	uint64_t unit1 = ((const struct page_slot *)a)->unit;
	uint64_t unit2 = ((const struct page_slot *)b)->unit;

	return unit1 < unit2 ? -1 : unit1 > unit2;
}

/* The slots below the size, by their places in the file; the caller frees it.  NULL: no memory. */
static struct page_slot *sorted_slots(const struct pages *pages, uint32_t *count)
{
	struct page_slot *sorted = sqlite3_malloc64(((uint64_t)pages->count + 1) * sizeof(*sorted));
	uint32_t i;

	*count = 0;
	if (!sorted)
		return NULL;
	for (i = 0; i < pages->room; i++) {
		const struct page_slot *entry = &pages->table[i];

		if (entry->taken && entry->unit * pages->unit < pages->size)
			sorted[(*count)++] = *entry;
	}
	qsort(sorted, *count, sizeof(*sorted), by_unit);
	return sorted;
}

/* Slots side by side, for units side by side, are one pair. */
static bool continues(const struct pages *pages, const struct exchrange_pair *pair,
		      const struct page_slot *entry)
{
	return pair->file2_offset + pair->length == entry->unit * pages->unit &&
	       pair->file1_offset + pair->length == (uint64_t)entry->slot * pages->unit;
}

int pages_pairs(struct pages *pages, uint32_t chunk, struct exchrange_pair **pairs,
		uint32_t *count)
{
	struct exchrange_pair *pair;
	struct page_slot *sorted;
	uint32_t slots, i;
	int error;

	if (chunk && pages->size > pages->old_size && pages->size % chunk) {
		error = pages_truncate(pages, pages->size + chunk - pages->size % chunk);
		if (error)
			return error;
		/* As much as can be had: posix_fallocate() would write what cannot. */
		(void)fallocate(pages->tail, 0, 0, pages->size - pages->base);
	}

	sorted = sorted_slots(pages, &slots);
	*pairs = pair = allocate(((uint64_t)slots + 1) * sizeof(*pair));
	if (!sorted || !pair) {
		sqlite3_free(sorted);
		sqlite3_free(pair);
		return ENOMEM;
	}
	pair--;
	for (i = 0; i < slots; i++) {
		if (i && continues(pages, pair, &sorted[i])) {
			pair->length += pages->unit;
			continue;
		}
		*++pair = (struct exchrange_pair){
			.file1_fd = pages->slots,
			.file1_offset = (uint64_t)sorted[i].slot * pages->unit,
			.file2_fd = pages->file,
			.file2_offset = sorted[i].unit * pages->unit,
			.length = pages->unit,
		};
	}
	sqlite3_free(sorted);
	if (pages->tail_used && pages->size > pages->base)
		*++pair = (struct exchrange_pair){
			.file1_fd = pages->tail,
			.file2_fd = pages->file,
			.file2_offset = pages->base,
			.flags = EXCHRANGE_TO_EOF,
		};
	*count = pair + 1 - *pairs;
	return 0;
}

int pages_each(const struct pages *pages,
	       int (*each)(void *context, uint64_t offset, uint64_t length), void *context)
{
	struct page_slot *sorted;
	uint32_t slots, i = 0;
	int error = 0;

	sorted = sorted_slots(pages, &slots);
	if (!sorted)
		return ENOMEM;
	while (i < slots && !error) {
		uint64_t offset = sorted[i].unit * pages->unit, length = 0;

		do
			length += pages->unit;
		while (++i < slots && sorted[i].unit * pages->unit == offset + length);
		error = each(context, offset, nearer(length, pages->size - offset));
	}
	sqlite3_free(sorted);
	if (!error && pages->tail_used && pages->size > pages->base)
		error = each(context, pages->base, pages->size - pages->base);
	return error;
}
