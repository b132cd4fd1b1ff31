// SPDX-License-Identifier: GPL-2.0
/*
 * The page cache of both files: written back before the exchange, and what is going to
 * move dropped.
 *
 * Whoever calls these holds both inodes' locks, invalidate_locks and i_mmap_locks for
 * writing.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>

#include "exchange.h"

/* After a crash, what lies past the size on disk would not be there. */
static bool is_past_disk_size(const struct file_range *range)
{
	u64 end = min_t(u64, range->start + range->length,
			i_size_read(&range->inode->vfs_inode));
	bool past;

	spin_lock(&range->inode->lock);
	past = end > range->inode->disk_i_size;
	spin_unlock(&range->inode->lock);
	return past;
}

/*
 * Writes a range back and waits until its extents are in the subvolume's tree.  The
 * rest of the file is at least sent on its way: writes without CoW that were
 * promised their old place must get it before their extent has a second owner.  All
 * of the file where the size on disk has to be the size.
 */
static int flush_range(const struct btrfs_exchange *exchange, int side)
{
	const struct file_range *range = &exchange->range[side];
	int error;

	error = filemap_flush(range->inode->vfs_inode.i_mapping);
	if (error)
		return error;
	if (exchange->request->flags & EXCHRANGE_TO_EOF)
		return btrfs_wait_ordered_range(range->inode, 0, LLONG_MAX);
	error = btrfs_wait_ordered_range(range->inode, range->start,
					 range->length);
	if (error || !is_past_disk_size(range))
		return error;
	return btrfs_wait_ordered_range(range->inode, 0, LLONG_MAX);
}

int btrfs_exchange_flush(const struct btrfs_exchange *exchange)
{
	inode_dio_wait(btrfs_exchange_inode(exchange, 0));
	inode_dio_wait(btrfs_exchange_inode(exchange, 1));
	return flush_range(exchange, 0) ?: flush_range(exchange, 1);
}

static void drop_pages(const struct file_range *range, u64 from, u64 to)
{
	truncate_pagecache_range(&range->inode->vfs_inode,
				 round_down(range->start + from, PAGE_SIZE),
				 round_up(range->start + to, PAGE_SIZE) - 1);
}

static void drop_end(const struct file_range *range, u64 size)
{
	if (offset_in_page(size))
		drop_pages(range, size - range->start, size - range->start);
}

/*
 * Takes what is going to move out of the page cache and out of all mappings.  It is
 * clean, and the locks keep it from coming back before the exchange is done: nobody
 * sees pages of before and of after beside each other.
 */
void btrfs_exchange_drop_pages(const struct btrfs_exchange *exchange)
{
	u64 from, to;
	u32 next = 0;
	int i;

	while (btrfs_exchange_next_run(exchange, &next, &from, &to))
		for (i = 0; i < 2; i++)
			drop_pages(&exchange->range[i], from, to);
	for (i = 0; i < 2; i++)
		if (btrfs_exchange_tail(exchange, i, &from, &to))
			drop_pages(&exchange->range[i], from, to);
	/* Read again, it has zeroes behind an end that has come nearer. */
	for (i = 0; i < 2; i++)
		if (exchange->new_size[i] < i_size_read(btrfs_exchange_inode(exchange, i)))
			drop_end(&exchange->range[i], exchange->new_size[i]);
}
