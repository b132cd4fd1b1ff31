// SPDX-License-Identifier: GPL-2.0
/*
 * The format is that of Documentation/admin-guide/device-mapper/log-writes.rst and of
 * the structs in drivers/md/dm-log-writes.c: a sector with a header, then for each
 * entry a sector with its own header (and the text of a mark), and its data.
 */
#include <endian.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "log.h"

#define LOG_MAGIC	0x6a736677736872ull
#define LOG_VERSION	1

struct disk_header {
	uint64_t	magic;
	uint64_t	version;
	uint64_t	entry_count;
	uint32_t	sector_size;
};

struct disk_entry {
	uint64_t	sector;
	uint64_t	sector_count;
	uint64_t	flags;
	uint64_t	text_length;
};

static void read_at(int fd, void *buffer, size_t size, uint64_t offset)
{
	assert_int_equal(pread(fd, buffer, size, offset), size);
}

static char *read_mark(int fd, uint64_t offset, size_t length)
{
	char *text = calloc(1, length + 1);

	assert_non_null(text);
	read_at(fd, text, length, offset);
	return text;
}

/* Reads the entry at @offset of the log; returns where the next one is. */
static uint64_t read_entry(int fd, uint64_t offset, uint64_t sector_size,
			   struct log_entry *entry)
{
	struct disk_entry disk;
	uint64_t stored;

	read_at(fd, &disk, sizeof(disk), offset);
	entry->flags = le64toh(disk.flags);
	entry->target = le64toh(disk.sector) * sector_size;
	entry->length = le64toh(disk.sector_count) * sector_size;
	entry->data = offset + sector_size;
	if (entry->flags & LOG_MARK)
		entry->mark = read_mark(fd, offset + sizeof(disk),
					le64toh(disk.text_length));
	stored = entry->flags & LOG_DISCARD ? 0 : entry->length;
	return entry->data + stored;
}

struct log open_log(const char *device)
{
	struct log log = { .fd = open_path(device, O_RDONLY) };
	struct disk_header header;
	uint64_t offset;
	size_t i;

	read_at(log.fd, &header, sizeof(header), 0);
	assert_int_equal(le64toh(header.magic), LOG_MAGIC);
	assert_int_equal(le64toh(header.version), LOG_VERSION);
	log.count = le64toh(header.entry_count);
	log.entries = calloc(log.count + 1, sizeof(*log.entries));
	assert_non_null(log.entries);
	offset = le32toh(header.sector_size);
	for (i = 0; i < log.count; i++)
		offset = read_entry(log.fd, offset, le32toh(header.sector_size),
				    &log.entries[i]);
	return log;
}

void close_log(struct log *log)
{
	size_t i;

	for (i = 0; i < log->count; i++)
		free(log->entries[i].mark);
	free(log->entries);
	close(log->fd);
}

/* What a disk does with a discard is its own affair: keeping the data is allowed. */
bool is_write(const struct log_entry *entry)
{
	return entry->length && !(entry->flags & (LOG_DISCARD | LOG_MARK));
}

/*
 * Of an entry that is a flush and a write, the flush comes first: all before it is
 * durable, itself it may not be.
 */
size_t flushed_before(const struct log *log, size_t end)
{
	while (end && !(log->entries[end - 1].flags & LOG_FLUSH))
		end--;
	return end && is_write(&log->entries[end - 1]) ? end - 1 : end;
}

static void replay_entry(const struct log *log, const struct log_entry *entry,
			 int fd)
{
	uint8_t *data = malloc(entry->length);

	assert_non_null(data);
	read_at(log->fd, data, entry->length, entry->data);
	assert_int_equal(pwrite(fd, data, entry->length, entry->target),
			 entry->length);
	free(data);
}

void replay(const struct log *log, size_t from, struct crash_point point, int fd)
{
	const size_t durable = flushed_before(log, point.end);
	unsigned int random = point.seed;
	size_t i;

	for (i = from; i < point.end; i++) {
		const struct log_entry *entry = &log->entries[i];
		bool may_miss = i >= durable && !(entry->flags & LOG_FUA);

		if (!is_write(entry))
			continue;
		if (point.seed && may_miss && rand_r(&random) & 1024)
			continue;
		replay_entry(log, entry, fd);
	}
}
