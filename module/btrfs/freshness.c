// SPDX-License-Identifier: GPL-2.0
/*
 * Has a file changed since START_COMMIT?
 *
 * The sample has i_version, which is raised by the first change after it was asked
 * for, whatever the clock says.  A store through an mmap is a change when it makes
 * a clean page dirty: so at the sample no page is dirty, and none is on its way to
 * be.
 */
#include <linux/jhash.h>
#include <linux/sched/signal.h>

#include "../compat.h"
#include "exchange.h"

/* What user space carries from START_COMMIT to COMMIT.  Nothing else reads it. */
struct btrfs_freshness {
	u64	ino;
	u64	root_id;	/* the subvolume */
	u64	i_version;
	s64	ctime;		/* nanoseconds */
	s64	mtime;		/* nanoseconds */
	u32	generation;
	u32	fs;		/* the file system, hashed */
};

static_assert(sizeof(struct btrfs_freshness) ==
	      sizeof_field(struct exchrange_commit, file2_freshness));

/* No file system has this as its hash alone: zeroes are no sample. */
#define FRESHNESS_SEED	0x62747266

static void sample(struct inode *inode, struct btrfs_freshness *freshness)
{
	const struct super_block *sb = inode->i_sb;
	struct timespec64 ctime = inode_get_ctime(inode);
	struct timespec64 mtime = inode_get_mtime(inode);

	*freshness = (struct btrfs_freshness) {
		.ino		= btrfs_ino(BTRFS_I(inode)),
		.root_id	= btrfs_root_id(BTRFS_I(inode)->root),
		.i_version	= inode_query_iversion(inode),
		.ctime		= timespec64_to_ns(&ctime),
		.mtime		= timespec64_to_ns(&mtime),
		.generation	= inode->i_generation,
		.fs		= jhash(&sb->s_uuid, sizeof(sb->s_uuid),
					FRESHNESS_SEED),
	};
}

/* A fault has reserved its extent before it raises i_version; a dirty page has, too. */
static bool has_dirty_pages(struct btrfs_inode *inode)
{
	bool dirty;

	spin_lock(&inode->lock);
	dirty = inode->outstanding_extents;
	spin_unlock(&inode->lock);
	return dirty;
}

/*
 * Writes @inode back, which write-protects its pages, and samples it, with the locks
 * that keep writers out.  1: a fault came in between.
 */
static int try_to_sample(struct inode *inode, struct btrfs_freshness *now)
{
	int ret;

	inode_lock(inode);
	down_write(&BTRFS_I(inode)->i_mmap_lock);
	inode_dio_wait(inode);
	ret = btrfs_wait_ordered_range(BTRFS_I(inode), 0, LLONG_MAX);
	if (!ret) {
		sample(inode, now);
		ret = has_dirty_pages(BTRFS_I(inode));
	}
	up_write(&BTRFS_I(inode)->i_mmap_lock);
	inode_unlock(inode);
	return ret;
}

/*
 * Samples @file, without a lock held.  Errors of writing it back; -EINTR for a caller
 * that is being killed.
 */
int btrfs_sample_freshness(struct file *file, u64 freshness[6])
{
	struct btrfs_freshness now;
	int ret;

	while ((ret = try_to_sample(file_inode(file), &now)) > 0) {
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	memcpy(freshness, &now, sizeof(now));
	return ret;
}

/*
 * -EBUSY where @inode is not what @freshness tells.  The caller holds the inode's
 * lock and i_mmap_lock for writing.
 */
int btrfs_check_freshness(struct inode *inode, const u64 freshness[6])
{
	struct btrfs_freshness now;

	sample(inode, &now);
	return memcmp(&now, freshness, sizeof(now)) ? -EBUSY : 0;
}
