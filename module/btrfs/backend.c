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
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/magic.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "../trace.h"
#include "exchange.h"

/* For readers an exchange waits so often, and so many milliseconds. */
#define READERS_ATTEMPTS	8
#define READERS_TIMEOUT		100

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

/* Balance may have moved what the ranges have: see balance.c. */
static void help_balance(const struct btrfs_exchange *exchange)
{
	const struct inode_range *range = exchange->range;
	int i;

	if (exchange->request->flags & EXCHRANGE_DRY_RUN)
		return;
	for (i = 0; i < 2; i++)
		update_moved_extents(range[i].inode, range[i].start,
				     range[i].start + range[i].length);
}

static void lock_inodes(const struct btrfs_exchange *exchange)
{
	file_start_write(exchange->request->file2);
	lock_two_nondirectories(btrfs_exchange_inode(exchange, 0),
				btrfs_exchange_inode(exchange, 1));
}

static void unlock_inodes(const struct btrfs_exchange *exchange)
{
	unlock_two_nondirectories(btrfs_exchange_inode(exchange, 0),
				  btrfs_exchange_inode(exchange, 1));
	file_end_write(exchange->request->file2);
}

/* What keeps the contents as they are; the inodes are locked. */
static void lock_contents(const struct btrfs_exchange *exchange)
{
	btrfs_exchange_lock_cache(exchange);
	help_balance(exchange);
	lock_two_mmap(exchange->range[0].inode, exchange->range[1].inode);
}

static void unlock_contents(const struct btrfs_exchange *exchange)
{
	unlock_two_mmap(exchange->range[0].inode, exchange->range[1].inode);
	btrfs_exchange_unlock_cache(exchange);
}

/*
 * Both ranges, the one that others would lock first first: of the inode at the higher
 * address, and in one file the lower.
 */
static void lock_extents(const struct btrfs_exchange *exchange,
			 struct extent_state *cached[2])
{
	const struct inode_range *range = exchange->range;
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
	const struct inode_range *range = exchange->range;
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

/*
 * As a write does it.  Last of all that can fail before the transaction, which must not
 * find the space gone after it.
 */
static int remove_privileges(const struct btrfs_exchange *exchange)
{
	int error;

	if (IS_NOSEC(btrfs_exchange_inode(exchange, 0)) &&
	    IS_NOSEC(btrfs_exchange_inode(exchange, 1)))
		return 0;
	error = btrfs_exchange_rehearse(exchange) ?:
		file_remove_privs(exchange->request->file1);
	if (!error && !is_one_file(exchange))
		error = file_remove_privs(exchange->request->file2);
	return error;
}

/* In a transaction that has room for it: see user_limit.c. */
static int exchange_extents(struct btrfs_exchange *exchange)
{
	struct extent_state *cached[2] = { };
	int error;

	for (;;) {
		lock_extents(exchange, cached);
		error = btrfs_exchange_extents(exchange);
		unlock_extents(exchange, cached);
		if (!exchange->must_wait)
			return error;
		if (fatal_signal_pending(current))
			return -EINTR;
		error = btrfs_exchange_commit(exchange);
		if (error)
			return error;
	}
}

/* Nobody sees the contents from here on until they are what they stay. */
static int exchange_unseen(struct btrfs_exchange *exchange)
{
	return btrfs_exchange_drop_cache(exchange) ?:
	       remove_privileges(exchange) ?: exchange_extents(exchange);
}

/* Everything is checked, flushed and locked but the extents. */
static int prepare_and_exchange(struct btrfs_exchange *exchange)
{
	int error;

	error = btrfs_exchange_prepare(exchange);
	if (!error && !(exchange->request->flags & EXCHRANGE_DRY_RUN)) {
		exchange_watch_begin(exchange->request);
		error = exchange_unseen(exchange);
		exchange_watch_end(exchange->request, !error);
	}
	btrfs_exchange_finish(exchange);
	return error;
}

/* The caller has checked the request, and locked the contents of both files. */
static int exchange_locked(struct btrfs_exchange *exchange, const u64 *freshness)
{
	struct exchange_request *request = exchange->request;
	int error = 0;

	if (freshness)
		error = btrfs_check_freshness(btrfs_exchange_inode(exchange, 1),
					      freshness);
	if (error)
		return error;
	if (request->length == 0) {
		exchange_watch_empty(request);
		return 0;
	}

	error = btrfs_exchange_flush(exchange);
	if (!error && !(request->flags & EXCHRANGE_DRY_RUN))
		error = btrfs_exchange_rewrite(exchange);
	return error ?: prepare_and_exchange(exchange);
}

/* From the first lock to the last one. */
static int try_exchange(struct btrfs_exchange *exchange, const u64 *freshness)
{
	u32 sectorsize = exchange->range[0].inode->root->fs_info->sectorsize;
	int error;

	lock_inodes(exchange);
	error = exchange_check_locked(exchange->request, sectorsize) ?:
		check_inodes(exchange);
	if (!error) {
		set_ranges(exchange);
		lock_contents(exchange);
		error = exchange_locked(exchange, freshness);
		unlock_contents(exchange);
	}
	unlock_inodes(exchange);
	return error;
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

/* What is left of the time that an exchange may wait, in jiffies. */
struct patience {
	unsigned int	attempts;	/* and how often for readers */
	unsigned long	readers;
	unsigned long	pins;
};

/* -EBUSY where that has come to no end. */
static int wait_for_pins(struct patience *patience)
{
	unsigned long begin = jiffies;

	if (!patience->pins)
		return -EBUSY;
	if (fatal_signal_pending(current))
		return -EINTR;
	usleep_range(5000, 10000);
	patience->pins -= min(patience->pins, jiffies - begin);
	return 0;
}

static int wait_for_readers(struct btrfs_exchange *exchange,
			    struct patience *patience)
{
	patience->attempts--;
	return btrfs_exchange_await_readers(exchange, &patience->readers);
}

/*
 * Until no page of what moves is pinned, or dirty again (-EBUSY where that has no end), and
 * nobody reads an end that moves, or for as long as readers are waited for.  Each time
 * anew, with a look at all that was checked: meanwhile there is no lock.
 */
static int try_often(struct btrfs_exchange *exchange,
		     struct exchange_request *request, const u64 *freshness)
{
	struct patience patience = {
		.attempts	= READERS_ATTEMPTS,
		.readers	= msecs_to_jiffies(READERS_TIMEOUT),
		.pins		= EXCHANGE_PIN_TIMEOUT,
	};
	int error;

	do {
		*exchange = (struct btrfs_exchange) {
			.request	= request,
			.range[0].inode	= BTRFS_I(file_inode(request->file1)),
			.range[1].inode	= BTRFS_I(file_inode(request->file2)),
			.patient	= patience.attempts && patience.readers,
		};
		error = try_exchange(exchange, freshness);
		if (exchange->pages_stay)
			error = wait_for_pins(&patience);
		else if (exchange->held[0] || exchange->held[1])
			error = wait_for_readers(exchange, &patience);
		else
			return error;
	} while (!error);
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
	exchange = kmalloc(sizeof(*exchange), GFP_KERNEL);
	if (!exchange)
		return -ENOMEM;
	error = try_often(exchange, request, freshness);
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
