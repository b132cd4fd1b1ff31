// SPDX-License-Identifier: GPL-2.0
/*
 * XFS back end: the steps of an exchange, which is one XFS transaction on file systems that
 * XFS's own ioctl refuses since they were made without exchange=1, and on kernels that have no
 * such ioctl; and XFS's own chain of transactions where it has one.
 *
 * Locks, in this order:
 *
 *	sb_start_write	no exchange on a frozen file system
 *	IOLOCK		the inode lock: no write, truncate, fallocate, reflink; layouts
 *			that NFS servers handed out are broken
 *	MMAPLOCK	the invalidate_lock: no page comes into the cache, no store through
 *			a mapping makes one dirty
 *	transaction	log space
 *	ILOCK		all block maps
 *	AGF		of the AG that a block map may grow in
 *
 * Two locks of a kind are taken in the order that XFS has for them, by XFS's functions; more
 * of them in the same order (../locks.c, lock_maps.c).
 * User memory is not touched in between.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>

#include "../trace.h"
#include "exchange.h"

/* What this version knows of a file system's format; private.h has the bits. */
#define KNOWN_RO_COMPAT	(XFS_SB_FEAT_RO_COMPAT_FINOBT |		\
			 XFS_SB_FEAT_RO_COMPAT_RMAPBT |		\
			 XFS_SB_FEAT_RO_COMPAT_REFLINK |	\
			 XFS_SB_FEAT_RO_COMPAT_INOBTCNT)
#define KNOWN_INCOMPAT	(XFS_SB_FEAT_INCOMPAT_FTYPE |		\
			 XFS_SB_FEAT_INCOMPAT_SPINODES |	\
			 XFS_SB_FEAT_INCOMPAT_META_UUID |	\
			 XFS_SB_FEAT_INCOMPAT_BIGTIME |		\
			 XFS_SB_FEAT_INCOMPAT_NREXT64 |		\
			 XFS_SB_FEAT_INCOMPAT_EXCHRANGE |	\
			 XFS_SB_FEAT_INCOMPAT_PARENT)

static bool is_known_format(const struct xfs_mount *mp)
{
	const struct xfs_sb *sb = &mp->m_sb;

	return (sb->sb_versionnum & XFS_SB_VERSION_NUMBITS) == XFS_SB_VERSION_5 &&
	       !(sb->sb_features_ro_compat & ~KNOWN_RO_COMPAT) &&
	       !(sb->sb_features_incompat & ~KNOWN_INCOMPAT);
}

/* Why the file cannot be exchanged so, or EXCHRANGE_REASON_NONE. */
static u32 missing_reason(const struct file *file)
{
	const struct xfs_inode *ip = XFS_I(file_inode(file));

	if (!is_known_format(ip->i_mount))
		return EXCHRANGE_REASON_XFS_FORMAT;
	if (ip->i_diflags & XFS_DIFLAG_REALTIME)
		return EXCHRANGE_REASON_XFS_REALTIME;
	return EXCHRANGE_REASON_NONE;
}

/* Whether the file system was made for XFS's own ioctl. */
bool xfs_has_own_exchange(const struct file *file)
{
	return xfs_has_exchange_range(XFS_I(file_inode(file))->i_mount);
}

/* Of XFS's own ioctl, in bytes: blocks, or the realtime extents of a file that has those. */
u32 xfs_own_alignment(const struct file *file)
{
	const struct xfs_inode *ip = XFS_I(file_inode(file));
	const struct xfs_sb *sb = &ip->i_mount->m_sb;

	if (READ_ONCE(ip->i_diflags) & XFS_DIFLAG_REALTIME)
		return sb->sb_blocksize * sb->sb_rextsize;
	return sb->sb_blocksize;
}

void xfs_transaction_query(struct file *file, struct exchrange_query *query)
{
	query->reason = missing_reason(file);
	if (query->reason != EXCHRANGE_REASON_NONE)
		return;
	query->backend = EXCHRANGE_BACKEND_XFS_TRANSACTION;
	query->alignment = XFS_I(file_inode(file))->i_mount->m_sb.sb_blocksize;
	query->flags = EXCHRANGE_TO_EOF | EXCHRANGE_DSYNC | EXCHRANGE_DRY_RUN |
		       EXCHRANGE_FILE1_WRITTEN;
}

/* A vector is always a transaction of ours; no file of many has DAX. */
bool xfs_takes_vectors(const struct file *file)
{
	return missing_reason(file) == EXCHRANGE_REASON_NONE && !IS_DAX(file_inode(file));
}

