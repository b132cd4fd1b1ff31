// SPDX-License-Identifier: GPL-2.0
/*
 * Sectors that are written anew before an exchange: inline extents that cannot stay such
 * ones where they go, and what a last sector has behind the end.
 *
 * Whoever calls these holds all inodes' locks, invalidate_locks and i_mmap_locks for
 * writing; all ranges are written back.
 */
#include <linux/list.h>
#include <linux/spinlock.h>

#include "exchange.h"

/*
 * An inline extent is all of a file, at its start: it moves as it is where the
 * other file takes all of it, at its start, and has nothing behind its end.
 */
static bool can_move_inline(const struct btrfs_pair *pair)
{
	const struct exchange_request *request = pair->request;

	if (request->file1_offset || request->file2_offset ||
	    request->flags & EXCHRANGE_FILE1_WRITTEN ||
	    (pair->range[0].inode->flags | pair->range[1].inode->flags) &
	    BTRFS_INODE_PREALLOC)
		return false;
	return request->flags & EXCHRANGE_TO_EOF ||
	       (request->length == i_size_read(btrfs_pair_inode(pair, 0)) &&
		request->length == i_size_read(btrfs_pair_inode(pair, 1)));
}

static int has_inline(const struct inode_range *range)
{
	const struct inode_range start = {
		.inode	= range->inode,
		.length	= range->inode->root->fs_info->sectorsize,
	};
	struct extent_count count = { .limit = U32_MAX };
	int error;

	if (range->start || !range->length)
		return 0;
	error = count_extents(&start, 0, start.length, &count);
	return error ?: count.has_inline;
}

/* One who rewrites a sector, on the list of all. */
struct rewriter {
	struct list_head	node;
	struct btrfs_fs_info	*fs_info;
	u64			max_inline;	/* bytes, as it was before the first */
};

static LIST_HEAD(rewriters);
static DEFINE_SPINLOCK(rewriters_lock);

static struct rewriter *find_rewriter(const struct btrfs_fs_info *fs_info)
{
	struct rewriter *rewriter;

	list_for_each_entry(rewriter, &rewriters, node)
		if (rewriter->fs_info == fs_info)
			return rewriter;
	return NULL;
}

/*
 * Until end_rewriting(), nothing that is written back becomes an inline extent: what others
 * write to small files meanwhile is as well off in a regular one.  A mark on the inode would
 * reach the disk with it.
 */
static void begin_rewriting(struct rewriter *rewriter, struct btrfs_fs_info *fs_info)
{
	struct rewriter *other;

	rewriter->fs_info = fs_info;
	spin_lock(&rewriters_lock);
	other = find_rewriter(fs_info);
	rewriter->max_inline = other ? other->max_inline : fs_info->max_inline;
	WRITE_ONCE(fs_info->max_inline, 0);
	list_add(&rewriter->node, &rewriters);
	spin_unlock(&rewriters_lock);
}

static void end_rewriting(struct rewriter *rewriter)
{
	struct btrfs_fs_info *fs_info = rewriter->fs_info;

	spin_lock(&rewriters_lock);
	list_del(&rewriter->node);
	/* A remount may have set another one, which stays. */
	if (!find_rewriter(fs_info))
		cmpxchg(&fs_info->max_inline, 0, rewriter->max_inline);
	spin_unlock(&rewriters_lock);
}

/* Has @dirty make the sector at @offset dirty, which becomes a regular extent. */
static int rewrite_sector(struct btrfs_inode *inode, u64 offset,
			  int (*dirty)(struct btrfs_inode *inode))
{
	u32 sectorsize = inode->root->fs_info->sectorsize;
	struct rewriter rewriter;
	int error;

	begin_rewriting(&rewriter, inode->root->fs_info);
	error = dirty(inode) ?: btrfs_wait_ordered_range(inode, offset, sectorsize);
	end_rewriting(&rewriter);
	return error;
}

/*
 * Makes inline extents regular ones where they cannot move as they are.  The
 * contents stay; -ENOSPC where there is no room.
 */
static int split_inline(const struct btrfs_pair *pair)
{
	int i, ret;

	if (can_move_inline(pair))
		return 0;
	for (i = 0; i < 2; i++) {
		ret = has_inline(&pair->range[i]);
		if (ret > 0)
			ret = rewrite_sector(pair->range[i].inode, 0,
					     btrfs_dirty_first_block) ?:
			      has_inline(&pair->range[i]);
		if (ret)
			return ret < 0 ? ret : -EOPNOTSUPP;
	}
	return 0;
}

/* Whether the sector at @offset of a range has data, and no hole or preallocation. */
static int has_data(const struct inode_range *range, u64 offset)
{
	const struct inode_range written = {
		.inode		= range->inode,
		.start		= range->start,
		.length		= range->length,
		.written_only	= true,
	};
	u32 sectorsize = range->inode->root->fs_info->sectorsize;
	struct extent_count count = { .limit = U32_MAX };
	int error;

	error = count_extents(&written, offset, offset + sectorsize, &count);
	return error ?: count.extents > 0;
}

/*
 * What a file's last sector has behind the end on the disk may be anything.  Where file2
 * grows and keeps that sector, since file1 has a hole there, it becomes zeroes first, as
 * a truncate to a larger size makes it.  A hole stays one.
 */
static int zero_last_sector(const struct btrfs_pair *pair)
{
	const struct inode_range *range = pair->range;
	loff_t size = i_size_read(btrfs_pair_inode(pair, 1));
	u64 sector = round_down(size, range[1].inode->root->fs_info->sectorsize);
	int ret;

	if (!range[0].written_only || pair->new_size[1] <= size ||
	    sector == size)
		return 0;
	ret = has_data(&range[0], sector - range[1].start);
	if (ret)
		return ret < 0 ? ret : 0;
	ret = has_data(&range[1], sector - range[1].start);
	if (ret <= 0)
		return ret;
	return rewrite_sector(range[1].inode, sector, btrfs_zero_behind_end);
}

/*
 * Rewrites what cannot move, or stay, as it is.  The contents of both files remain the
 * same; -ENOSPC where there is no room.
 */
int btrfs_exchange_rewrite(const struct btrfs_exchange *exchange)
{
	const struct btrfs_pair *pair;
	int error;

	for (pair = btrfs_first_pair(exchange); pair; pair = btrfs_next_pair(exchange, pair)) {
		error = split_inline(pair) ?: zero_last_sector(pair);
		if (error)
			return error;
	}
	return 0;
}
