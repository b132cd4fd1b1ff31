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
 *	extent locks		of all ranges, in the inodes' io_trees
 *	transaction
 *
 * The locks of a kind are taken in the order that the VFS and btrfs have for two of them: see
 * ../locks.c.  User memory is not touched in between.
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

/* From the inode at the highest address down, as btrfs locks two of them for a reflink. */
static void lock_mmap(const struct btrfs_exchange *exchange)
{
	u32 i;

	for (i = exchange->vector->inode_count; i > 0; i--)
		down_write_nest_lock(&exchange->files[i - 1].inode->i_mmap_lock,
				     exchange_nest_lock(exchange->vector));
}

static void unlock_mmap(const struct btrfs_exchange *exchange)
{
	u32 i;

	for (i = 0; i < exchange->vector->inode_count; i++)
		up_write(&exchange->files[i].inode->i_mmap_lock);
}

/* Balance may have moved what the ranges have: see balance.c. */
static void help_balance(const struct btrfs_exchange *exchange)
{
	const struct btrfs_pair *pair;
	int i;

	if (exchange->vector->flags & EXCHRANGE_DRY_RUN)
		return;
	for (pair = btrfs_first_pair(exchange); pair; pair = btrfs_next_pair(exchange, pair))
		for (i = 0; i < 2; i++)
			update_moved_extents(pair->range[i].inode, pair->range[i].start,
					     pair->range[i].start +
					     pair->range[i].length);
}

static void lock_inodes(const struct btrfs_exchange *exchange)
{
	file_start_write(exchange->vector->files[0]);
	exchange_lock_inodes(exchange->vector);
}

static void unlock_inodes(const struct btrfs_exchange *exchange)
{
	exchange_unlock_inodes(exchange->vector);
	file_end_write(exchange->vector->files[0]);
}

/* What keeps the contents as they are; the inodes are locked. */
static void lock_contents(const struct btrfs_exchange *exchange)
{
	btrfs_exchange_lock_cache(exchange);
	help_balance(exchange);
	lock_mmap(exchange);
}

static void unlock_contents(const struct btrfs_exchange *exchange)
{
	unlock_mmap(exchange);
	exchange_unlock_mappings(exchange->vector);
}

static void lock_range(struct btrfs_exchange *exchange, u32 place)
{
	int side;
	u32 i = exchange_vector_range(exchange->vector, place, &side);
	struct btrfs_pair *pair = &exchange->pairs[i];
	const struct inode_range *range = &pair->range[side];

	cond_resched();
	if (range->length)
		btrfs_lock_extent(&range->inode->io_tree, range->start,
				  range->start + range->length - 1,
				  &pair->locked[side]);
}

/* The ranges of @file, in ascending order; they end before the place @end. */
static u32 lock_ranges_of(struct btrfs_exchange *exchange, u32 file, u32 end)
{
	const struct exchange_vector *vector = exchange->vector;
	u32 first = end, i;
	int side;

	while (first > 0) {
		i = exchange_vector_range(vector, first - 1, &side);
		if (vector->requests[i].inode_index[side] != file)
			break;
		first--;
	}
	for (i = first; i < end; i++)
		lock_range(exchange, i);
	return first;
}

/*
 * All ranges, the one that others would lock first first: of the inode at the highest
 * address, and in one file the lowest.  No more than the ranges: where space is short, the
 * transaction may wait for other parts of the files to be written back, which locks them.
 */
static void lock_extents(struct btrfs_exchange *exchange)
{
	u32 file = exchange->vector->inode_count, end = 2 * exchange->vector->count;

	while (file-- > 0)
		end = lock_ranges_of(exchange, file, end);
}

static void unlock_extents(struct btrfs_exchange *exchange)
{
	struct btrfs_pair *pair;
	int i;

	for (pair = btrfs_first_pair(exchange); pair; pair = btrfs_next_pair(exchange, pair)) {
		cond_resched();
		for (i = 0; i < 2; i++)
			btrfs_unlock_extent(&pair->range[i].inode->io_tree,
					    pair->range[i].start,
					    pair->range[i].start +
					    pair->range[i].length - 1,
					    &pair->locked[i]);
	}
}

/* What btrfs asks of two files more than any file system does. */
static int check_pair(const struct btrfs_pair *pair)
{
	const struct btrfs_inode *inode1 = pair->range[0].inode;
	const struct btrfs_inode *inode2 = pair->range[1].inode;

	if (btrfs_root_readonly(inode1->root) ||
	    btrfs_root_readonly(inode2->root))
		return -EROFS;
	/* Data without checksums would be read as if it had some. */
	if ((inode1->flags ^ inode2->flags) & BTRFS_INODE_NODATASUM)
		return -EINVAL;
	return 0;
}