/* A range in blocks, and the sizes that both files will have. */
static void set_range(struct xfs_range *range, const struct xfs_mount *mp)
{
	const struct exchange_request *request = range->request;
	unsigned int shift = mp->m_sb.sb_blocklog;
	int i;

	for (i = 0; i < 2; i++) {
		range->start[i] = exchange_request_offset(request, i) >> shift;
		range->old_size[i] = i_size_read(VFS_I(range->map[i]->ip));
		range->new_size[i] = range->old_size[i];
	}
	range->length = round_up(request->length, 1ULL << shift) >> shift;
	range->written_only = request->flags & EXCHRANGE_FILE1_WRITTEN;
	range->cut_from = U64_MAX;
	if (!(request->flags & EXCHRANGE_TO_EOF))
		return;
	for (i = 0; i < 2; i++)
		range->new_size[i] = exchange_request_offset(request, i) +
				     range->old_size[!i] -
				     exchange_request_offset(request, !i);
	if (range->written_only)
		range->cut_from = round_up(range->new_size[1], 1ULL << shift) >> shift;
}

static void set_ranges(struct xfs_exchange *exchange)
{
	u32 i;

	for (i = 0; i < exchange->pieces.range_count; i++)
		set_range(&exchange->ranges[i], exchange->mp);
	exchange->pieces.skips_delayed = exchange->dry_run;
}

/*
 * Speculative preallocations take space, and count for their owner's quota; files without a
 * name have theirs until XFS gets to it.  As in XFS itself: this waits for no file that
 * somebody has locked.
 */
static int free_space(const struct xfs_exchange *exchange, int error)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	u32 i;

	error = error == -ENOSPC ? xfs_blockgc_flush_all(exchange->mp) : 0;
	for (i = 0; i < pieces->map_count && !error; i++)
		error = xfs_blockgc_free_quota(pieces->maps[i].ip, 0);
	return error;
}

static int plan_once(struct xfs_exchange *exchange)
{
	return exchange->in_chain ? xfs_chain_plan(exchange) :
				    xfs_exchange_plan(exchange);
}

/* -EBUSY: there is a delayed allocation that is not written back. */
static int plan(struct xfs_exchange *exchange)
{
	int error = plan_once(exchange);

	if (error == -EAGAIN)
		error = xfs_exchange_flush_all(exchange) ?: plan_once(exchange);
	return error == -EAGAIN ? -EBUSY : error;
}

/* -EAGAIN: a map, or the space of an AG, has changed between the plan and its turn. */
static int carry_out(struct xfs_exchange *exchange)
{
	int error = 0;

	if (!(exchange->vector->flags & EXCHRANGE_DRY_RUN))
		error = xfs_exchange_drop_pages(exchange);
	if (error)
		return error;
	return exchange->in_chain ? xfs_chain_exchange(exchange) :
				    xfs_exchange_pieces(exchange);
}

/*
 * Writing other ranges back changes the maps: that ends here, since what is dirty in the end a
 * device alone can have made so, through a pin that it already had.
 */
static int settle_maps(const struct xfs_exchange *exchange)
{
	if (fatal_signal_pending(current))
		return -EINTR;
	cond_resched();
	return xfs_exchange_flush_all(exchange);
}

/*
 * As often as it takes: each time that a plan does not hold, a map has settled or somebody
 * else has got the space of an AG.  Where there is no more in any, the plan says -ENOSPC.
 */
static int exchange_space(struct xfs_exchange *exchange, bool planned)
{
	bool freed = false;
	int error;

	for (;;) {
		error = planned ? 0 : plan(exchange);
		planned = false;
		if (!error)
			error = carry_out(exchange);
		if (error == -EAGAIN)
			error = settle_maps(exchange) ?: -EAGAIN;
		if ((error == -EDQUOT || error == -ENOSPC) && !freed) {
			freed = true;
			error = free_space(exchange, error) ?: -EAGAIN;
		}
		if (error != -EAGAIN)
			return error;
	}
}

static bool has_privileges(const struct xfs_exchange *exchange)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	u32 i;

	for (i = 0; i < pieces->map_count; i++)
		if (!IS_NOSEC(VFS_I(pieces->maps[i].ip)))
			return true;
	return false;
}

/*
 * As a write does it.  What the exchange needs is asked for before, as in a dry run: they stay
 * where it is refused.
 */
