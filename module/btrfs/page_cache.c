// SPDX-License-Identifier: GPL-2.0
/*
 * The page cache of all files: written back before the exchange, and what is going to
 * move dropped.
 *
 * Whoever calls these holds all inodes' locks, invalidate_locks and i_mmap_locks for
 * writing.
 */
#include <linux/fs.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include "exchange.h"

/* After a crash, what lies past the size on disk would not be there. */
static bool is_past_disk_size(const struct inode_range *range)
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
 * Waits until the extents of a written range are in the subvolume's tree.  All of the file
 * where the size on disk has to be the size.
 */
static int wait_for_range(const struct btrfs_pair *pair, int side)
{
	const struct inode_range *range = &pair->range[side];
	int error;

	if (pair->request->flags & EXCHRANGE_TO_EOF)
		return btrfs_wait_ordered_range(range->inode, 0, LLONG_MAX);
	error = btrfs_wait_ordered_range(range->inode, range->start,
					 range->length);
	if (error || !is_past_disk_size(range))
		return error;
	return btrfs_wait_ordered_range(range->inode, 0, LLONG_MAX);
}

/* All of all files, as an fsync waits for it. */
static int wait_for_files(const struct btrfs_exchange *exchange)
{
	int error = 0;
	u32 i;

	for (i = 0; i < exchange->vector->inode_count && !error; i++)
		error = btrfs_wait_ordered_range(exchange->files[i].inode, 0, LLONG_MAX);
	return error;
}

/*
 * Writes all ranges back.  The rest of the files is at least sent on its way: writes without
 * CoW that were promised their old place must get it before their extent has a second owner.
 */
int btrfs_exchange_flush(const struct btrfs_exchange *exchange)
{
	const struct exchange_vector *vector = exchange->vector;
	const struct btrfs_pair *pair;
	int error = 0;
	u32 i;

	for (i = 0; i < vector->inode_count; i++)
		inode_dio_wait(vector->inodes[i].inode);
	for (i = 0; i < vector->inode_count && !error; i++)
		error = filemap_flush(vector->inodes[i].inode->i_mapping);
	if (error)
		return error;
	if (btrfs_log_may_be_at_once(exchange))
		return wait_for_files(exchange);
	for (pair = btrfs_first_pair(exchange); pair; pair = btrfs_next_pair(exchange, pair)) {
		cond_resched();
		error = fatal_signal_pending(current) ? -EINTR :
			wait_for_range(pair, 0) ?: wait_for_range(pair, 1);
		if (error)
			return error;
	}
	return 0;
}

/*
 * Takes the pages of [@from, @to), bytes of @inode, out of the cache and out of all
 * mappings, whole folios with all that they hold.  None is cut: what is left of a folio
 * that stays would be zeroes.  -EBUSY where one stays: a device writes to it, by the mapping
 * of whoever asked for that, or has, so that it is dirty again.  To write that back changes
 * extents that are counted already: so the caller begins anew.
 */
static int drop_range(struct inode *inode, u64 from, u64 to)
{
	pgoff_t start = from >> PAGE_SHIFT, last = (to - 1) >> PAGE_SHIFT;

	if (exchange_has_pinned_pages(inode->i_mapping, start, last))
		return -EBUSY;
	return invalidate_inode_pages2_range(inode->i_mapping, start, last);
}

static int drop_pages(const struct inode_range *range, u64 from, u64 to)
{
	return drop_range(&range->inode->vfs_inode, range->start + from,
			  range->start + to);
}

static int drop_runs(const struct btrfs_pair *pair)
{
	u64 from, to;
	u32 next = 0;
	int i, error = 0;

	while (!error && btrfs_pair_next_run(pair, &next, &from, &to))
		for (i = 0; i < 2 && !error; i++)
			error = drop_pages(&pair->range[i], from, to);
	for (i = 0; i < 2 && !error; i++)
		if (btrfs_pair_tail(pair, i, &from, &to))
			error = drop_pages(&pair->range[i], from, to);
	return error;
}

/*
 * The page that has the nearer one of the end that a file has and the one that it gets.
 * Read again, it has zeroes behind that.  False where none has: no size changes, or the end
 * is that of a page.
 */
bool btrfs_pair_end_page(const struct btrfs_pair *pair, int side, pgoff_t *index)
{
	u64 size = i_size_read(btrfs_pair_inode(pair, side));
	u64 end = min(size, pair->new_size[side]);

	*index = end >> PAGE_SHIFT;
	return size != pair->new_size[side] && offset_in_page(end);
}

static int drop_end(const struct btrfs_pair *pair, int side)
{
	pgoff_t index;
	u64 start;

	if (!btrfs_pair_end_page(pair, side, &index))
		return 0;
	start = (u64)index << PAGE_SHIFT;
	return drop_range(btrfs_pair_inode(pair, side), start, start + PAGE_SIZE);
}

/*
 * Takes what is going to move out of the page cache and out of all mappings.  It was
 * written back, and the locks keep it from coming back before the exchange is done: nobody
 * sees pages of before and of after beside each other.  -EBUSY where a page stays, and
 * errors of writing it back.
 */
int btrfs_exchange_drop_pages(const struct btrfs_exchange *exchange)
{
	const struct btrfs_pair *pair;
	int error;

	for (pair = btrfs_first_pair(exchange); pair; pair = btrfs_next_pair(exchange, pair)) {
		error = drop_runs(pair) ?: drop_end(pair, 0) ?: drop_end(pair, 1);
		if (error)
			return error;
	}
	return 0;
}
