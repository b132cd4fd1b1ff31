// SPDX-License-Identifier: GPL-2.0
/*
 * btrfs back end: one btrfs transaction, whatever there is to exchange.
 *
 * btrfs has no such ioctl and exports nothing: its functions are bound by name, and
 * only those of the very btrfs that the module was built against (bind.c).
 *
 * Locks, in this order:
 *
 *	sb_start_write		no exchange on a frozen file system
 *	inode locks		no write, truncate, fallocate, reflink, fsync's log
 *	invalidate_locks	no page comes into the cache
 *	i_mmap_locks		no store through a mapping, no dedupe, and balance
 *				leaves the extents in place
 *	extent locks		of both ranges, in the inodes' io_trees
 *	transaction
 *
 * Two locks of a kind are taken in the order that the VFS and btrfs have for
 * them.  User memory is not touched in between.
 */
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>

#include "../trace.h"
#include "exchange.h"

static struct inode *inode_of(const struct btrfs_exchange *exchange, int side)
{
	return &exchange->range[side].inode->vfs_inode;
}

static bool is_one_file(const struct btrfs_exchange *exchange)
{
	return exchange->range[0].inode == exchange->range[1].inode;
}

/* As btrfs locks two of them for a reflink. */
static void lock_two_mmap(struct btrfs_inode *inode1, struct btrfs_inode *inode2)
{
	if (inode1 < inode2)
		swap(inode1, inode2);
	down_write(&inode1->i_mmap_lock);
	if (inode1 != inode2)
		down_write_nested(&inode2->i_mmap_lock, SINGLE_DEPTH_NESTING);
}

static void unlock_two_mmap(struct btrfs_inode *inode1,
			    struct btrfs_inode *inode2)
{
	up_write(&inode1->i_mmap_lock);
	if (inode1 != inode2)
		up_write(&inode2->i_mmap_lock);
}

/* With the inode locks and without the i_mmap_locks. */
static void help_balance(const struct exchange_request *request)
{
	u64 end1 = LLONG_MAX, end2 = LLONG_MAX;

	if (request->flags & EXCHRANGE_DRY_RUN)
		return;
	if (!(request->flags & EXCHRANGE_TO_EOF)) {
		end1 = request->file1_offset + request->length;
		end2 = request->file2_offset + request->length;
	}
	update_moved_extents(BTRFS_I(file_inode(request->file1)),
			     request->file1_offset, end1);
	update_moved_extents(BTRFS_I(file_inode(request->file2)),
			     request->file2_offset, end2);
}

static void lock_files(const struct btrfs_exchange *exchange)
{
	struct inode *inode1 = inode_of(exchange, 0);
	struct inode *inode2 = inode_of(exchange, 1);

	file_start_write(exchange->request->file2);
	lock_two_nondirectories(inode1, inode2);
	filemap_invalidate_lock_two(inode1->i_mapping, inode2->i_mapping);
	help_balance(exchange->request);
	lock_two_mmap(BTRFS_I(inode1), BTRFS_I(inode2));
}

static void unlock_files(const struct btrfs_exchange *exchange)
{
	struct inode *inode1 = inode_of(exchange, 0);
	struct inode *inode2 = inode_of(exchange, 1);

	unlock_two_mmap(BTRFS_I(inode1), BTRFS_I(inode2));
	filemap_invalidate_unlock_two(inode1->i_mapping, inode2->i_mapping);
	unlock_two_nondirectories(inode1, inode2);
	file_end_write(exchange->request->file2);
}

/*
 * Both ranges, the one that others would lock first first: of the inode at the higher
 * address, and in one file the lower.
 */
static void lock_extents(const struct btrfs_exchange *exchange,
			 struct extent_state *cached[2])
{
	const struct file_range *range = exchange->range;
	int i, first = range[0].inode < range[1].inode ||
		       (is_one_file(exchange) && range[1].start < range[0].start);

	for (i = 0; i < 2; i++) {
		int side = i ^ first;

		btrfs_lock_extent(&range[side].inode->io_tree, range[side].start,
				  range[side].start + range[side].length - 1,
				  &cached[side]);
	}
}