static int remove_privileges(struct xfs_exchange *exchange)
{
	const struct exchange_vector *vector = exchange->vector;
	int error;
	u32 i;

	if (!has_privileges(exchange))
		return 0;
	exchange->dry_run = true;
	error = exchange_space(exchange, true);
	exchange->dry_run = false;
	for (i = 0; i < vector->file_count && !error; i++)
		error = file_remove_privs(vector->files[i]);
	return error;
}

static int plan_with_space(struct xfs_exchange *exchange)
{
	int error = plan(exchange);

	if (error == -ENOSPC)
		error = free_space(exchange, error) ?: plan(exchange);
	return error;
}

/* Everything is checked, flushed and locked. */
static int exchange_locked(struct xfs_exchange *exchange)
{
	bool planned = !has_privileges(exchange) || exchange->dry_run;
	struct exchange_kept *kept = NULL;
	int error;

	error = xfs_exchange_prepare_ends(exchange) ?: plan_with_space(exchange);
	if (error)
		return error;

	exchange_watch_begin(exchange->vector);
	if (!exchange->dry_run) {
		kept = exchange_keep_pages(exchange->vector, false);
		error = remove_privileges(exchange);
	}
	if (!error)
		error = exchange_space(exchange, planned);
	if (!error && !exchange->dry_run)
		exchange->end_error = xfs_exchange_settle_ends(exchange);
	exchange_put_pages(kept, !error);
	exchange_watch_end(exchange->vector, !error);
	return error;
}

/*
 * START_COMMIT is XFS's own where the file system was made for that; a vector is not XFS's, and
 * takes either sample.
 */
static int check_sample(const struct xfs_exchange *exchange,
			const struct exchange_request *request)
{
	struct inode *inode = file_inode(request->file2);
	int error = -EBUSY;

	if (!exchange->in_chain)
		error = xfs_check_freshness(inode, request->freshness);
	if (error && (exchange->in_chain ||
		      (exchange->pieces.range_count > 1 &&
		       xfs_has_own_exchange(request->file2))))
		error = xfs_chain_check_freshness(inode, request->freshness);
	return error;
}

/* Of all that have a sample, before the first one changes. */
static int check_freshness(const struct xfs_exchange *exchange)
{
	struct exchange_vector *vector = exchange->vector;
	int error = 0;
	u32 i;

	for (i = 0; i < vector->count && !error; i++) {
		if (vector->requests[i].operation == EXCHANGE_OPERATION_COMMIT)
			error = check_sample(exchange, &vector->requests[i]);
		if (error)
			vector->refused = i;
	}
	return error;
}

/* XFS waits for those who have pinned blocks of a mapping only where both have DAX. */
static bool mixes_dax(const struct exchange_request *request)
{
	return IS_DAX(file_inode(request->file1)) != IS_DAX(file_inode(request->file2));
}

/* Of many files nobody waits for them. */
static int check_dax(const struct xfs_exchange *exchange)
{
	struct exchange_vector *vector = exchange->vector;
	int error = 0;
	u32 i;

	for (i = 0; i < vector->count && !error; i++) {
		if (mixes_dax(&vector->requests[i]))
			error = -EINVAL;
		else if (exchange->pieces.map_count > 2 &&
			 IS_DAX(file_inode(vector->requests[i].file1)))
			error = -EOPNOTSUPP;
		if (error)
			vector->refused = i;
	}
	return error;
}

static int check_form(const struct exchange_vector *vector)
{
	u32 i;

	for (i = 0; i < vector->file_count; i++)
		if (missing_reason(vector->files[i]) != EXCHRANGE_REASON_NONE)
			return -EOPNOTSUPP;
	return 0;
}

static bool is_empty(const struct exchange_vector *vector)
{
	u32 i;

	for (i = 0; i < vector->count; i++)
		if (vector->requests[i].length)
			return false;
	return true;
}

/* The caller has locked all files. */
static int check_and_exchange(struct xfs_exchange *exchange)
{
	struct exchange_pin_wait pin_wait = { };
	int error;

	/* An empty file can be made a realtime one until it is locked. */
	error = check_form(exchange->vector) ?:
		exchange_check_locked(exchange->vector, exchange->mp->m_sb.sb_blocksize) ?:
		check_dax(exchange) ?: check_freshness(exchange);
	if (error)
		return error;
	/* XFS's own sets the times then too. */
	if (is_empty(exchange->vector) && !exchange->in_chain) {
		exchange_watch_empty(exchange->vector);
		return 0;
	}

	exchange->pin_wait = &pin_wait;
	set_ranges(exchange);
	error = xfs_exchange_flush(exchange);
	/* Those who write pages back have references to them until then. */
	if (!error && !exchange->dry_run && exchange_has_transfers(exchange->vector)) {
		exchange->has_transfers = true;
		error = -EBUSY;
	}
	if (!error)
		error = exchange_locked(exchange);
	if (!exchange->in_chain)
		xfs_exchange_finish(exchange);
	return error;
}