static int check_pairs(struct btrfs_exchange *exchange)
{
	int error = 0;
	u32 i;

	for (i = 0; i < exchange->vector->count && !error; i++) {
		error = check_pair(&exchange->pairs[i]);
		if (error)
			exchange->vector->refused = i;
	}
	return error;
}

/* The ranges in whole sectors, and the sizes that both files will have. */
static void set_ranges_of(struct btrfs_pair *pair, u32 sectorsize)
{
	const struct exchange_request *request = pair->request;
	u64 size1 = i_size_read(btrfs_pair_inode(pair, 0));
	u64 size2 = i_size_read(btrfs_pair_inode(pair, 1));
	int i;

	pair->range[0].written_only = request->flags & EXCHRANGE_FILE1_WRITTEN;
	for (i = 0; i < 2; i++) {
		pair->range[i].start = exchange_request_offset(request, i);
		pair->range[i].length = round_up(request->length, sectorsize);
	}

	pair->new_size[0] = size1;
	pair->new_size[1] = size2;
	if (request->flags & EXCHRANGE_TO_EOF) {
		pair->new_size[0] = request->file1_offset +
				    size2 - request->file2_offset;
		pair->new_size[1] = request->file2_offset +
				    size1 - request->file1_offset;
	}
}

static void set_ranges(struct btrfs_exchange *exchange)
{
	u32 i;

	exchange->is_empty = true;
	for (i = 0; i < exchange->vector->count; i++) {
		set_ranges_of(&exchange->pairs[i], exchange->fs_info->sectorsize);
		if (exchange->pairs[i].range[0].length)
			exchange->is_empty = false;
	}
}

static bool has_privileges(const struct btrfs_exchange *exchange)
{
	const struct exchange_vector *vector = exchange->vector;
	u32 i;

	for (i = 0; i < vector->inode_count; i++)
		if (!IS_NOSEC(vector->inodes[i].inode))
			return true;
	return false;
}

/*
 * As a write does it.  Last of all that can fail before the transaction, which must not
 * find the space gone after it.
 */
static int remove_privileges(const struct btrfs_exchange *exchange)
{
	const struct exchange_vector *vector = exchange->vector;
	int error;
	u32 i;

	if (!has_privileges(exchange))
		return 0;
	error = btrfs_exchange_rehearse(exchange);
	for (i = 0; i < vector->file_count && !error; i++)
		error = file_remove_privs(vector->files[i]);
	return error;
}

