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
#include <linux/pagemap.h>
#include <linux/slab.h>

#include "../trace.h"
#include "exchange.h"

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
	struct inode *inode1 = btrfs_exchange_inode(exchange, 0);
	struct inode *inode2 = btrfs_exchange_inode(exchange, 1);

	file_start_write(exchange->request->file2);
	lock_two_nondirectories(inode1, inode2);
	filemap_invalidate_lock_two(inode1->i_mapping, inode2->i_mapping);
	help_balance(exchange->request);
	lock_two_mmap(BTRFS_I(inode1), BTRFS_I(inode2));
}

static void unlock_files(const struct btrfs_exchange *exchange)
{
	struct inode *inode1 = btrfs_exchange_inode(exchange, 0);
	struct inode *inode2 = btrfs_exchange_inode(exchange, 1);

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
	u64 size1 = i_size_read(btrfs_exchange_inode(exchange, 0));
	u64 size2 = i_size_read(btrfs_exchange_inode(exchange, 1));
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
	btrfs_exchange_drop_pages(exchange);
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
		error = btrfs_check_freshness(btrfs_exchange_inode(exchange, 1), freshness);
	if (error)
		return error;
	if (request->length == 0) {
		exchange_watch_empty(request);
		return 0;
	}

	set_ranges(exchange);
	error = btrfs_exchange_flush(exchange);
	if (error)
		return error;
	if (!(request->flags & EXCHRANGE_DRY_RUN)) {
		error = btrfs_exchange_rewrite(exchange);
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