/* Layouts that NFS servers handed out, of each file; @wait: without its lock. */
static int break_layouts(const struct exchange_vector *vector, bool wait)
{
	int error = 0;
	u32 i;

	for (i = 0; i < vector->inode_count && !error; i++)
		error = break_layout(vector->inodes[i].inode, wait);
	return error;
}

/* As xfs_ilock2_io_mmap() does it for two. */
static int lock_many(const struct exchange_vector *vector)
{
	int error;

	do {
		error = break_layouts(vector, true);
		if (error)
			return error;
		exchange_lock_inodes(vector);
		error = break_layouts(vector, false);
		if (error)
			exchange_unlock_inodes(vector);
	} while (error == -EWOULDBLOCK);
	if (!error)
		exchange_lock_mappings(vector);
	return error;
}

static int lock_files(const struct xfs_exchange *exchange)
{
	const struct xfs_map *maps = exchange->pieces.maps;
	u32 count = exchange->pieces.map_count;

	return count > 2 ? lock_many(exchange->vector) :
			   xfs_ilock2_io_mmap(maps[0].ip, maps[count - 1].ip);
}

static void unlock_files(const struct xfs_exchange *exchange)
{
	const struct xfs_map *maps = exchange->pieces.maps;
	u32 count = exchange->pieces.map_count;

	if (count <= 2) {
		xfs_iunlock2_io_mmap(maps[0].ip, maps[count - 1].ip);
		return;
	}
	exchange_unlock_mappings(exchange->vector);
	exchange_unlock_inodes(exchange->vector);
}

static int try_exchange(struct xfs_exchange *exchange)
{
	struct file *file = exchange->vector->files[0];
	int error;

	exchange->has_transfers = false;
	file_start_write(file);
	error = lock_files(exchange);
	if (!error) {
		error = check_and_exchange(exchange);
		unlock_files(exchange);
	}
	file_end_write(file);
	return error;
}

/*
 * Until no transfer is under way to a page of the ranges, where these take no pins: -EBUSY where
 * that has no end.  Each time anew: meanwhile there is no lock.
 */
static int lock_and_exchange(struct xfs_exchange *exchange)
{
	struct exchange_pin_wait wait = { };
	int error;

	while ((error = try_exchange(exchange)) == -EBUSY && exchange->has_transfers) {
		error = exchange_wait_for_pins(&wait);
		if (error)
			break;
	}
	return error;
}

/*
 * Returns when the exchange is on stable storage.  What follows its first transaction
 * does not count: log recovery does that.
 */
static int force_log(const struct xfs_exchange *exchange)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	int error = 0;
	u32 i;

	for (i = pieces->map_count; i > 0 && !error; i--)
		error = xfs_log_force_inode(pieces->maps[i - 1].ip);
	return error;
}

/* After the exchange, without a lock. */
static int finish(const struct xfs_exchange *exchange)
{
	const struct exchange_vector *vector = exchange->vector;
	int error = 0;

	if (vector->flags & EXCHRANGE_DRY_RUN)
		return 0;
	/* The chain's first transaction is there already. */
	if (!is_empty(vector) && !exchange->in_chain &&
	    (exchange_must_be_durable(vector) ||
	     exchange->mp->m_features & XFS_FEAT_WSYNC))
		error = force_log(exchange);
	exchange_notify(vector);
	return error ?: exchange->end_error;
}

/* The files in ascending order of their numbers. */
static void set_maps(struct xfs_pieces *pieces, const struct exchange_vector *vector)
{
	struct xfs_map *maps = pieces->maps;
	u32 i, place;

	for (i = 0; i < vector->inode_count; i++) {
		struct inode *inode = vector->inodes[i].inode;

		for (place = i; place > 0 &&
		     VFS_I(maps[place - 1].ip)->i_ino > inode->i_ino; place--)
			maps[place] = maps[place - 1];
		maps[place] = (struct xfs_map) { .ip = XFS_I(inode) };
	}
	pieces->map_count = vector->inode_count;
}

static struct xfs_map *find_map(const struct xfs_pieces *pieces, const struct file *file)
{
	struct xfs_map *map = pieces->maps;

	while (VFS_I(map->ip) != file_inode(file))
		map++;
	return map;
}

