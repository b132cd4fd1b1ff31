/* SPDX-License-Identifier: MIT */
/* What a file holds: within the library and the command only. */
#ifndef EXCHRANGE_CONTENTS_H
#define EXCHRANGE_CONTENTS_H

#include <stdbool.h>
#include <sys/stat.h>

static inline bool exchrange_same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/*
 * Waits until a change of @fd that comes now would give it another ctime than it has, 10 ms
 * or so, and tells its state by then.  -1 and errno: EAGAIN where the file, or the clock,
 * does not let that come; EOVERFLOW where the file system has no later time.
 */
int exchrange_settle(int fd, struct stat *st);

/*
 * Makes @to what the regular file @from is: a reflink, or a copy without the holes where
 * blocks cannot be shared, to where reading ends, whatever the size is said to be.
 * -1 and errno: EAGAIN where @from changes meanwhile; those of ioctl_ficlone(2), read(2)
 * and write(2).  @to may hold a part then.
 */
int exchrange_copy(int from, int to);

#endif /* EXCHRANGE_CONTENTS_H */
