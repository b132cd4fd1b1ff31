// SPDX-License-Identifier: MIT
/*
 * A sample of a file that every later change differs from.
 *
 * btrfs's does by itself.  XFS compares times, which move by the tick, and which a
 * store through a mapping moves only where the page was clean: so the clock is let move
 * on from the file's last change, and its pages are written back.
 *
 * The clock may have been set, so that the file's times lie ahead of it.  Nothing depends
 * on which is later, only on that the two differ: then the next change has another time.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "contents.h"
#include "exchrange.h"

/* A tick is 1 to 10 ms; a file that changes all the time has no sample. */
#define TRIES	200

/* The ends of time of XFS, without and with bigtime: every change has that time then. */
#define XFS_FIRST	INT32_MIN
#define XFS_LAST	INT32_MAX
#define XFS_BIGTIME_LAST	16299260425LL

static void wait_a_moment(void)
{
	const struct timespec moment = { .tv_nsec = 1000 * 1000 };

	nanosleep(&moment, NULL);
}

static bool is_end_of_time(const struct timespec *time, const struct timespec *now)
{
	if (time->tv_nsec)
		return false;
	return (time->tv_sec == XFS_FIRST && now->tv_sec <= time->tv_sec) ||
	       ((time->tv_sec == XFS_LAST || time->tv_sec == XFS_BIGTIME_LAST) &&
		now->tv_sec >= time->tv_sec);
}

/* 1 where a change that comes now could get the ctime that the file has. */
static int look_at_clock(int fd, struct stat *st)
{
	struct timespec now;

	/* The clock that the kernel takes timestamps from. */
	if (fstat(fd, st) || clock_gettime(CLOCK_REALTIME_COARSE, &now))
		return -1;
	if (is_end_of_time(&st->st_ctim, &now)) {
		errno = EOVERFLOW;
		return -1;
	}
	return exchrange_same_time(&st->st_ctim, &now);
}

int exchrange_settle(int fd, struct stat *st)
{
	int tries, ret;

	for (tries = 0; tries < TRIES; tries++) {
		ret = look_at_clock(fd, st);
		if (ret <= 0)
			return ret;
		wait_a_moment();
	}
	errno = EAGAIN;
	return -1;
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
	struct stat settled, st;

	if (exchrange_settle(fd, &settled) || start_commit(device, fd, &before) ||
	    write_back(fd) || start_commit(device, fd, sample) || fstat(fd, &st))
		return -1;
	/* A page that became dirty since, or any change, is one of the times. */
	return memcmp(&before, sample, sizeof(before)) ||
	       !exchrange_same_time(&settled.st_ctim, &st.st_ctim);
}

/* One that goes by times. */
static int sample_by_times(int device, int fd, struct exchrange_sample *sample)
{
	int tries, ret;

	for (tries = 0; tries < TRIES; tries++) {
		ret = sample_times(device, fd, sample);
		if (ret <= 0)
			return ret;
		wait_a_moment();
	}
	errno = EAGAIN;
	return -1;
}

int exchrange_sample(int device, int fd, struct exchrange_sample *sample)
{
	struct exchrange_query query = { .fd = fd };
	struct stat st;

	if (exchrange_query(device, &query))
		return -1;
	switch (query.backend) {
	case EXCHRANGE_BACKEND_NONE:
		errno = EOPNOTSUPP;
		return -1;
	case EXCHRANGE_BACKEND_BTRFS:
		return start_commit(device, fd, sample);
	case EXCHRANGE_BACKEND_XFS_TRANSACTION:
		/* It waits and writes back itself; not for a clock that stands. */
		return exchrange_settle(fd, &st) ? -1 : start_commit(device, fd, sample);
	}
	return sample_by_times(device, fd, sample);
}
