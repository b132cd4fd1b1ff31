// SPDX-License-Identifier: MIT
/*
 * libexchange: each call goes to the device, or to XFS's own ioctl.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "exchrange.h"

/*
 * XFS's ioctls: ioctl_xfs_exchange_range(2), ioctl_xfs_commit_range(2),
 * ioctl_xfs_fsgeometry(2).  Debian 12's <xfs/xfs_fs.h> is older than the first
 * two.  Their structs are the beginnings of ours.
 */
#define XFS_IOC_EXCHANGE_RANGE \
	_IOC(_IOC_WRITE, 'X', 129, offsetof(struct exchrange_range, file2_fd))
#define XFS_IOC_START_COMMIT \
	_IOC(_IOC_READ, 'X', 130, offsetof(struct exchrange_commit, file2_fd))
#define XFS_IOC_COMMIT_RANGE \
	_IOC(_IOC_WRITE, 'X', 131, offsetof(struct exchrange_commit, file2_fd))

struct xfs_geometry {
	uint32_t	blocksize;	/* bytes */
	uint32_t	rtextsize;	/* blocks */
	uint32_t	unused1[21];
	uint32_t	flags;
	uint32_t	unused2[40];
};

#define XFS_IOC_FSGEOMETRY	_IOR('X', 126, struct xfs_geometry)
#define XFS_GEOMETRY_EXCHANGE	(1U << 24)

#define ALL_FLAGS (EXCHRANGE_TO_EOF | EXCHRANGE_DSYNC | EXCHRANGE_DRY_RUN | \
		   EXCHRANGE_FILE1_WRITTEN)

int exchrange_open(void)
{
	return open("/dev/exchrange", O_RDWR | O_CLOEXEC);
}

static int fail(int error)
{
	errno = error;
	return -1;
}

/* The number of an XFS ioctl may mean anything to another file system. */
static int is_xfs(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return -1;
	return fs.f_type == XFS_SUPER_MAGIC;
}

/* What the device answers to a directory or a device, without the device. */
static int check_regular(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	struct stat st;

	if (flags < 0 || flags & O_PATH)
		return fail(EBADF);
	if (fstat(fd, &st))
		return -1;
	if (S_ISDIR(st.st_mode))
		return fail(EISDIR);
	if (!S_ISREG(st.st_mode))
		return fail(EINVAL);
	return 0;
}

static int xfs_ioctl(int fd, unsigned long request, const void *argument)
{
	int xfs = is_xfs(fd);

	if (xfs < 0)
		return -1;
	if (!xfs)
		return fail(EOPNOTSUPP);
	if (ioctl(fd, request, argument) == 0)
		return 0;
	return fail(errno == ENOTTY ? EOPNOTSUPP : errno);
}

int exchrange_exchange(int device, const struct exchrange_range *range)
{
	if (device >= 0)
		return ioctl(device, EXCHRANGE_IOC_EXCHANGE, range);
	if (range->pad2)
		return fail(EINVAL);
	return xfs_ioctl(range->file2_fd, XFS_IOC_EXCHANGE_RANGE, range);
}

int exchrange_start_commit(int device, struct exchrange_commit *commit)
{
	if (device >= 0)
		return ioctl(device, EXCHRANGE_IOC_START_COMMIT, commit);
	/* XFS looks at none of these, and samples directories too. */
	if (commit->pad || commit->pad2 || commit->flags & ~ALL_FLAGS)
		return fail(EINVAL);
	if (check_regular(commit->file2_fd))
		return -1;
	return xfs_ioctl(commit->file2_fd, XFS_IOC_START_COMMIT, commit);
}

int exchrange_commit(int device, const struct exchrange_commit *commit)
{
	if (device >= 0)
		return ioctl(device, EXCHRANGE_IOC_COMMIT, commit);
	if (commit->pad2)
		return fail(EINVAL);
	return xfs_ioctl(commit->file2_fd, XFS_IOC_COMMIT_RANGE, commit);
}

int exchrange_exchange_vector(int device, struct exchrange_vector *vector)
{
	/* XFS's own ioctl knows but one range. */
	if (device < 0)
		return fail(EOPNOTSUPP);
	return ioctl(device, EXCHRANGE_IOC_EXCHANGE_VECTOR, vector);
}

/* Blocks are exchanged by the realtime extent where the file has those. */
static uint32_t xfs_alignment(int fd, const struct xfs_geometry *geometry)
{
	struct fsxattr attributes;

	if (ioctl(fd, FS_IOC_FSGETXATTR, &attributes) == 0 &&
	    attributes.fsx_xflags & FS_XFLAG_REALTIME)
		return geometry->blocksize * geometry->rtextsize;
	return geometry->blocksize;
}

static int query_xfs(struct exchrange_query *answer)
{
	struct xfs_geometry geometry;

	if (ioctl(answer->fd, XFS_IOC_FSGEOMETRY, &geometry))
		return -1;
	if (geometry.flags & XFS_GEOMETRY_EXCHANGE) {
		answer->backend = EXCHRANGE_BACKEND_XFS;
		answer->alignment = xfs_alignment(answer->fd, &geometry);
		answer->flags = ALL_FLAGS;
		return 0;
	}

	/* EFAULT from who knows the call: nobody can map the end of memory. */
	answer->reason = EXCHRANGE_REASON_XFS_FEATURE;
	if (ioctl(answer->fd, XFS_IOC_EXCHANGE_RANGE, UINTPTR_MAX) &&
	    errno == ENOTTY)
		answer->reason = EXCHRANGE_REASON_XFS_KERNEL;
	return 0;
}

static int query_without_device(struct exchrange_query *query)
{
	struct exchrange_query answer = { .fd = query->fd };
	int xfs;

	if (check_regular(query->fd))
		return -1;
	xfs = is_xfs(query->fd);
	if (xfs < 0)
		return -1;
	if (!xfs)
		answer.reason = EXCHRANGE_REASON_NO_DEVICE;
	else if (query_xfs(&answer))
		return -1;
	*query = answer;
	return 0;
}

int exchrange_query(int device, struct exchrange_query *query)
{
	if (device >= 0)
		return ioctl(device, EXCHRANGE_IOC_QUERY, query);
	return query_without_device(query);
}

int exchrange_stage(int device, int fd, unsigned int flags)
{
	const struct exchrange_stage stage = { .fd = fd, .flags = flags };

	if (device < 0)
		return fail(EOPNOTSUPP);
	return ioctl(device, EXCHRANGE_IOC_STAGE, &stage);
}

int exchrange_hold(int device, int fd)
{
	const struct exchrange_hold hold = { .fd = fd };

	if (device < 0)
		return fail(EOPNOTSUPP);
	return ioctl(device, EXCHRANGE_IOC_HOLD, &hold);
}

enum exchrange_route exchrange_route(int device, int fd)
{
	struct exchrange_query query = { .fd = fd };

	if (exchrange_query(device, &query) ||
	    query.backend == EXCHRANGE_BACKEND_NONE)
		return EXCHRANGE_ROUTE_NONE;
	return device >= 0 ? EXCHRANGE_ROUTE_DEVICE : EXCHRANGE_ROUTE_XFS;
}
