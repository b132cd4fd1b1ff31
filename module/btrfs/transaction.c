// SPDX-License-Identifier: GPL-2.0
/*
 * The exchange of pairs of ranges in one transaction.
 *
 * First all of ours that can fail: memory, space, quota, limits.  Then, in one handle:
 *
 *	make the leaves of all ranges writable, and collect their extents
 *	pair by pair and slice by slice, for most pairs one:
 *		add the references of the new owners
 *		drop both slices' extents, with the references of the old owners
 *		insert the other's extents
 *	update all inodes, and their extent maps
 *	log them, where log.c says so
 *
 * A handle keeps its transaction from being committed, so a crash, and a
 * snapshot, finds all of this or nothing.  From the first drop on there is no way
 * back: an error aborts the transaction.
 *
 * Whoever calls these holds all inodes' locks, invalidate_locks and i_mmap_locks for
 * writing; no ordered extent is pending in the ranges, and nothing of what is going
 * to move is in the page cache.
 */
#include <linux/capability.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "../compat.h"
#include "../trace.h"
#include "exchange.h"

/*
 * Extents of both files that are exchanged before their references leave memory for
 * the extent tree.  Else they do so when the transaction is committed, which the
 * caller need not wait for; until then btrfs keeps some 400 bytes for each (make
 * bench), so about 100 MiB for a slice.
 */
#define SLICE	(256u << 10)
/* More than that where no two extents begin side by side is too many for memory. */
#define MAX_SLICE	(2 * SLICE)

/* Units of btrfs_start_transaction() for each file: its inode. */
#define HANDLE_UNITS		1
/* An inode, and an attribute that goes with its directory item. */
#define PRIVILEGES_UNITS	3

static u32 count_files(const struct btrfs_exchange *exchange)
{
	return exchange->vector->inode_count;
}

static struct btrfs_root *first_root(const struct btrfs_exchange *exchange)
{
	return exchange->files[0].inode->root;
}

static struct btrfs_file *file_of(const struct btrfs_exchange *exchange,
				  const struct btrfs_pair *pair, int side)
{
	return &exchange->files[pair->request->inode_index[side]];
}

/*
 * The parts of the range that change hands, in bytes from its start: all of it, or
 * with FILE1_WRITTEN each stretch of file1's list without a gap.  @next starts as 0.
 */
bool btrfs_pair_next_run(const struct btrfs_pair *pair, u32 *next, u64 *from, u64 *to)
{
	const struct extent_list *list = &pair->list[0];
	const u32 sectorsize = pair->range[0].inode->root->fs_info->sectorsize;

	if (!pair->range[0].written_only) {
		*from = 0;
		*to = pair->range[0].length;
		return (*next)++ == 0 && *to > 0;
	}

	if (*next >= list->count)
		return false;
	*from = list->extents[*next].offset;
	*to = *from;
	while (*next < list->count && list->extents[*next].offset == *to) {
		const struct file_extent *extent = &list->extents[(*next)++];

		if (extent->item.type == BTRFS_FILE_EXTENT_INLINE)
			*to += sectorsize;
		else
			*to += le64_to_cpu(extent->item.num_bytes);
	}
	return true;
}

/*
 * With FILE1_WRITTEN and TO_EOF, what lies behind the end of the shorter tail in
 * @side: the sizes change, but what is not written does not move.  In bytes from the
 * range's start.  False where there is no such thing.
 */
bool btrfs_pair_tail(const struct btrfs_pair *pair, int side, u64 *from, u64 *to)
{
	const struct inode_range *range = &pair->range[side];
	u64 size = i_size_read(&range->inode->vfs_inode);

	if (!pair->range[0].written_only)
		return false;
	*from = round_up(min(size, pair->new_size[side]),
			 range->inode->root->fs_info->sectorsize) - range->start;
	*to = range->length;
	return size != pair->new_size[side] && *from < *to;
}

/* Adds [@from, @to) of @side, in bytes from its start.  -E2BIG beyond the limit of all. */
static int count_part(struct btrfs_exchange *exchange, struct btrfs_pair *pair, int side,
		      u64 from, u64 to)
{
	struct extent_count *count = &pair->count[side];
	u32 others = exchange->items - count->items;
	int error;

	count->limit = exchange->limit - others;
	error = count_extents(&pair->range[side], from, to, count);
	exchange->items = others + count->items;
	return error;
}

