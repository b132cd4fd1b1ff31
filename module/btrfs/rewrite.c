// SPDX-License-Identifier: GPL-2.0
/*
 * Sectors that are written anew before an exchange: inline extents that cannot stay such
 * ones where they go, and what a last sector has behind the end.
 *
 * Whoever calls these holds both inodes' locks, invalidate_locks and i_mmap_locks for
 * writing; both ranges are written back.
 */
#include "exchange.h"

/*
 * An inline extent is all of a file, at its start: it moves as it is where the
 * other file takes all of it, at its start, and has nothing behind its end.
 */
static bool can_move_inline(const struct btrfs_exchange *exchange)
{
	const struct exchange_request *request = exchange->request;

	if (request->file1_offset || request->file2_offset ||
	    request->flags & EXCHRANGE_FILE1_WRITTEN ||
	    (exchange->range[0].inode->flags | exchange->range[1].inode->flags) &
	    BTRFS_INODE_PREALLOC)
		return false;
	return request->flags & EXCHRANGE_TO_EOF ||
	       (request->length == i_size_read(btrfs_exchange_inode(exchange, 0)) &&
		request->length == i_size_read(btrfs_exchange_inode(exchange, 1)));
}

static int has_inline(const struct file_range *range)
{
	const struct file_range start = {
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

/*
 * Zeroes @length bytes of a sector, or what is before them (@front), and writes it as a
 * regular extent: btrfs never makes an inline one of a file that may have preallocated
 * ones.
 */
static int rewrite_sector(struct btrfs_inode *inode, loff_t from, loff_t length,
			  int front)
{
	u32 sectorsize = inode->root->fs_info->sectorsize;
	u32 flags = inode->flags & BTRFS_INODE_PREALLOC;
	int error;

	inode->flags |= BTRFS_INODE_PREALLOC;
	error = btrfs_truncate_block(inode, from, length, front) ?:
		btrfs_wait_ordered_range(inode, round_down(from, sectorsize),
					 sectorsize);
	if (!flags)
		inode->flags &= ~BTRFS_INODE_PREALLOC;
	return error;
}

/*
 * Makes inline extents regular ones where they cannot move as they are.  The
 * contents stay; -ENOSPC where there is no room.
 */
static int split_inline(const struct btrfs_exchange *exchange)
{
	int i, ret;

	if (can_move_inline(exchange))
		return 0;
	for (i = 0; i < 2; i++) {
		ret = has_inline(&exchange->range[i]);
		if (ret > 0)
			/* Of no bytes: nothing changes. */
			ret = rewrite_sector(exchange->range[i].inode, 0, 1, 1) ?:
			      has_inline(&exchange->range[i]);
		if (ret)
			return ret < 0 ? ret : -EOPNOTSUPP;
	}
	return 0;
}

/* Whether the sector at @offset of a range has data, and no hole or preallocation. */
static int has_data(const struct file_range *range, u64 offset)
{
	const struct file_range written = {
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
static int zero_last_sector(const struct btrfs_exchange *exchange)
{
	const struct file_range *range = exchange->range;
	loff_t size = i_size_read(btrfs_exchange_inode(exchange, 1));
	u64 sector = round_down(size, range[1].inode->root->fs_info->sectorsize);
	int ret;

	if (!range[0].written_only || exchange->new_size[1] <= size ||
	    sector == size)
		return 0;
	ret = has_data(&range[0], sector - range[1].start);
	if (ret)
		return ret < 0 ? ret : 0;
	ret = has_data(&range[1], sector - range[1].start);
	if (ret <= 0)
		return ret;
	return rewrite_sector(range[1].inode, size, 0, 0);
}

/*
 * Rewrites what cannot move, or stay, as it is.  The contents of both files remain the
 * same; -ENOSPC where there is no room.
 */
int btrfs_exchange_rewrite(const struct btrfs_exchange *exchange)
{
	return split_inline(exchange) ?: zero_last_sector(exchange);
}
