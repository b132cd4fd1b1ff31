// SPDX-License-Identifier: GPL-2.0
/* Bytes from one descriptor to another, two files compared; how far that is, on a terminal. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "command.h"

#define CHUNK	(256 * 1024)

struct progress {
	bool	shown;		/* is standard error a terminal? */
	bool	printed;
	double	next;		/* seconds of the clock */
	double	total;		/* bytes, 0 where nobody knows */
	double	done;
};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static struct progress start_progress(int from)
{
	struct progress progress = {
		.shown	= isatty(STDERR_FILENO),
		.next	= now() + 1,	/* what is over by then shows nothing */
	};
	struct stat st;

	if (fstat(from, &st) == 0 && S_ISREG(st.st_mode))
		progress.total = st.st_size;
	return progress;
}

static void show_progress(struct progress *progress, size_t more)
{
	const double mib = 1 << 20;

	progress->done += more;
	if (!progress->shown || now() < progress->next)
		return;
	progress->next = now() + 0.2;
	progress->printed = true;
	fprintf(stderr, "\r\033[K%.1f MiB", progress->done / mib);
	if (progress->total >= progress->done)
		fprintf(stderr, " of %.1f (%.0f %%)", progress->total / mib,
			100 * progress->done / progress->total);
	fflush(stderr);
}

static void end_progress(const struct progress *progress)
{
	if (!progress->printed)
		return;
	fputs("\r\033[K", stderr);
	fflush(stderr);
}

/*
 * On a terminal, where it takes longer: "staged 3 of 7 files", or without @total "compared
 * 300 files".  @what is NULL when it is over.
 */
void show_files(const char *what, size_t count, size_t total)
{
	static struct progress progress;

	if (!what) {
		end_progress(&progress);
		progress.next = 0;
		progress.printed = false;
		return;
	}
	if (!progress.next)
		progress = start_progress(-1);
	if (!progress.shown || now() < progress.next)
		return;
	progress.next = now() + 0.2;
	progress.printed = true;
	fprintf(stderr, total ? "\r\033[K%s %zu of %zu files" : "\r\033[K%s %zu files",
		what, count, total);
	fflush(stderr);
}

/*
 * Copies @from, all that comes, to @to, from where both stand.  -1 and errno;
 * *reading tells which of the two failed.
 */
int copy_stream(int from, int to, bool *reading)
{
	struct progress progress = start_progress(from);
	char *chunk = malloc(CHUNK);
	ssize_t count = -1;

	*reading = true;
	while (chunk) {
		count = read(from, chunk, CHUNK);
		if (count < 0 && errno == EINTR)
			continue;
		/* As node and ssh leave pipes. */
		if (count < 0 && errno == EAGAIN && wait_for(from, POLLIN) == 0)
			continue;
		if (count <= 0)
			break;
		if (write_all(to, chunk, count)) {
			*reading = false;
			count = -1;
			break;
		}
		show_progress(&progress, count);
	}
	end_progress(&progress);
	free(chunk);
	return count < 0 ? -1 : 0;
}

/* --- two files ------------------------------------------------------------------ */

/* Where data may be from @at on; past the end where none is. */
static off_t next_data(int fd, off_t at, off_t size)
{
	off_t data = lseek(fd, at, SEEK_DATA);

	if (data >= at)
		return data;
	return errno == ENXIO ? size : at;
}

/* What is to be read at @at, up to @size: all of @count bytes, or -1 and errno. */
static int read_fully(int fd, char *bytes, size_t count, off_t at)
{
	while (count) {
		ssize_t step = pread(fd, bytes, count, at);

		if (step < 0 && errno == EINTR)
			continue;
		if (step == 0)
			errno = EAGAIN;		/* it has become shorter */
		if (step <= 0)
			return -1;
		bytes += step;
		count -= step;
		at += step;
	}
	return 0;
}

/* 1 where both have the same bytes up to @size, 0 where not; -1 and errno. */
static int same_bytes(int fd1, int fd2, char *chunk, off_t size)
{
	off_t at = 0, data1, data2;

	for (;;) {
		size_t count;

		/* Where both have a hole, both have zeros. */
		data1 = next_data(fd1, at, size);
		data2 = next_data(fd2, at, size);
		at = data1 < data2 ? data1 : data2;
		if (at >= size)
			return 1;
		count = size - at < CHUNK ? size - at : CHUNK;
		if (read_fully(fd1, chunk, count, at) ||
		    read_fully(fd2, chunk + CHUNK, count, at))
			return -1;
		if (memcmp(chunk, chunk + CHUNK, count))
			return 0;
		at += count;
	}
}

/* 1 where both regular files have the same bytes, 0 where not; -1 and errno. */
int same_contents(int fd1, int fd2)
{
	struct stat st1, st2;
	char *chunk;
	int same;

	if (fstat(fd1, &st1) || fstat(fd2, &st2))
		return -1;
	if (st1.st_size != st2.st_size)
		return 0;
	chunk = malloc(2 * CHUNK);
	same = chunk ? same_bytes(fd1, fd2, chunk, st1.st_size) : -1;
	free(chunk);
	return same;
}