static void unlock_extents(const struct btrfs_exchange *exchange,
			   struct extent_state *cached[2])
{
	const struct file_range *range = exchange->range;
	int i;

	for (i = 0; i < 2; i++)
		btrfs_unlock_extent(&range[i].inode->io_tree, range[i].start,
				    range[i].start + range[i].length - 1,
				    &cached[i]);
}

/* What btrfs asks of two files more than any file system does. */
static int check_inodes(const struct btrfs_exchange *exchange)
{
	const struct btrfs_inode *inode1 = exchange->range[0].inode;
	const struct btrfs_inode *inode2 = exchange->range[1].inode;

	if (btrfs_root_readonly(inode1->root) ||
	    btrfs_root_readonly(inode2->root))
		return -EROFS;
	/* Data without checksums would be read as if it had some. */
	if ((inode1->flags ^ inode2->flags) & BTRFS_INODE_NODATASUM)
		return -EINVAL;
	return 0;
}

/* The ranges in whole sectors, and the sizes that both files will have. */
static void set_ranges(struct btrfs_exchange *exchange)
{
	const struct exchange_request *request = exchange->request;
	u32 sectorsize = exchange->range[0].inode->root->fs_info->sectorsize;
	u64 size1 = i_size_read(inode_of(exchange, 0));
	u64 size2 = i_size_read(inode_of(exchange, 1));
	int i;

	exchange->range[0].start = request->file1_offset;
	exchange->range[1].start = request->file2_offset;
	exchange->range[0].written_only =
		request->flags & EXCHRANGE_FILE1_WRITTEN;
	for (i = 0; i < 2; i++)
		exchange->range[i].length = round_up(request->length, sectorsize);

	exchange->new_size[0] = size1;
	exchange->new_size[1] = size2;
	if (request->flags & EXCHRANGE_TO_EOF) {
		exchange->new_size[0] = request->file1_offset +
					size2 - request->file2_offset;
		exchange->new_size[1] = request->file2_offset +
					size1 - request->file1_offset;
	}
}

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

static int flush(const struct btrfs_exchange *exchange)
{
	inode_dio_wait(inode_of(exchange, 0));
	inode_dio_wait(inode_of(exchange, 1));
	return flush_range(exchange, 0) ?: flush_range(exchange, 1);
}

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
	       (request->length == i_size_read(inode_of(exchange, 0)) &&
		request->length == i_size_read(inode_of(exchange, 1)));
}

static int has_inline(const struct file_range *range)
{
	const struct file_range start = {
		.inode	= range->inode,
		.length	= range->inode->root->fs_info->sectorsize,
	};
	struct extent_count count = { };
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
	error = btrfs_zero_in_block(inode, from, length, front) ?:
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
	struct extent_count count = { };
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
	loff_t size = i_size_read(inode_of(exchange, 1));
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
static void drop_page_cache(const struct btrfs_exchange *exchange)
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
		if (exchange->new_size[i] < i_size_read(inode_of(exchange, i)))
			drop_end(&exchange->range[i], exchange->new_size[i]);
}

/* As a write does it.  Last of all that can fail before the transaction. */
static int remove_privileges(const struct btrfs_exchange *exchange)
{
	int error;

	error = file_remove_privs(exchange->request->file1);
	if (!error && !is_one_file(exchange))
		error = file_remove_privs(exchange->request->file2);
	return error;
}

/* Everything is checked, flushed and locked but the extents. */
static int exchange_locked(struct btrfs_exchange *exchange)
{
	struct extent_state *cached[2] = { };
	int error;

	error = btrfs_exchange_prepare(exchange);
	if (error || exchange->request->flags & EXCHRANGE_DRY_RUN)
		goto out_finish;

	error = remove_privileges(exchange);
	if (error)
		goto out_finish;
	exchange_watch_begin(exchange->request);
	drop_page_cache(exchange);
	lock_extents(exchange, cached);
	error = btrfs_exchange_extents(exchange);
	unlock_extents(exchange, cached);
	exchange_watch_end(exchange->request, !error);

out_finish:
	btrfs_exchange_finish(exchange);
	return error;
}

