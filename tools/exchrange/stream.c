// SPDX-License-Identifier: GPL-2.0
/* Bytes from one descriptor to another, and how far that is on a terminal. */
#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
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

static int write_all(int fd, const char *bytes, size_t size)
{
	while (size) {
		ssize_t count = write(fd, bytes, size);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return -1;
		bytes += count;
		size -= count;
	}
	return 0;
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

/* Makes the empty @to what the regular file @from is.  -1 and errno. */
int clone_or_copy(int from, int to)
{
	bool reading;

	if (ioctl(to, FICLONE, from) == 0)
		return 0;
	if (lseek(from, 0, SEEK_SET) || lseek(to, 0, SEEK_SET))
		return -1;
	return copy_stream(from, to, &reading);
}

/* 1 where both regular files have the same bytes, 0 where not; -1 and errno. */
int same_contents(int fd1, int fd2)
{
	char *chunk1 = malloc(CHUNK), *chunk2 = malloc(CHUNK);
	ssize_t count1, count2;
	off_t at = 0;
	int same = -1;

	while (chunk1 && chunk2) {
		count1 = pread(fd1, chunk1, CHUNK, at);
		count2 = pread(fd2, chunk2, CHUNK, at);
		if (count1 < 0 || count2 < 0)
			break;
		same = count1 == count2 && !memcmp(chunk1, chunk2, count1);
		if (!same || !count1)
			break;
		same = -1;
		at += count1;
	}
	free(chunk1);
	free(chunk2);
	return same;
}