static int count_tails(struct btrfs_exchange *exchange, struct btrfs_pair *pair)
{
	u64 from, to;
	int i, error = 0;

	for (i = 0; i < 2 && !error; i++)
		if (btrfs_pair_tail(pair, i, &from, &to))
			error = count_part(exchange, pair, i, from, to);
	return error;
}

/* Counts both ranges and makes room for their extents. */
static int alloc_pair_lists(struct btrfs_exchange *exchange, struct btrfs_pair *pair)
{
	u64 from, to;
	u32 next = 0;
	int error;

	error = count_part(exchange, pair, 0, 0, pair->range[0].length) ?:
		alloc_extent_list(&pair->list[0], &pair->count[0], exchange->fs_info);
	if (!error && pair->range[0].written_only)
		error = collect_extents(NULL, &pair->range[0], 0,
					pair->range[0].length, &pair->list[0]);
	while (!error && btrfs_pair_next_run(pair, &next, &from, &to))
		error = count_part(exchange, pair, 1, from, to);
	return error ?: count_tails(exchange, pair) ?:
	       alloc_extent_list(&pair->list[1], &pair->count[1], exchange->fs_info);
}

/* One of many pairs is work though it has nothing but holes: an extent on either side. */
static int count_pair(struct btrfs_exchange *exchange, const struct btrfs_pair *pair)
{
	u32 items = pair->count[0].items + pair->count[1].items;

	if (exchange->vector->count == 1 || items >= 2)
		return 0;
	exchange->items += 2 - items;
	return exchange->items > exchange->limit ? -E2BIG : 0;
}

static int alloc_lists(struct btrfs_exchange *exchange)
{
	struct btrfs_pair *pair;
	int error;

	for (pair = btrfs_first_pair(exchange); pair; pair = btrfs_next_pair(exchange, pair)) {
		error = alloc_pair_lists(exchange, pair) ?: count_pair(exchange, pair);
		if (error)
			return error;
	}
	return 0;
}

static void free_lists(struct btrfs_exchange *exchange)
{
	struct btrfs_pair *pair;
	int i;

	for (pair = btrfs_first_pair(exchange); pair; pair = btrfs_next_pair(exchange, pair)) {
		cond_resched();
		for (i = 0; i < 2; i++) {
			free_extent_list(&pair->list[i]);
			pair->list[i] = (struct extent_list) { };
			pair->count[i] = (struct extent_count) { };
		}
	}
	exchange->items = 0;
}

/* The same within the limit that the caller has; whether that is root's is asked if it counts. */
static int alloc_lists_limited(struct btrfs_exchange *exchange)
{
	int error;

	exchange->limit = btrfs_user_limit();
	error = alloc_lists(exchange);
	if (error != -E2BIG || exchange->limit == MAX_EXTENTS ||
	    !capable(CAP_SYS_ADMIN))
		return error;
	free_lists(exchange);
	exchange->limit = MAX_EXTENTS;
	return alloc_lists(exchange);
}

/* What all pairs have together. */
struct totals {
	u64	pairs;
	u64	extents[2];
	u64	leaves;		/* of the subvolume trees; one may be counted for many pairs */
	u64	nodes;		/* above these, likewise */
	u64	tree_blocks;	/* of all subvolume trees, with what is put into them meanwhile */
};

static void add_pair(struct totals *totals, const struct btrfs_pair *pair)
{
	const struct extent_count *count = pair->count;
	int i;

	totals->pairs++;
	for (i = 0; i < 2; i++) {
		totals->extents[i] += count[i].extents;
		totals->leaves += count[i].leaves;
		totals->nodes += count[i].height ? count[i].height - 1 : 0;
	}
}

static struct totals add_up(const struct btrfs_exchange *exchange)
{
	const struct btrfs_pair *pair;
	struct totals totals = { };
	u32 i;

	for (pair = btrfs_first_pair(exchange); pair; pair = btrfs_next_pair(exchange, pair))
		add_pair(&totals, pair);
	for (i = 0; i < count_files(exchange); i++) {
		const struct btrfs_root *root = exchange->files[i].inode->root;

		/* Files of one subvolume side by side count it once. */
		if (i && root == exchange->files[i - 1].inode->root)
			continue;
		totals.tree_blocks += 2 * (le64_to_cpu(root->root_item.bytes_used) /
					   exchange->fs_info->nodesize + BTRFS_MAX_LEVEL);
	}
	return totals;
}

