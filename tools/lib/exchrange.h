/* SPDX-License-Identifier: MIT */
/*
 * libexchange: swap byte ranges of two files atomically.
 *
 * The functions repeat the calls of <linux/exchrange.h>, whose structs they take:
 * offsets and lengths are in bytes, descriptors stay the caller's.  Each call
 * goes to the device of the exchrange module; where the module is not loaded
 * and the files are on an XFS that has an ioctl of its own for this, it goes
 * there.  Nothing here ever falls back to something that is not atomic.
 *
 * All return 0, or -1 and set errno; after an error both files hold what they
 * held (Documentation/uapi.md has what XFS keeps back of that).  All may be called by any number of threads at once, and none of them
 * keeps a lock, a descriptor or memory when it returns.
 */
#ifndef EXCHRANGE_H
#define EXCHRANGE_H

#include <linux/exchrange.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a call with this device and file comes to: exchrange_route(). */
enum exchrange_route {
	EXCHRANGE_ROUTE_NONE,	/* neither can do it; exchrange_query() says why */
	EXCHRANGE_ROUTE_DEVICE,	/* /dev/exchrange */
	EXCHRANGE_ROUTE_XFS,	/* XFS's own ioctl */
};

/*
 * In exchrange_query.reason, where there is no device to ask: the file is not on
 * XFS, which alone could do without.
 */
#define EXCHRANGE_REASON_NO_DEVICE	0x10000

/*
 * Opens the device.  The descriptor is close-on-exec; close it with close(2).
 * The other functions take it as device.  -1 where it cannot be opened (errno
 * says why: ENOENT where the module is not loaded) may be passed on too: calls
 * then go to XFS's own ioctl.
 */
int exchrange_open(void);

/*
 * Swaps the two ranges of *range.
 *
 * errno: EBADF, EISDIR, EINVAL, EXDEV, EOPNOTSUPP, EPERM, ETXTBSY, EFBIG, ENOSPC,
 * EDQUOT, E2BIG: Documentation/uapi.md says when.  Without a device EOPNOTSUPP,
 * before anything else, where file2 is not on an XFS that can do it alone.
 */
int exchrange_exchange(int device, const struct exchrange_range *range);

/*
 * Samples commit->file2_fd into commit->file2_freshness.  The other fields must
 * hold what exchrange_commit() may be given, or zero.
 */
int exchrange_start_commit(int device, struct exchrange_commit *commit);

/*
 * Swaps the two ranges of *commit if file2 is what it was at
 * exchrange_start_commit().  errno: EBUSY where it is not, else those of
 * exchrange_exchange().
 */
int exchrange_commit(int device, const struct exchrange_commit *commit);

/*
 * Tells in *query what can be done with query->fd, a regular file opened for
 * anything.  errno: EBADF, EISDIR, EINVAL (neither file nor directory), ENOMEM or
 * EAGAIN (no room for a page in the address space, which the device borrows).
 */
int exchrange_query(int device, struct exchrange_query *query);

/*
 * Which way calls with this device go for the file fd.  EXCHRANGE_ROUTE_NONE
 * also where exchrange_query() fails.
 */
enum exchrange_route exchrange_route(int device, int fd);

#ifdef __cplusplus
}
#endif

#endif /* EXCHRANGE_H */
