/* SPDX-License-Identifier: GPL-2.0 */
/*
 * XFS as it is inside: its private types and functions, which a build takes from
 * the BTF of the kernel that it is for (scripts/private_types).
 */
#ifndef EXCHRANGE_XFS_PRIVATE_H
#define EXCHRANGE_XFS_PRIVATE_H

#include <linux/bits.h>
#include <linux/fs.h>
#include <linux/kobject.h>
#include <linux/list.h>
#include <linux/list_lru.h>
#include <linux/mutex.h>
#include <linux/percpu_counter.h>
#include <linux/radix-tree.h>
#include <linux/ratelimit.h>
#include <linux/rwsem.h>
#include <linux/semaphore.h>
#include <linux/shrinker.h>
#include <linux/spinlock.h>
#include <linux/uuid.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "../private_layout.h"
#include "xfs_types.h"

/* Of the log's and the disk's format: fs/xfs/libxfs/xfs_{format,log_format}.h. */
#define XFS_DIFLAG_PREALLOC	BIT(1)
#define XFS_SB_FEAT_INCOMPAT_EXCHRANGE	BIT(6)
#define XFS_ILOG_CORE		0x001
#define XFS_ILOCK_EXCL		BIT(2)

static inline struct xfs_inode *XFS_I(const struct inode *inode)
{
	return container_of(inode, struct xfs_inode, i_vnode);
}

#endif /* EXCHRANGE_XFS_PRIVATE_H */