/*
 * Blocks of the subvolume trees: every leaf that holds the old extents, and those that
 * the new ones fill, at least half of each; a split more at both ends of what is
 * dropped.  As many again, for the nodes above them, of which there are far fewer, and
 * for leaves that are written out before the transaction ends and have to be
 * allocated anew; and a path for each tree.
 *
 * Pairs that are far apart may each have nodes of their own.  But many of them are in the same
 * leaves: of these there are no more than the trees have, each of which may be split.
 */
static u64 subvolume_blocks(const struct btrfs_exchange *exchange,
			    const struct totals *totals)
{
	u64 extents = totals->extents[0] + totals->extents[1];
	u64 item_bytes = sizeof(struct btrfs_item) +
			 sizeof(struct btrfs_file_extent_item);
	u64 leaves = totals->leaves, splits = 2 * totals->pairs, nodes = 0;

	if (totals->pairs > 1) {
		leaves = min(leaves, totals->tree_blocks);
		splits = min(splits, totals->tree_blocks);
		nodes = min(totals->nodes, totals->tree_blocks);
	}
	leaves += splits + DIV_ROUND_UP_ULL(extents * item_bytes,
					    btrfs_leaf_data_size(exchange->fs_info) / 2);
	return 2 * (leaves + nodes) + max(2u, count_files(exchange)) * BTRFS_MAX_LEVEL;
}

/*
 * Blocks of the extent tree: an item for each extent, which gains an owner and loses
 * one.  It has no more leaves than it has blocks; each may be split once, for the owner
 * that is added first, and as many again are for nodes.
 */
static u64 extent_blocks(const struct btrfs_exchange *exchange,
			 const struct totals *totals)
{
	struct btrfs_fs_info *fs_info = exchange->fs_info;
	struct btrfs_root *root = btrfs_extent_root(fs_info, 0);
	u64 leaves = totals->extents[0] + totals->extents[1];

	if (root)
		leaves = min(leaves, le64_to_cpu(root->root_item.bytes_used) /
				     fs_info->nodesize);
	return 3 * leaves + 2 * BTRFS_MAX_LEVEL;
}

/*
 * The bytes of metadata that the exchange may take.  The free space tree, for the
 * blocks that all this allocates and frees, has hundreds of records in a leaf.  A path
 * for each of the other trees.
 */
static u64 metadata_bytes(const struct btrfs_exchange *exchange,
			  const struct totals *totals)
{
	u64 blocks = subvolume_blocks(exchange, totals) + extent_blocks(exchange, totals);

	blocks += blocks / 16 + 4 * BTRFS_MAX_LEVEL;
	return blocks * exchange->fs_info->nodesize;
}

/* The first file of the subvolume of @file, which stands for it. */
static struct btrfs_file *first_of_subvolume(const struct btrfs_exchange *exchange,
					     const struct btrfs_file *file)
{
	struct btrfs_file *first = exchange->files;

	while (first->inode->root != file->inode->root)
		first++;
	return first;
}

static bool is_one_subvolume(const struct btrfs_exchange *exchange)
{
	u32 i;

	for (i = 1; i < count_files(exchange); i++)
		if (exchange->files[i].inode->root != first_root(exchange))
			return false;
	return true;
}

/* What each subvolume gains by all pairs together; what it loses is below zero. */
static void sum_up_gains(struct btrfs_exchange *exchange)
{
	struct btrfs_pair *pair;
	int i;

	for (pair = btrfs_first_pair(exchange); pair; pair = btrfs_next_pair(exchange, pair))
		for (i = 0; i < 2; i++)
			file_of(exchange, pair, i)->gain += pair->count[!i].disk_bytes -
							    pair->count[i].disk_bytes;
	for (i = 0; i < count_files(exchange); i++) {
		struct btrfs_file *file = &exchange->files[i];
		struct btrfs_file *first = first_of_subvolume(exchange, file);

		if (first == file)
			continue;
		first->gain += file->gain;
		file->gain = 0;
	}
}

/*
 * Where a subvolume gains data, its quota has to allow that: btrfs counts it only
 * when the transaction is committed.  Kept as metadata is, which is counted until
 * then.  What the subvolume gives away is taken as its own alone: where it is shared,
 * the limit may be passed, as by a reflink.  Simple quotas leave the data with the
 * subvolume that wrote it.
 */
