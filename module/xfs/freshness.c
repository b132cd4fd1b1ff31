// SPDX-License-Identifier: GPL-2.0
/*
 * Has a file changed since START_COMMIT?
 *
 * XFS's i_version would not tell: it counts reads, too, by their access time.  ctime does,
 * where the clock has gone on since the last change that the sample knows: so that is
 * waited for, at most a tick.  A store through an mmap is a change when it makes a
 * clean page dirty: so at the sample no page is dirty, and where one is at the commit
 * it is newer than that, whatever ctime says.
 */
#include <linux/jhash.h>
#include <linux/jiffies.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include "../compat.h"
#include "private.h"
#include "exchange.h"

/* What user space carries from START_COMMIT to COMMIT.  Nothing else reads it. */
struct xfs_freshness {
	u64	ino;
	s64	ctime;		/* nanoseconds */
	s64	mtime;		/* nanoseconds */
	u64	size;		/* bytes */
	u64	unused;
	u32	generation;
	u32	fs;		/* the file system, hashed */
};

static_assert(sizeof(struct xfs_freshness) ==
	      sizeof_field(struct exchrange_commit, file2_freshness));

/* No file system has this as its hash alone: zeroes are no sample. */
#define FRESHNESS_SEED	0x58465342

static void sample(const struct inode *inode, struct xfs_freshness *freshness)
{
	const struct super_block *sb = inode->i_sb;
	struct timespec64 ctime = inode_get_ctime(inode);
	struct timespec64 mtime = inode_get_mtime(inode);

	*freshness = (struct xfs_freshness) {
		.ino		= inode->i_ino,
		.ctime		= timespec64_to_ns(&ctime),
		.mtime		= timespec64_to_ns(&mtime),
		.size		= i_size_read(inode),
		.generation	= inode->i_generation,
		.fs		= jhash(&sb->s_uuid, sizeof(sb->s_uuid),
					FRESHNESS_SEED),
	};
}

static bool has_dirty_pages(const struct inode *inode)
{
	return mapping_tagged(inode->i_mapping, PAGECACHE_TAG_DIRTY) ||
	       mapping_tagged(inode->i_mapping, PAGECACHE_TAG_WRITEBACK);
}

/* Writes @inode back, which write-protects its pages, and samples it. */
static int flush_and_sample(struct inode *inode, struct xfs_freshness *now)
{
	int error;

	/* Most of it without the locks: writers do not wait for that. */
	error = filemap_write_and_wait(inode->i_mapping);
	if (error)
		return error;
	inode_lock(inode);
	filemap_invalidate_lock(inode->i_mapping);
	inode_dio_wait(inode);
	error = filemap_write_and_wait(inode->i_mapping);
	if (!error)
		sample(inode, now);
	filemap_invalidate_unlock(inode->i_mapping);
	inode_unlock(inode);
	return error;
}

/* A clock that goes on does so within a tick, 10 ms at the most. */
#define CLOCK_TIMEOUT	(HZ / 2)

/* Whether every change has this time from now on: the file system knows no other. */
static bool is_end_of_time(const struct inode *inode, const struct timespec64 *now)
{
	const struct super_block *sb = inode->i_sb;

	return now->tv_sec >= sb->s_time_max || now->tv_sec <= sb->s_time_min;
}

/*
 * The next change has another ctime than this.  -EOVERFLOW where there will never be another;
 * -EAGAIN where somebody holds the clock; -EINTR.
 */
static int wait_for_clock(struct inode *inode, const struct xfs_freshness *now)
{
	unsigned long give_up = jiffies + CLOCK_TIMEOUT;
	struct timespec64 time;

	for (;;) {
		time = current_time(inode);
		if (timespec64_to_ns(&time) != now->ctime)
			return 0;
		if (is_end_of_time(inode, &time))
			return -EOVERFLOW;
		if (fatal_signal_pending(current))
			return -EINTR;
		if (time_after(jiffies, give_up))
			return -EAGAIN;
		schedule_timeout_killable(1);
	}
}

/*
 * A fault takes its time before it waits for the invalidate_lock, and makes its page
 * dirty afterwards: those that waited for that of the sample had it before this gets it.
 */
static bool is_dirty_again(struct inode *inode, const struct xfs_freshness *before)
{
	struct xfs_freshness now;
	bool dirty;

	inode_lock(inode);
	filemap_invalidate_lock(inode->i_mapping);
	sample(inode, &now);
	dirty = has_dirty_pages(inode) && !memcmp(&now, before, sizeof(now));
	filemap_invalidate_unlock(inode->i_mapping);
	inode_unlock(inode);
	return dirty;
}

/*
 * Samples @file, without a lock held.  -EOVERFLOW, -EAGAIN where the clock does not tell
 * changes apart; errors of writing it back; -EINTR for a caller that is being killed.
 */
int xfs_sample_freshness(struct file *file, u64 freshness[6])
{
	struct inode *inode = file_inode(file);
	struct xfs_freshness now;
	int error;

	do {
		error = flush_and_sample(inode, &now) ?:
			wait_for_clock(inode, &now);
	} while (!error && is_dirty_again(inode, &now));
	if (!error)
		memcpy(freshness, &now, sizeof(now));
	return error;
}

/*
 * -EBUSY where @inode is not what @freshness tells.  The caller holds the inode's
 * lock and invalidate_lock, and has not flushed it.
 */
int xfs_check_freshness(struct inode *inode, const u64 freshness[6])
{
	struct xfs_freshness now;

	sample(inode, &now);
	return has_dirty_pages(inode) || memcmp(&now, freshness, sizeof(now)) ?
	       -EBUSY : 0;
}
