// SPDX-License-Identifier: MIT
/*
 * A sample of a file that every later change differs from.
 *
 * btrfs's does by itself.  XFS compares times, which move by the tick, and which a
 * store through a mapping moves only where the page was clean: so the file's last
 * change is let grow older than the tick, and its pages are written back.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "exchrange.h"

/* A tick is 1 to 10 ms; a file that changes all the time has no sample. */
#define TRIES	200

static void wait_a_moment(void)
{
	const struct timespec moment = { .tv_nsec = 1000 * 1000 };

	nanosleep(&moment, NULL);
}

static bool is_before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec :
	       a->tv_nsec < b->tv_nsec;
}

/* True where a change that comes now gets another ctime than the file has. */
static bool is_settled(int fd)
{
	struct timespec now;
	struct stat st;

	/* The clock that the kernel takes timestamps from. */
	return fstat(fd, &st) == 0 &&
	       clock_gettime(CLOCK_REALTIME_COARSE, &now) == 0 &&
	       is_before(&st.st_ctim, &now);
}

static int start_commit(int device, int fd, struct exchrange_sample *sample)
{
	struct exchrange_commit commit = { .file2_fd = fd };

	if (exchrange_start_commit(device, &commit))
		return -1;
	memcpy(sample->freshness, commit.file2_freshness,
	       sizeof(sample->freshness));
	return 0;
}

/* Writes back, which write-protects mapped pages; no flush of the disk. */
static int write_back(int fd)
{
	return sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE |
			       SYNC_FILE_RANGE_WRITE |
			       SYNC_FILE_RANGE_WAIT_AFTER);
}

/* 1 where the file changed meanwhile. */
static int sample_times(int device, int fd, struct exchrange_sample *sample)
{
	struct exchrange_sample before;

	if (!is_settled(fd))
		return 1;
	if (start_commit(device, fd, &before) || write_back(fd) ||
	    start_commit(device, fd, sample))
		return -1;
	/* A page that became dirty since is a change of the times. */
	return memcmp(&before, sample, sizeof(before)) != 0;
}

int exchrange_sample(int device, int fd, struct exchrange_sample *sample)
{
	struct exchrange_query query = { .fd = fd };
	int tries, ret;

	if (exchrange_query(device, &query))
		return -1;
	if (query.backend == EXCHRANGE_BACKEND_NONE) {
		errno = EOPNOTSUPP;
		return -1;
	}
	if (query.backend == EXCHRANGE_BACKEND_BTRFS)
		return start_commit(device, fd, sample);
	for (tries = 0; tries < TRIES; tries++) {
		ret = sample_times(device, fd, sample);
		if (ret <= 0)
			return ret;
		wait_a_moment();
	}
	errno = EAGAIN;
	return -1;
}