static int reserve_quota(struct btrfs_exchange *exchange)
{
	struct btrfs_fs_info *fs_info = exchange->fs_info;
	u32 i;
	int error;

	if (is_one_subvolume(exchange) ||
	    fs_info->qgroup_flags & BTRFS_QGROUP_STATUS_FLAG_SIMPLE_MODE)
		return 0;

	sum_up_gains(exchange);
	for (i = 0; i < count_files(exchange); i++) {
		struct btrfs_file *file = &exchange->files[i];
		u64 gain;

		if (file->gain <= 0)
			continue;
		gain = round_up(file->gain, fs_info->nodesize);
		while (file->quota < gain) {
			u64 bytes = min_t(u64, gain - file->quota, SZ_1G);

			error = btrfs_qgroup_reserve_meta_prealloc(file->inode->root,
								   bytes, true, false);
			if (error)
				return error;
			file->quota += bytes;
		}
	}
	return 0;
}

/* Gives back what the transaction did not make its own. */
static void release_quota(struct btrfs_exchange *exchange)
{
	u32 i;

	for (i = 0; i < count_files(exchange); i++) {
		struct btrfs_file *file = &exchange->files[i];

		while (file->quota) {
			u64 bytes = min_t(u64, file->quota, SZ_1G);

			btrfs_qgroup_free_meta_prealloc(file->inode->root, bytes);
			file->quota -= bytes;
		}
	}
}

static void convert_quota(struct btrfs_exchange *exchange)
{
	u32 i;

	for (i = 0; i < count_files(exchange); i++) {
		struct btrfs_file *file = &exchange->files[i];

		while (file->quota) {
			u64 bytes = min_t(u64, file->quota, SZ_1G);

			btrfs_qgroup_convert_reserved_meta(file->inode->root, bytes);
			file->quota -= bytes;
		}
	}
}

/*
 * Gets all that the exchange needs; btrfs_exchange_finish() gives it back, after
 * an error too.  Changes nothing.  May wait for writeback and for transactions to
 * be committed, where space is short: no extent may be locked, no transaction
 * open.  -ENOSPC, -EDQUOT, -ENOMEM, -E2BIG; -EINTR for a caller that is being
 * killed.
 */
int btrfs_exchange_prepare(struct btrfs_exchange *exchange)
{
	struct btrfs_fs_info *fs_info = exchange->fs_info;
	struct totals totals;
	u64 bytes;
	int error;

	btrfs_init_metadata_block_rsv(fs_info, &exchange->reserve,
				      BTRFS_BLOCK_RSV_TEMP);
	error = alloc_lists_limited(exchange);
	if (error)
		return error;

	totals = add_up(exchange);
	error = alloc_extent_writer(&exchange->writer,
				    max(totals.extents[0], totals.extents[1]));
	if (error)
		return error;
	bytes = metadata_bytes(exchange, &totals);
	exchange->ref_bytes = extent_blocks(exchange, &totals) * fs_info->nodesize;
	error = reserve_quota(exchange) ?:
		btrfs_block_rsv_add(fs_info, &exchange->reserve, bytes,
				    BTRFS_RESERVE_FLUSH_ALL);
	trace_exchrange_btrfs_prepare(&exchange->vector->requests[0],
				      totals.extents[0], totals.extents[1], bytes, error);
	return error;
}

/* Two of them where both ranges are of one file, too. */
static unsigned int count_units(const struct btrfs_exchange *exchange, unsigned int each)
{
	return each * max(2u, count_files(exchange));
}

static int rehearse(const struct btrfs_exchange *exchange, struct btrfs_root *root)
{
	struct btrfs_trans_handle *trans;

	trans = btrfs_start_transaction(root, count_units(exchange, HANDLE_UNITS +
							  PRIVILEGES_UNITS));
	return IS_ERR(trans) ? PTR_ERR(trans) : btrfs_end_transaction(trans);
}

/*
 * Whether there is room, beside what btrfs_exchange_prepare() has reserved, for what btrfs's
 * own functions reserve until the exchange has begun.  -ENOSPC, -EDQUOT.
 */
int btrfs_exchange_rehearse(const struct btrfs_exchange *exchange)
{
	u32 i;
	int error = 0;

	for (i = 0; i < count_files(exchange) && !error; i++) {
		const struct btrfs_file *file = &exchange->files[i];

		if (first_of_subvolume(exchange, file) == file)
			error = rehearse(exchange, file->inode->root);
	}
	return error;
}