/* The caller has locked both files. */
static int check_and_exchange(struct btrfs_exchange *exchange,
			      const u64 *freshness)
{
	struct exchange_request *request = exchange->request;
	u32 sectorsize = exchange->range[0].inode->root->fs_info->sectorsize;
	int error;

	error = exchange_check_locked(request, sectorsize) ?:
		check_inodes(exchange);
	if (!error && freshness)
		error = btrfs_check_freshness(inode_of(exchange, 1), freshness);
	if (error)
		return error;
	if (request->length == 0) {
		exchange_watch_empty(request);
		return 0;
	}

	set_ranges(exchange);
	error = flush(exchange);
	if (error)
		return error;
	if (!(request->flags & EXCHRANGE_DRY_RUN)) {
		error = split_inline(exchange) ?: zero_last_sector(exchange);
		if (error)
			return error;
	}
	return exchange_locked(exchange);
}

/* After the exchange, without a lock. */
static int finish(const struct btrfs_exchange *exchange)
{
	const struct exchange_request *request = exchange->request;
	int error = 0;

	if (request->flags & EXCHRANGE_DRY_RUN)
		return 0;
	if (exchange_must_be_durable(request) && request->length)
		error = btrfs_exchange_commit(exchange);
	exchange_notify(request);
	btrfs_btree_balance_dirty(exchange->range[0].inode->root->fs_info);
	return error;
}

static int btrfs_exchange(struct exchange_request *request,
			  const u64 *freshness)
{
	struct btrfs_exchange *exchange;
	int error;

	error = exchange_check_rights(request);
	if (error)
		return error;
	exchange = kzalloc(sizeof(*exchange), GFP_KERNEL);
	if (!exchange)
		return -ENOMEM;
	exchange->request = request;
	exchange->range[0].inode = BTRFS_I(file_inode(request->file1));
	exchange->range[1].inode = BTRFS_I(file_inode(request->file2));

	lock_files(exchange);
	error = check_and_exchange(exchange, freshness);
	unlock_files(exchange);
	if (!error)
		error = finish(exchange);
	kfree(exchange);
	return error;
}

static int btrfs_submit(struct exchange_request *request)
{
	const struct super_block *sb = file_inode(request->file2)->i_sb;
	int error = -EINVAL;

	if (btrfs_bind_get(sb) != EXCHRANGE_REASON_NONE)
		return -EOPNOTSUPP;
	trace_exchrange_backend(request, EXCHRANGE_BACKEND_BTRFS);

	switch (request->operation) {
	case EXCHANGE_OPERATION_EXCHANGE:
		error = btrfs_exchange(request, NULL);
		break;
	case EXCHANGE_OPERATION_START_COMMIT:
		error = btrfs_sample_freshness(request->file2,
					       request->freshness);
		request->sampled = !error;
		break;
	case EXCHANGE_OPERATION_COMMIT:
		error = btrfs_exchange(request, request->freshness);
		break;
	}
	btrfs_bind_put(sb);
	return error;
}

static int btrfs_query(struct file *file, struct exchrange_query *query)
{
	const struct inode *inode = file_inode(file);

	query->reason = btrfs_bind_get(inode->i_sb);
	if (query->reason != EXCHRANGE_REASON_NONE)
		return 0;

	query->backend = EXCHRANGE_BACKEND_BTRFS;
	query->alignment = BTRFS_I(inode)->root->fs_info->sectorsize;
	query->flags = EXCHRANGE_TO_EOF | EXCHRANGE_DSYNC | EXCHRANGE_DRY_RUN |
		       EXCHRANGE_FILE1_WRITTEN;
	btrfs_bind_put(inode->i_sb);
	return 0;
}

const struct exchange_backend exchange_backend_btrfs = {
	.magic		= BTRFS_SUPER_MAGIC,
	.start		= btrfs_bind_start,
	.stop		= btrfs_bind_stop,
	.query		= btrfs_query,
	.submit		= btrfs_submit,
};
