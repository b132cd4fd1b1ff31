// SPDX-License-Identifier: GPL-2.0
/*
 * XFS's own ioctl by XFS's own header, as the reference.  Debian 12's header, of a kernel that
 * has no such ioctl, leaves out what ioctl_xfs_exchange_range(2) and ioctl_xfs_commit_range(2)
 * tell: libexchange-preload answers there, too.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if __has_include(<xfs/xfs_fs.h>)
#include <xfs/xfs.h>
#endif

#include "common.h"

#ifndef XFS_IOC_EXCHANGE_RANGE
struct xfs_exchange_range {
	int32_t		file1_fd;
	uint32_t	pad;
	uint64_t	file1_offset, file2_offset, length, flags;
};

#define XFS_IOC_EXCHANGE_RANGE	_IOW('X', 129, struct xfs_exchange_range)
#endif

#ifndef XFS_IOC_COMMIT_RANGE
struct xfs_commit_range {
	int32_t		file1_fd;
	uint32_t	pad;
	uint64_t	file1_offset, file2_offset, length, flags;
	uint64_t	file2_freshness[6];
};

#define XFS_IOC_START_COMMIT	_IOR('X', 130, struct xfs_commit_range)
#define XFS_IOC_COMMIT_RANGE	_IOW('X', 131, struct xfs_commit_range)
#endif

bool kernel_has_own_exchange(void)
{
	const char *xfs = getenv("XFS_DIR");
	int fd = open_path(xfs ? xfs : mount_point, O_RDONLY | O_DIRECTORY);
	/* Nobody but the kernel is asked, and it has no argument to read. */
	bool has = syscall(SYS_ioctl, fd, XFS_IOC_EXCHANGE_RANGE, NULL) && errno == EFAULT;

	close(fd);
	return has;
}

int xfs_exchange(const struct exchrange_range *range)
{
	struct xfs_exchange_range xfs = {
		.file1_fd	= range->file1_fd,
		.pad		= range->pad,
		.file1_offset	= range->file1_offset,
		.file2_offset	= range->file2_offset,
		.length		= range->length,
		.flags		= range->flags,
	};

	return ioctl(range->file2_fd, XFS_IOC_EXCHANGE_RANGE, &xfs) ? errno : 0;
}

static struct xfs_commit_range to_xfs(const struct exchrange_commit *commit)
{
	struct xfs_commit_range xfs = {
		.file1_fd	= commit->file1_fd,
		.pad		= commit->pad,
		.file1_offset	= commit->file1_offset,
		.file2_offset	= commit->file2_offset,
		.length		= commit->length,
		.flags		= commit->flags,
	};

	memcpy(xfs.file2_freshness, commit->file2_freshness,
	       sizeof(xfs.file2_freshness));
	return xfs;
}

int xfs_start_commit(struct exchrange_commit *commit)
{
	struct xfs_commit_range xfs = to_xfs(commit);

	if (ioctl(commit->file2_fd, XFS_IOC_START_COMMIT, &xfs))
		return errno;
	memcpy(commit->file2_freshness, xfs.file2_freshness,
	       sizeof(xfs.file2_freshness));
	return 0;
}

int xfs_commit(const struct exchrange_commit *commit)
{
	struct xfs_commit_range xfs = to_xfs(commit);

	return ioctl(commit->file2_fd, XFS_IOC_COMMIT_RANGE, &xfs) ? errno : 0;
}