void btrfs_exchange_finish(struct btrfs_exchange *exchange)
{
	release_quota(exchange);
	btrfs_block_rsv_release(exchange->fs_info, &exchange->reserve,
				(u64)-1, NULL);
	free_extent_writer(&exchange->writer);
	free_lists(exchange);
}

static int collect_pair(struct btrfs_trans_handle *trans, struct btrfs_pair *pair)
{
	u64 from, to;
	u32 next = 0;
	int error;

	pair->list[0].count = 0;
	error = collect_extents(trans, &pair->range[0], 0,
				pair->range[0].length, &pair->list[0]);
	while (!error && btrfs_pair_next_run(pair, &next, &from, &to))
		error = collect_extents(trans, &pair->range[1], from, to,
					&pair->list[1]);
	return error;
}

/* All of them before the first changes: what one has stays as it is while others change. */
static int collect(struct btrfs_trans_handle *trans, struct btrfs_exchange *exchange)
{
	struct btrfs_pair *pair;
	int error;

	for (pair = btrfs_first_pair(exchange); pair; pair = btrfs_next_pair(exchange, pair)) {
		error = collect_pair(trans, pair);
		if (error)
			return error;
	}
	return 0;
}

/* A part of the exchange: bytes from the ranges' starts, and the extents in it. */
struct slice {
	u64	from, to;
	u32	first[2], end[2];
};

/* The new owners of a slice's extents, or neither's.  Of the first, -EINTR too. */
static int add_refs(struct btrfs_trans_handle *trans, const struct btrfs_pair *pair,
		    const struct slice *slice, bool killable)
{
	int error;

	error = add_extent_refs(trans, &pair->range[0], &pair->list[1],
				slice->first[1], slice->end[1], killable);
	if (error)
		return error;
	error = add_extent_refs(trans, &pair->range[1], &pair->list[0],
				slice->first[0], slice->end[0], killable);
	if (error)
		undo_extent_refs(trans, &pair->range[0], &pair->list[1],
				 slice->first[1], slice->end[1]);
	return error;
}

/*
 * Drops what @side has between @from and @to, with its references, and adds the bytes
 * that it had to @found.
 */
static int drop(struct btrfs_trans_handle *trans, const struct btrfs_exchange *exchange,
		const struct btrfs_pair *pair, int side, u64 from, u64 to, u64 *found)
{
	const struct inode_range *range = &pair->range[side];
	struct btrfs_drop_extents_args args = {
		.path		= exchange->writer.path,
		.start		= range->start + from,
		.end		= range->start + to,
		.drop_cache	= true,
	};
	int error;

	error = btrfs_drop_extents(trans, range->inode->root, range->inode,
				   &args);
	*found += args.bytes_found;
	return error;
}

static u32 count_slice(const struct slice *slice)
{
	return slice->end[0] - slice->first[0] + slice->end[1] - slice->first[1];
}

static int exchange_slice(struct btrfs_trans_handle *trans,
			  struct btrfs_exchange *exchange, struct btrfs_pair *pair,
			  const struct slice *slice)
{
	int i, error;

	error = add_refs(trans, pair, slice, !exchange->must_abort);
	if (error)
		return error;

	exchange->refs_kept += count_slice(slice);

	exchange->must_abort = true;
	for (i = 0; i < 2 && !error; i++)
		error = drop(trans, exchange, pair, i, slice->from, slice->to,
			     &pair->moved[i]);
	for (i = 0; i < 2 && !error; i++)
		error = insert_extents(trans, &exchange->writer,
				       &pair->range[i],
				       &pair->list[!i], slice->first[!i],
				       slice->end[!i]);
	return error;
}

/*
 * Sets the end of @slice, whose start is set: where the run ends, or after SLICE extents
 * at the first place where one begins in both files, so that none is cut.
 */
static void end_slice(const struct btrfs_pair *pair, struct slice *slice, u64 to)
{
	const struct extent_list *list = pair->list;
	u32 *end = slice->end;

	memcpy(end, slice->first, sizeof(slice->end));
	slice->to = to;
	for (;;) {
		u64 offset1 = end[0] < list[0].count ?
			      list[0].extents[end[0]].offset : to;
		u64 offset2 = end[1] < list[1].count ?
			      list[1].extents[end[1]].offset : to;

		if (offset1 >= to && offset2 >= to)
			return;
		if (offset1 == offset2 && count_slice(slice) >= SLICE) {
			slice->to = offset1;
			return;
		}
		if (offset1 <= offset2)
			end[0]++;
		if (offset2 <= offset1)
			end[1]++;
	}
}

