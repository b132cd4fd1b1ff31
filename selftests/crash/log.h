/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The log that dm-log-writes makes of a disk's writes, and how a disk as it was at
 * some moment is made of it.
 *
 * dm-log-writes logs a write when a flush has made it durable, or at once where it
 * was FUA, so each prefix of the log is a disk that a loss of power could have left.
 * Of the writes between two flushes, a disk with a cache may also have kept any others:
 * a crash point with a seed is such a choice.
 */
#ifndef SELFTESTS_CRASH_LOG_H
#define SELFTESTS_CRASH_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_entry {
	uint64_t	target;		/* byte on the disk */
	uint64_t	length;		/* bytes of data */
	uint64_t	data;		/* where they are in the log */
	unsigned int	flags;		/* LOG_* */
	char		*mark;		/* LOG_MARK: its text */
};

/* As in the log. */
#define LOG_FLUSH	0x01
#define LOG_FUA		0x02
#define LOG_DISCARD	0x04
#define LOG_MARK	0x08

struct log {
	int			fd;
	size_t			count;
	struct log_entry	*entries;
};

/* What was on the disk after entries[0, end), or, with a seed, a choice of them. */
struct crash_point {
	size_t		end;
	unsigned int	seed;
};

/* Both fail the test that called them where the log is none. */
struct log open_log(const char *device);
void close_log(struct log *log);

/* A write whose data the disk has afterwards. */
bool is_write(const struct log_entry *entry);

/* The end of the last flush within entries[0, end): all before it is on the disk. */
size_t flushed_before(const struct log *log, size_t end);

/*
 * Writes entries[from, point.end) to the disk behind @fd; those that may be missing
 * are chosen by the seed, if there is one.
 */
void replay(const struct log *log, size_t from, struct crash_point point, int fd);

#endif /* SELFTESTS_CRASH_LOG_H */