/* In a transaction that has room for it: see user_limit.c. */
static int exchange_extents(struct btrfs_exchange *exchange)
{
	int error;

	for (;;) {
		lock_extents(exchange);
		error = btrfs_exchange_extents(exchange);
		unlock_extents(exchange);
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
	struct exchange_kept *kept = exchange_keep_pages(exchange->vector, true);
	int error = btrfs_exchange_drop_cache(exchange) ?:
		    remove_privileges(exchange) ?: exchange_extents(exchange);

	exchange_put_pages(kept, !error);
	return error;
}

/* Everything is checked, flushed and locked but the extents. */
static int prepare_and_exchange(struct btrfs_exchange *exchange)
{
	int error;

	error = btrfs_exchange_prepare(exchange);
	if (!error && !(exchange->vector->flags & EXCHRANGE_DRY_RUN)) {
		exchange_watch_begin(exchange->vector);
		error = exchange_unseen(exchange);
		exchange_watch_end(exchange->vector, !error);
	}
	btrfs_exchange_finish(exchange);
	return error;
}

/* Of all that have a sample, before the first one changes. */
static int check_freshness(const struct btrfs_exchange *exchange)
{
	struct exchange_vector *vector = exchange->vector;
	int error = 0;
	u32 i;

	for (i = 0; i < vector->count && !error; i++) {
		const struct exchange_request *request = &vector->requests[i];

		if (request->operation == EXCHANGE_OPERATION_COMMIT)
			error = btrfs_check_freshness(file_inode(request->file2),
						      request->freshness);
		if (error)
			vector->refused = i;
	}
	return error;
}

/* The caller has checked the requests, and locked the contents of all files. */
static int exchange_locked(struct btrfs_exchange *exchange)
{
	bool dry_run = exchange->vector->flags & EXCHRANGE_DRY_RUN;
	int error;

	error = check_freshness(exchange);
	if (error)
		return error;
	if (exchange->is_empty) {
		exchange_watch_empty(exchange->vector);
		return 0;
	}

	error = btrfs_exchange_flush(exchange);
	/* Those who write pages back have references to them until then. */
	if (!error && !dry_run && exchange_has_transfers(exchange->vector)) {
		exchange->pages_stay = true;
		error = -EBUSY;
	}
	if (!error && !dry_run)
		error = btrfs_exchange_rewrite(exchange);
	return error ?: prepare_and_exchange(exchange);
}

/* From the first lock to the last one. */
static int try_exchange(struct btrfs_exchange *exchange)
{
	int error;

	lock_inodes(exchange);
	error = exchange_check_locked(exchange->vector, exchange->fs_info->sectorsize) ?:
		check_pairs(exchange);
	if (!error) {
		set_ranges(exchange);
		lock_contents(exchange);
		error = exchange_locked(exchange);
		unlock_contents(exchange);
	}
	unlock_inodes(exchange);
	return error;
}

/* After the exchange, without a lock. */
static int finish(const struct btrfs_exchange *exchange)
{
	const struct exchange_vector *vector = exchange->vector;
	int error = 0;

	if (vector->flags & EXCHRANGE_DRY_RUN)
		return 0;
	if (!exchange->is_empty && exchange_must_be_durable(vector))
		error = btrfs_exchange_make_durable(exchange);
	exchange_notify(vector);
	btrfs_btree_balance_dirty(exchange->fs_info);
	return error;
}

/* What is left of the time that an exchange may wait, in jiffies. */
struct patience {
	unsigned int	attempts;	/* and how often for readers */
	unsigned long	readers;
	struct exchange_pin_wait pins;
};

static int wait_for_readers(struct btrfs_exchange *exchange,
			    struct patience *patience)
{
	patience->attempts--;
	return btrfs_exchange_await_readers(exchange, &patience->readers);
}

/* Nothing is known of the files but which they are. */
static void init_exchange(struct btrfs_exchange *exchange, struct exchange_vector *vector)
{
	struct btrfs_file *files = exchange->files;
	u32 i;

	*exchange = (struct btrfs_exchange) {
		.vector		= vector,
		.files		= files,
		.fs_info	= BTRFS_I(vector->inodes[0].inode)->root->fs_info,
	};
	for (i = 0; i < vector->inode_count; i++)
		files[i] = (struct btrfs_file) {
			.inode	= BTRFS_I(vector->inodes[i].inode),
		};
	for (i = 0; i < vector->count; i++) {
		const struct exchange_request *request = &vector->requests[i];

		exchange->pairs[i] = (struct btrfs_pair) {
			.request	= request,
			.range[0].inode	= BTRFS_I(file_inode(request->file1)),
			.range[1].inode	= BTRFS_I(file_inode(request->file2)),
		};
	}
}

/*
 * Until no page of what moves is pinned, or dirty again (-EBUSY where that has no end), and
 * nobody reads an end that moves, or for as long as readers are waited for.  Each time
 * anew, with a look at all that was checked: meanwhile there is no lock.
 */
static int try_often(struct btrfs_exchange *exchange, struct exchange_vector *vector)
{
	struct patience patience = {
		.attempts	= READERS_ATTEMPTS,
		.readers	= msecs_to_jiffies(READERS_TIMEOUT),
	};
	int error;

	do {
		init_exchange(exchange, vector);
		exchange->patient = patience.attempts && patience.readers;
		error = try_exchange(exchange);
		if (exchange->pages_stay)
			error = exchange_wait_for_pins(&patience.pins);
		else if (exchange->readers_stay)
			error = wait_for_readers(exchange, &patience);
		else
			return error;
	} while (!error);
	return error;
}

/* Room for all pairs and files of @vector; many are charged to the caller. */
static struct btrfs_exchange *alloc_exchange(const struct exchange_vector *vector)
{
	struct btrfs_exchange *exchange;
	size_t size = struct_size(exchange, pairs, vector->count);

	exchange = kvmalloc(size + vector->inode_count * sizeof(*exchange->files),
			    vector->count > 1 ? GFP_KERNEL_ACCOUNT : GFP_KERNEL);
	if (exchange)
		exchange->files = (void *)&exchange->pairs[vector->count];
	return exchange;
}

static int btrfs_exchange(struct exchange_vector *vector)
{
	struct btrfs_exchange *exchange;
	int error;

	error = exchange_check_rights(vector);
	if (error)
		return error;
	exchange = alloc_exchange(vector);
	if (!exchange)
		return -ENOMEM;
	error = try_often(exchange, vector);
	if (!error)
		error = finish(exchange);
	kvfree(exchange);
	return error;
}

static int btrfs_submit(struct exchange_vector *vector)
{
	struct exchange_request *first = &vector->requests[0];
	const struct super_block *sb = file_inode(first->file2)->i_sb;
	int error;

	if (btrfs_bind_get(sb) != EXCHRANGE_REASON_NONE)
		return -EOPNOTSUPP;
	trace_exchrange_backend(first, EXCHRANGE_BACKEND_BTRFS);

	if (first->operation == EXCHANGE_OPERATION_START_COMMIT) {
		error = btrfs_sample_freshness(first->file2, first->freshness);
		first->sampled = !error;
	} else {
		error = btrfs_exchange(vector);
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
	query->features = EXCHRANGE_FEATURE_VECTOR;
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