/*
 * Sends the references on to the extent tree.  What is reserved for that goes to their
 * own reserve, the first time.
 */
static int run_refs(struct btrfs_trans_handle *trans,
		    struct btrfs_exchange *exchange)
{
	if (!exchange->refs_run)
		btrfs_block_rsv_release(exchange->fs_info, &exchange->reserve,
					min(exchange->ref_bytes, exchange->reserve.size),
					NULL);
	exchange->refs_run = true;
	exchange->refs_kept = 0;
	return btrfs_run_delayed_refs(trans, 0);
}

/* One stretch of both ranges, slice by slice; @slice comes from the one before. */
static int exchange_run(struct btrfs_trans_handle *trans,
			struct btrfs_exchange *exchange, struct btrfs_pair *pair,
			struct slice *slice, u64 from, u64 to)
{
	int error;

	for (slice->from = from; slice->from < to; slice->from = slice->to) {
		end_slice(pair, slice, to);
		/* Between slices, runs and pairs no extent is cut. */
		error = exchange->refs_kept >= SLICE ? run_refs(trans, exchange) : 0;
		if (!error)
			error = exchange_slice(trans, exchange, pair, slice);
		if (error)
			return error;
		memcpy(slice->first, slice->end, sizeof(slice->first));
	}
	return 0;
}

/* -E2BIG where a slice would be too large. */
static int check_slices_of(const struct btrfs_pair *pair)
{
	struct slice slice = { };
	u64 from, to;
	u32 next = 0;

	while (btrfs_pair_next_run(pair, &next, &from, &to))
		for (slice.from = from; slice.from < to; slice.from = slice.to) {
			end_slice(pair, &slice, to);
			if (count_slice(&slice) > MAX_SLICE)
				return -E2BIG;
			memcpy(slice.first, slice.end, sizeof(slice.first));
		}
	return 0;
}

static int check_slices(const struct btrfs_exchange *exchange)
{
	const struct btrfs_pair *pair;
	int error;

	for (pair = btrfs_first_pair(exchange); pair; pair = btrfs_next_pair(exchange, pair)) {
		error = check_slices_of(pair);
		if (error)
			return error;
	}
	return 0;
}

/*
 * With FILE1_WRITTEN and TO_EOF, what a file gains is a hole where nothing comes from
 * the other.  Where the file system has no NO_HOLES that is an item.
 */
static int grow_tails(struct btrfs_trans_handle *trans,
		      struct btrfs_exchange *exchange, struct btrfs_pair *pair)
{
	u64 from, to;
	int i, error = 0;

	if (btrfs_has_no_holes(trans->fs_info))
		return 0;
	for (i = 0; i < 2 && !error; i++) {
		const struct inode_range *range = &pair->range[i];

		if (!btrfs_pair_tail(pair, i, &from, &to) ||
		    pair->new_size[i] < i_size_read(&range->inode->vfs_inode))
			continue;
		to = round_up(pair->new_size[i],
			      trans->fs_info->sectorsize) - range->start;
		exchange->must_abort = true;
		error = fill_holes(trans, &exchange->writer, range, from, to);
	}
	return error;
}

/* And what lies behind the new end goes: it must not come back when the file grows. */
static int cut_tails(struct btrfs_trans_handle *trans,
		     struct btrfs_exchange *exchange, struct btrfs_pair *pair)
{
	u64 from, to;
	int i, error = 0;

	for (i = 0; i < 2 && !error; i++) {
		struct inode *inode = btrfs_pair_inode(pair, i);

		if (!btrfs_pair_tail(pair, i, &from, &to) ||
		    pair->new_size[i] > i_size_read(inode))
			continue;
		exchange->must_abort = true;
		error = drop(trans, exchange, pair, i, from, to, &pair->cut[i]);
	}
	return error;
}

static bool has_preallocation(const struct extent_list *list)
{
	u32 i;

	for (i = 0; i < list->count; i++)
		if (list->extents[i].item.type == BTRFS_FILE_EXTENT_PREALLOC)
			return true;
	return false;
}

