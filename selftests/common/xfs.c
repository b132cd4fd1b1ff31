// SPDX-License-Identifier: GPL-2.0
/*
 * XFS's own ioctl by XFS's own header, as the reference.  A guest whose xfslibs
 * are older has no such kernel either: the answer is ENOTTY there.
 */
#include <string.h>
#include <sys/ioctl.h>

#if __has_include(<xfs/xfs_fs.h>)
#include <xfs/xfs.h>
#endif

#include "common.h"

#ifdef XFS_IOC_EXCHANGE_RANGE
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
#else
int xfs_exchange(const struct exchrange_range *range)
{
	(void)range;
	return ENOTTY;
}
#endif

#ifdef XFS_IOC_COMMIT_RANGE
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
#else
int xfs_start_commit(struct exchrange_commit *commit)
{
	(void)commit;
	return ENOTTY;
}

int xfs_commit(const struct exchrange_commit *commit)
{
	(void)commit;
	return ENOTTY;
}
#endif
