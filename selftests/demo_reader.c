// SPDX-License-Identifier: GPL-2.0
/*
 * The readers of the demo.
 *
 *	demo_reader [--watch] FILE OLD NEW
 *
 * reads FILE, a page a call, again and again until SIGTERM, and compares each reading with
 * what OLD and NEW held at the start.  With --watch it keeps to the protocol of a watch, and
 * takes a reading again where an exchange came between.  It prints "ready" after the first
 * reading, and at the end how many readings were old, new and neither, and how often it
 * read again.
 */
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <exchrange.h>

#define PAGE	4096

struct contents {
	char	*bytes;
	size_t	size, room;
};

static atomic_int stopped;

static void stop(int signal_number)
{
	(void)signal_number;
	stopped = 1;
}

static void read_pages(int fd, struct contents *contents)
{
	ssize_t count;

	contents->size = 0;
	do {
		if (contents->room < contents->size + PAGE) {
			contents->room += 64 * PAGE;
			contents->bytes = realloc(contents->bytes, contents->room);
			if (!contents->bytes)
				err(1, NULL);
		}
		count = pread(fd, contents->bytes + contents->size, PAGE, contents->size);
		if (count < 0)
			err(1, "read");
		contents->size += count;
	} while (count);
}

static struct contents contents_of(const char *path)
{
	struct contents contents = { NULL };
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		err(1, "%s", path);
	read_pages(fd, &contents);
	close(fd);
	return contents;
}

static int same(const struct contents *one, const struct contents *other)
{
	return one->size == other->size && !memcmp(one->bytes, other->bytes, one->size);
}

/* Returns how often an exchange came between. */
static unsigned long read_watched(int fd, struct exchrange_watcher *watcher,
				  struct contents *contents)
{
	unsigned long again = 0;
	__u32 sequence;

	for (;; again++) {
		sequence = exchrange_watch_read_begin(watcher);
		read_pages(fd, contents);
		if (!exchrange_watch_read_retry(watcher, sequence))
			return again;
	}
}

int main(int argc, char **argv)
{
	const struct sigaction action = { .sa_handler = stop };
	unsigned long old_seen = 0, new_seen = 0, mixtures = 0, again = 0;
	int watch = argc == 5 && !strcmp(argv[1], "--watch"), fd, last;
	struct contents now = { NULL }, old, new;
	struct exchrange_watcher watcher;

	if (argc != 4 + watch)
		errx(2, "usage: demo_reader [--watch] FILE OLD NEW");
	argv += watch;
	fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0 || (watch && exchrange_watch_open(exchrange_open(), fd, &watcher)))
		err(1, "%s", argv[1]);
	old = contents_of(argv[2]);
	new = contents_of(argv[3]);
	sigaction(SIGTERM, &action, NULL);

	do {
		/* The last reading begins after the signal, and so after the last exchange. */
		last = stopped;
		if (watch)
			again += read_watched(fd, &watcher, &now);
		else
			read_pages(fd, &now);
		if (same(&now, &old))
			old_seen++;
		else if (same(&now, &new))
			new_seen++;
		else
			mixtures++;
		if (old_seen + new_seen + mixtures == 1) {
			puts("ready");
			fflush(stdout);
		}
	} while (!last);

	printf("%lu %lu %lu %lu\n", old_seen, new_seen, mixtures, again);
	return fflush(stdout) ? 1 : 0;
}