/*
 * What a file has behind its end now, preallocated, counts as mapped too: without it the size
 * on disk would not follow a write that goes there.
 */
static int map_behind(const struct inode_range *range, const struct extent_list *list,
		      u64 end)
{
	u32 i;
	int error = 0;

	for (i = list->count; i && !error; i--) {
		const struct file_extent *extent = &list->extents[i - 1];
		u64 start = range->start + extent->offset;
		u64 length = le64_to_cpu(extent->item.num_bytes);

		if (extent->item.type == BTRFS_FILE_EXTENT_INLINE ||
		    start + length <= end)
			break;
		error = btrfs_inode_set_file_extent_range(range->inode, start, length);
	}
	return error;
}

/* The size in memory and on disk, and what of the file counts as mapped to it. */
static int set_size(const struct btrfs_pair *pair, int side)
{
	const struct inode_range *range = &pair->range[side];
	u64 size = pair->new_size[side];
	u64 end = round_up(size, range->inode->root->fs_info->sectorsize);
	int error;

	if (!(pair->request->flags & EXCHRANGE_TO_EOF))
		return 0;
	error = btrfs_inode_clear_file_extent_range(range->inode, range->start,
						    range->length) ?:
		btrfs_inode_set_file_extent_range(range->inode, range->start,
						  end - range->start) ?:
		map_behind(range, &pair->list[!side], end);
	if (error)
		return error;
	i_size_write(&range->inode->vfs_inode, size);
	btrfs_inode_safe_disk_i_size_write(range->inode, 0);
	return 0;
}

/* Once for each file, whatever pair it is in. */
static void touch(struct btrfs_file *changed, const struct file *file)
{
	struct inode *inode = file_inode(file);

	if (!changed->has_times && !(file->f_mode & FMODE_NOCMTIME) && !IS_NOCMTIME(inode)) {
		inode_set_mtime_to_ts(inode, inode_set_ctime_current(inode));
		changed->has_times = true;
	}
	if (!changed->is_changed)
		inode_inc_iversion(inode);
	changed->is_changed = true;
}

/* What of both inodes' contents goes with their extents. */
static int update_pair(struct btrfs_exchange *exchange, struct btrfs_pair *pair)
{
	int i, error = 0;

	for (i = 0; i < 2 && !error; i++) {
		struct btrfs_inode *inode = pair->range[i].inode;

		touch(file_of(exchange, pair, i), exchange_request_file(pair->request, i));
		if (has_preallocation(&pair->list[!i]))
			inode->flags |= BTRFS_INODE_PREALLOC;
		btrfs_update_inode_bytes(inode, pair->moved[!i],
					 pair->moved[i] + pair->cut[i]);
		error = set_size(pair, i);
	}
	return error;
}

static int update_inodes(struct btrfs_trans_handle *trans,
			 struct btrfs_exchange *exchange)
{
	struct btrfs_pair *pair;
	u32 i;
	int error;

	for (pair = btrfs_first_pair(exchange); pair; pair = btrfs_next_pair(exchange, pair)) {
		error = update_pair(exchange, pair);
		if (error)
			return error;
	}
	for (i = 0; i < count_files(exchange); i++) {
		if (!exchange->files[i].is_changed)
			continue;
		error = btrfs_update_inode(trans, exchange->files[i].inode);
		if (error)
			return error;
	}
	return 0;
}

static int change_pair(struct btrfs_trans_handle *trans,
		       struct btrfs_exchange *exchange, struct btrfs_pair *pair)
{
	struct slice slice = { };
	u64 from, to;
	u32 next = 0;
	int error = 0;

	while (!error && btrfs_pair_next_run(pair, &next, &from, &to))
		error = exchange_run(trans, exchange, pair, &slice, from, to);
	return error ?: cut_tails(trans, exchange, pair) ?:
	       grow_tails(trans, exchange, pair);
}

static int change_pairs(struct btrfs_trans_handle *trans, struct btrfs_exchange *exchange)
{
	struct btrfs_pair *pair;
	int error;

	for (pair = btrfs_first_pair(exchange); pair; pair = btrfs_next_pair(exchange, pair)) {
		error = change_pair(trans, exchange, pair);
		if (error)
			return error;
	}
	return 0;
}

static int change(struct btrfs_trans_handle *trans,
		  struct btrfs_exchange *exchange)
{
	int error = change_pairs(trans, exchange);