static void add_xfs_range(struct xfs_pieces *pieces, const struct exchange_request *request,
			  bool is_one_of_many)
{
	struct xfs_range *range = &pieces->ranges[pieces->range_count++];
	int side;

	range->request = request;
	for (side = 0; side < 2; side++) {
		range->map[side] = find_map(pieces, exchange_request_file(request, side));
		range->map[side]->is_in_many = is_one_of_many;
	}
}

/*
 * The order of all ranges, as the vector has it, of ranges that are in another one.  Where each
 * request's range is comes into @places.
 */
static void set_order(struct xfs_exchange *exchange, u32 *order, u32 *places)
{
	const struct exchange_vector *vector = exchange->vector;
	u32 place, i;
	int side;

	for (i = 0; i < vector->count; i++)
		places[exchange->ranges[i].request - vector->requests] = i;
	for (place = 0; place < 2 * vector->count; place++) {
		i = exchange_vector_range(vector, place, &side);
		order[place] = 2 * places[i] + side;
	}
	exchange->pieces.order = order;
}

/* The ranges in the order of their places in file2, which has the larger map mostly. */
static void set_files(struct xfs_exchange *exchange)
{
	const struct exchange_vector *vector = exchange->vector;
	struct xfs_pieces *pieces = &exchange->pieces;
	u32 place, i, *order;
	int side;

	pieces->ranges = exchange->ranges;
	pieces->maps = (void *)&exchange->ranges[vector->count];
	set_maps(pieces, vector);
	for (place = 0; place < 2 * vector->count; place++) {
		i = exchange_vector_range(vector, place, &side);
		if (side == 1)
			add_xfs_range(pieces, &vector->requests[i], vector->count > 1);
	}
	order = (void *)&pieces->maps[vector->inode_count];
	set_order(exchange, order, &order[2 * vector->count]);
	exchange->mp = pieces->maps[0].ip->i_mount;
}

/* Room for all ranges and files of @vector; many are charged to the caller. */
static struct xfs_exchange *alloc_exchange(const struct exchange_vector *vector)
{
	struct xfs_exchange *exchange;
	size_t size = struct_size(exchange, ranges, vector->count);

	size += vector->inode_count * sizeof(struct xfs_map);
	return kvzalloc(size + 3 * vector->count * sizeof(u32),
			vector->count > 1 ? GFP_KERNEL_ACCOUNT : GFP_KERNEL);
}

static int exchange_files(struct exchange_vector *vector, bool in_chain)
{
	struct xfs_exchange *exchange;
	int error;

	/* own_ioctl.c has asked for the rights before the files' flags changed. */
	error = check_form(vector);
	if (!error && !in_chain)
		error = exchange_check_rights(vector);
	if (error)
		return error;
	exchange = alloc_exchange(vector);
	if (!exchange)
		return -ENOMEM;
	exchange->vector = vector;
	exchange->in_chain = in_chain;
	exchange->dry_run = vector->flags & EXCHRANGE_DRY_RUN;
	set_files(exchange);

	error = lock_and_exchange(exchange);
	if (!error)
		error = finish(exchange);
	kvfree(exchange);
	return error;
}

int xfs_transaction_submit(struct exchange_vector *vector)
{
	struct exchange_request *first = &vector->requests[0];
	int error;

	trace_exchrange_backend(first, EXCHRANGE_BACKEND_XFS_TRANSACTION);
	if (first->operation != EXCHANGE_OPERATION_START_COMMIT)
		return exchange_files(vector, false);
	error = xfs_sample_freshness(first->file2, first->freshness);
	first->sampled = !error;
	return error;
}

/* Whether xfs_chain_submit() knows all of both files' form. */
bool xfs_chain_takes(const struct exchange_request *request)
{
	return missing_reason(request->file1) == EXCHRANGE_REASON_NONE &&
	       missing_reason(request->file2) == EXCHRANGE_REASON_NONE &&
	       xfs_has_own_exchange(request->file1) &&
	       xfs_has_own_exchange(request->file2);
}

static int submit_in_chain(struct exchange_vector *vector)
{
	return exchange_files(vector, true);
}

/* EXCHANGE and COMMIT of files that it takes, with XFS's own sample. */
int xfs_chain_submit(struct exchange_vector *vector)
{
	const struct exchange_request *request = &vector->requests[0];

	if (request->flags & EXCHRANGE_TO_EOF && !(request->flags & EXCHRANGE_DRY_RUN))
		return xfs_keep_tails(vector, submit_in_chain);
	return submit_in_chain(vector);
}