	/* The inodes are updated from what the handle itself has reserved. */
	trans->block_rsv = &trans->fs_info->trans_block_rsv;
	if (!error) {
		exchange->must_abort = true;
		error = update_inodes(trans, exchange);
	}
	if (error && exchange->must_abort)
		btrfs_abort_transaction(trans, error);
	return error;
}

/* Whether the transaction has room for this.  A caller with CAP_SYS_ADMIN has the higher limit. */
static bool is_admitted(const struct btrfs_trans_handle *trans,
			const struct btrfs_exchange *exchange)
{
	return exchange->limit == MAX_EXTENTS ||
	       btrfs_admit_work(trans->fs_info, trans->transid, exchange->items);
}

static int change_and_log(struct btrfs_trans_handle *trans,
			  struct btrfs_exchange *exchange)
{
	int error;

	btrfs_log_begin(trans, exchange);
	error = change(trans, exchange);
	btrfs_log_end(trans, exchange, error);
	return error;
}

static int exchange_in_handle(struct btrfs_trans_handle *trans,
			      struct btrfs_exchange *exchange)
{
	int error = 0;
	u32 i;

	for (i = 0; i < count_files(exchange) && !error; i++)
		error = btrfs_record_root_in_trans(trans, exchange->files[i].inode->root);
	if (error)
		return error;

	trans->block_rsv = &exchange->reserve;
	error = collect(trans, exchange) ?: check_slices(exchange);
	if (!error)
		error = change_and_log(trans, exchange);
	trans->block_rsv = &trans->fs_info->trans_block_rsv;
	if (!error)
		convert_quota(exchange);
	return error;
}

/*
 * The exchange, after btrfs_exchange_prepare().  The caller has locked the extents
 * of all ranges.  After an error all files are as they were, or the transaction
 * is aborted, which leaves them so on disk and makes the file system read-only.  With
 * exchange->must_wait it is to be called again after btrfs_exchange_commit().
 */
int btrfs_exchange_extents(struct btrfs_exchange *exchange)
{
	struct btrfs_trans_handle *trans;
	int error, end_error;

	trans = btrfs_start_transaction(first_root(exchange),
					count_units(exchange, HANDLE_UNITS));
	if (IS_ERR(trans))
		return PTR_ERR(trans);
	exchange->transid = trans->transid;
	exchange->must_wait = !is_admitted(trans, exchange) ||
			      btrfs_log_must_go(trans, exchange);
	if (exchange->must_wait) {
		btrfs_end_transaction(trans);
		return -EAGAIN;
	}
	error = exchange_in_handle(trans, exchange);
	trace_exchrange_btrfs_transaction(&exchange->vector->requests[0], trans->transid,
					  exchange->reserve.size,
					  exchange->reserve.reserved, error);

	/* What is left goes to the references that are still in memory. */
	btrfs_block_rsv_release(exchange->fs_info, &exchange->reserve,
				(u64)-1, NULL);
	end_error = btrfs_end_transaction(trans);

	if (!error && end_error)
		/* Others have aborted the transaction, by whatever error. */
		error = -EROFS;
	return error;
}

/* Commits the transaction that is running, if any. */
static int commit_running(struct btrfs_root *root)
{
	struct btrfs_trans_handle *trans;

	trans = btrfs_attach_transaction_barrier(root);
	if (IS_ERR(trans))
		/* None is running: that of the exchange has been committed. */
		return PTR_ERR(trans) == -ENOENT ? 0 : PTR_ERR(trans);
	return btrfs_commit_transaction(trans);
}

/*
 * Returns when the transaction of the exchange is on stable storage, without a lock.
 * An fsync would not do: of a file without a name it writes nothing.
 *
 * The exchange is done: an error that may also come before it, as -ENOMEM or -ENOSPC,
 * would say that it is not.  So there is no such answer here.
 */
int btrfs_exchange_commit(const struct btrfs_exchange *exchange)
{
	const struct btrfs_fs_info *fs_info = exchange->fs_info;
	int error;

	while (READ_ONCE(fs_info->last_trans_committed) < exchange->transid) {
		error = commit_running(first_root(exchange));
		if (!error)
			break;
		if (error != -ENOMEM)
			return error == -EROFS ? -EROFS : -EIO;
		schedule_timeout_uninterruptible(1);
	}
	return 0;
}
