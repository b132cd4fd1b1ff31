// SPDX-License-Identifier: GPL-2.0
/*
 * The exchange of two files in one transaction of XFS's: whole ones by their data forks, where
 * that can be (forks.c), else the pieces of two ranges.
 *
 * First all that can fail without a change: memory, the log, space, quota, the number of
 * extents, a caller who is being killed.  Then both inodes' times, sizes and counts and,
 * piece by piece:
 *
 *	unmap the piece of both files
 *	map the other's blocks into each; a hole stays one, unwritten stays unwritten
 *
 * Where a file has a whole record for the piece and will have another, that is replaced
 * where it is: nothing in the tree moves, splits or merges.
 *
 * The reverse mappings change with it where they can change in place: see rmap.c.
 *
 * What XFS defers, the other reverse mappings and the freeing of blocks of the maps
 * themselves, is logged as intents in the same transaction, and done in others that follow,
 * or by log recovery.  So after a crash all of it is there, or nothing.  That they can be
 * done is seen to before the first change: room.c, map_blocks.c.
 *
 * Piece by piece, since whole maps that are first emptied and then filled free their
 * blocks in bulk, and recovery of that leaves reverse mappings that xfs_repair does not
 * like (seen with Linux 6.12).
 *
 * From the first change on an error shuts the file system down.
 *
 * Whoever calls these holds both inodes' IOLOCK and MMAPLOCK exclusively, and nothing of
 * what is going to move is in the page cache.
 */
#include <linux/capability.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "../trace.h"
#include "ags.h"
#include "exchange.h"
#include "forks.h"
#include "map_blocks.h"
#include "rmap.h"
#include "room.h"

static struct xfs_inode *inode_of(const struct xfs_exchange *exchange, int side)
{
	return exchange->pieces.ip[side];
}

void xfs_exchange_lock_maps(const struct xfs_exchange *exchange)
{
	if (xfs_exchange_is_one_file(exchange))
		xfs_ilock(inode_of(exchange, 0), XFS_ILOCK_EXCL);
	else
		xfs_lock_two_inodes(inode_of(exchange, 0), XFS_ILOCK_EXCL,
				    inode_of(exchange, 1), XFS_ILOCK_EXCL);
}

/* The same for @tp, which logs both inodes; the locks stay the caller's. */
void xfs_exchange_join_maps(const struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	xfs_exchange_lock_maps(exchange);
	xfs_trans_ijoin(tp, inode_of(exchange, 0), 0);
	if (!xfs_exchange_is_one_file(exchange))
		xfs_trans_ijoin(tp, inode_of(exchange, 1), 0);
}

void xfs_exchange_unlock_maps(const struct xfs_exchange *exchange)
{
	xfs_iunlock(inode_of(exchange, 0), XFS_ILOCK_EXCL);
	if (!xfs_exchange_is_one_file(exchange))
		xfs_iunlock(inode_of(exchange, 1), XFS_ILOCK_EXCL);
}

/* What @side has for a piece before the exchange, or after it (@new). */
static struct xfs_bmbt_irec record_of(const struct xfs_piece *piece, int side,
				      bool new)
{
	const struct xfs_mapping mapping = new ? new_mapping(piece, side) :
						 piece->old[side];

	return (struct xfs_bmbt_irec) {
		.br_startoff	= piece->offset[side],
		.br_startblock	= mapping.block,
		.br_blockcount	= piece->length,
		.br_state	= mapping.unwritten ? XFS_EXT_UNWRITTEN :
						      XFS_EXT_NORM,
	};
}

/*
 * What one call may do for users without CAP_SYS_ADMIN: others who write where it works wait
 * for all of it.  Measured by selftests/bench/bench_beside.c: see uapi.md.
 */
static unsigned int xfs_max_extents_user = 8192;
module_param(xfs_max_extents_user, uint, 0644);
MODULE_PARM_DESC(xfs_max_extents_user,
		 "Extents that one exchange in one transaction on XFS may have, for users without CAP_SYS_ADMIN");

static u64 user_limit(void)
{
	return ns_capable_noaudit(&init_user_ns, CAP_SYS_ADMIN) ? U64_MAX :
								  READ_ONCE(xfs_max_extents_user);
}

/* Blocks of the map of @side whose records are replaced; its ILOCK. */
static int measure_map(struct xfs_exchange *exchange, int side, u64 *bytes)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	struct xfs_inode *ip = inode_of(exchange, side);
	struct xfs_walk_measure measure = { };
	struct xfs_btree_cur *cursor;
	int error = 0, found;
	u64 i;

	if (!pieces->replaced[side] || ip->i_df.if_format != XFS_DINODE_FMT_BTREE)
		return 0;
	cursor = xfs_bmbt_init_cursor(exchange->mp, NULL, ip, XFS_DATA_FORK);
	for (i = 0; i < pieces->count && !error; i++) {
		const struct xfs_piece *piece = &pieces->piece[i];

		if (!has_side(piece, side) || !is_replaced(piece, side))
			continue;
		cond_resched();
		cursor->bc_rec.b = record_of(piece, side, false);
		error = xfs_btree_lookup(cursor, XFS_LOOKUP_EQi, &found);
		if (!error)
			xfs_measure_record(&measure, cursor);
	}
	xfs_btree_del_cursor(cursor, error);
	*bytes += measure.bytes;
	return error;
}

static int measure_maps(struct xfs_exchange *exchange, struct xfs_measure *measure)
{
	unsigned int nofs;
	int error;

	xfs_exchange_lock_maps(exchange);
	nofs = memalloc_nofs_save();
	error = xfs_pieces_are_stale(&exchange->pieces) ? -EAGAIN :
		measure_map(exchange, 0, &measure->map_bytes) ?:
		measure_map(exchange, 1, &measure->map_bytes);
	memalloc_nofs_restore(nofs);
	xfs_exchange_unlock_maps(exchange);
	return error;
}

/*
 * Looks at the rmapbts, for which pieces they can change in place, and what that takes.
 * Others use these trees too, so a plan has to spare for what they mark until it is carried
 * out: twice as much for each that has not been enough.
 */
static int measure_rmaps(struct xfs_exchange *exchange, struct xfs_measure *measure)
{
	struct xfs_trans *tp;
	int error;

	if (!exchange->pieces.rmaps_in_place)
		return 0;
	tp = xfs_trans_alloc_empty(exchange->mp);
	if (IS_ERR(tp))
		return PTR_ERR(tp);
	error = xfs_rmap_lock_ags(exchange, tp) ?:
		xfs_rmap_check_all(exchange, tp, &measure->rmap_bytes);
	xfs_trans_cancel(tp);
	measure->rmap_bytes += xfs_spare_log_bytes(exchange, measure->rmap_bytes);
	return error;
}

/* Where less than this is reserved a closer look is not worth it: a page's exchange. */
#define LITTLE_LOG	(24 * 1024)

/*
 * -E2BIG; less of the log is enough where no reverse mapping changes in place.  -EAGAIN:
 * a map has changed.
 */
static int reserve_log(struct xfs_exchange *exchange)
{
	struct xfs_pieces *pieces = &exchange->pieces;
	struct xfs_measure measure = { };
	int error;

	error = xfs_reserve_log(pieces, exchange->pag, NULL, &exchange->reservation);
	if (!exchange->short_of_log && exchange->reservation.log_bytes <= LITTLE_LOG)
		return error;
	error = measure_maps(exchange, &measure) ?:
		measure_rmaps(exchange, &measure);
	if (error)
		return error;
	error = xfs_reserve_log(pieces, exchange->pag, &measure, &exchange->reservation);
	if (error != -E2BIG || !pieces->rmaps_in_place)
		return error;
	xfs_rmap_forget(exchange);
	measure.rmap_bytes = 0;
	return xfs_reserve_log(pieces, exchange->pag, &measure, &exchange->reservation);
}

static void trace_plan(const struct xfs_exchange *exchange, u64 pieces, u64 rmaps, int error)
{
	trace_exchrange_xfs_plan(exchange->request, pieces, exchange->pieces.replaced[0],
				 exchange->pieces.replaced[1], rmaps,
				 exchange->reservation.log_bytes,
				 exchange->reservation.log_limit,
				 exchange->reservation.blocks,
				 exchange->forks.chosen, error);
}

/* Records whose reverse mappings change in place, where there are any. */
static u64 fork_rmaps(const struct xfs_exchange *exchange)
{
	return exchange->forks.rmap_count ? exchange->forks.records : 0;
}

static int plan_pieces(struct xfs_exchange *exchange)
{
	struct xfs_pieces *pieces = &exchange->pieces;
	unsigned int nofs;
	u64 rmaps;
	int error;

	xfs_exchange_lock_maps(exchange);
	nofs = memalloc_nofs_save();
	error = xfs_collect_pieces(pieces, min(xfs_piece_limit(exchange->mp), user_limit())) ?:
		xfs_reserve_blocks(pieces, &exchange->reservation) ?:
		xfs_exchange_collect_ags(exchange);
	memalloc_nofs_restore(nofs);
	xfs_exchange_unlock_maps(exchange);
	if (!error)
		error = xfs_exchange_choose_ags(exchange);
	rmaps = pieces->rmaps_in_place;
	if (!error)
		error = reserve_log(exchange);
	trace_plan(exchange, pieces->count, rmaps, error);
	return error;
}

/* -EOPNOTSUPP, -E2BIG: pieces may do. */
static int plan_forks(struct xfs_exchange *exchange)
{
	unsigned int nofs;
	int error;

	if (!xfs_forks_are_meant(exchange))
		return -EOPNOTSUPP;
	xfs_exchange_lock_maps(exchange);
	nofs = memalloc_nofs_save();
	error = xfs_forks_collect(exchange);
	memalloc_nofs_restore(nofs);
	xfs_exchange_unlock_maps(exchange);
	/* A piece has a record of either file. */
	if (!error && fork_rmaps(exchange) / 2 > user_limit())
		error = -E2BIG;
	if (!error)
		error = xfs_forks_reserve(exchange);
	if (error != -EOPNOTSUPP)
		trace_plan(exchange, exchange->forks.records, fork_rmaps(exchange), error);
	return error;
}

/* Drops what xfs_exchange_plan() has found. */
void xfs_exchange_finish(struct xfs_exchange *exchange)
{
	xfs_exchange_forget_ags(exchange);
	xfs_rmap_forget(exchange);
	xfs_forks_forget(exchange);
	xfs_free_pieces(&exchange->pieces);
}

/* Nothing is planned, of the same range. */
static void begin_plan(struct xfs_exchange *exchange)
{
	struct xfs_pieces range = exchange->pieces;

	xfs_exchange_finish(exchange);
	exchange->pieces = (struct xfs_pieces) {
		.ip		= { range.ip[0], range.ip[1] },
		.start		= { range.start[0], range.start[1] },
		.length		= range.length,
		.written_only	= range.written_only,
		.skips_delayed	= range.skips_delayed,
		.cut_from	= range.cut_from,
	};
}

/*
 * Finds out what there is to do, and what it takes; xfs_exchange_finish() drops that
 * again, after an error too.  The members up to the pieces' range are set.  -E2BIG,
 * -ENOSPC, -ENOMEM, -EAGAIN for a delayed allocation or a map that changes, -EINTR; errors of
 * reading a map.
 */
int xfs_exchange_plan(struct xfs_exchange *exchange)
{
	int error;

	begin_plan(exchange);
	error = plan_forks(exchange);
	if (error != -EOPNOTSUPP && error != -E2BIG)
		return error;
	begin_plan(exchange);
	return plan_pieces(exchange);
}

/* --- in the transaction: ILOCK of both inodes, which are joined to it ------------- */

/* The one that counts for a file alone, and not for the other one too. */
static struct xfs_dquot *own_dquot(struct xfs_dquot *dquot,
				   const struct xfs_dquot *other)
{
	return dquot == other ? NULL : dquot;
}

static int reserve_own_quota(struct xfs_trans *tp, const struct xfs_inode *ip,
			     const struct xfs_inode *other, u64 blocks,
			     unsigned int flags)
{
	return xfs_trans_reserve_quota_bydquots(tp, ip->i_mount,
			own_dquot(ip->i_udquot, other->i_udquot),
			own_dquot(ip->i_gdquot, other->i_gdquot),
			own_dquot(ip->i_pdquot, other->i_pdquot),
			blocks, 0, XFS_QMOPT_RES_REGBLKS | flags);
}

/*
 * -EDQUOT or -ENOSPC where a file gains more than its quotas allow.  For the one that
 * gains alone, since of a dquot that has a reservation and loses XFS gives back no more
 * than the reservation; and of what counts for both files it asks for nothing, since
 * that stays.  What the map grows by is reserved in any case: XFS counts wrongly what is
 * used beyond a reservation.
 */
static int reserve_quota(const struct xfs_exchange *exchange,
			 struct xfs_trans *tp)
{
	const u64 *blocks = exchange->pieces.blocks;
	u64 grows = exchange->reservation.map_blocks;
	int i, error;

	for (i = 0; i < 2; i++) {
		const struct xfs_inode *ip = inode_of(exchange, i);
		const struct xfs_inode *other = inode_of(exchange, !i);
		u64 gain = blocks[!i] - blocks[i];

		if (blocks[!i] <= blocks[i])
			continue;
		error = reserve_own_quota(tp, ip, other, gain, 0) ?:
			reserve_own_quota(tp, ip, other, grows,
					  XFS_QMOPT_FORCE_RES);
		if (error)
			return error;
	}
	return 0;
}

/*
 * -EFBIG where a file would have more extents than it can.  The last check: it may
 * change an inode to count more of them, and if it does so for the first the second
 * has the room too.
 */
static int extend_counts(const struct xfs_exchange *exchange,
			 struct xfs_trans *tp)
{
	const u64 *inserts = exchange->pieces.inserts;
	int i, error;

	if (exchange->forks.chosen)
		return 0;
	for (i = 0; i < 2; i++) {
		error = xfs_iext_count_extend(tp, inode_of(exchange, i),
					      XFS_DATA_FORK, inserts[i] + 1);
		if (error)
			return error;
	}
	return 0;
}

/* -EAGAIN where the plan has reserved less than is needed now. */
static int check_reservation(struct xfs_exchange *exchange, u64 rmap_bytes)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	u64 by_intents = pieces->count - pieces->rmaps_in_place;

	if (!xfs_has_rmapbt(exchange->mp))
		by_intents = 0;
	if (xfs_reservation_holds(&exchange->reservation, exchange->mp, exchange->pag,
				  by_intents, rmap_bytes))
		return 0;
	exchange->short_of_log++;
	return -EAGAIN;
}

/* The last that ends for a caller who is being killed: -EINTR. */
static int prepare(struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	u64 rmap_bytes = 0;
	int error;

	if (xfs_pieces_are_stale(&exchange->pieces))
		return -EAGAIN;
	if (exchange->forks.chosen)
		return reserve_quota(exchange, tp) ?: xfs_forks_prepare(exchange, tp);
	error = reserve_quota(exchange, tp) ?:
		xfs_exchange_lock_ags(exchange, tp) ?:
		xfs_rmap_check_all(exchange, tp, &rmap_bytes) ?:
		check_reservation(exchange, rmap_bytes) ?:
		xfs_room_keep(exchange);
	if (error)
		return error;
	xfs_exchange_release_ags(exchange, tp);
	return fatal_signal_pending(current) ? -EINTR : 0;
}

/* What a replaced record still maps belongs to the file no more. */
static int unmap(const struct xfs_exchange *exchange, struct xfs_trans *tp,
		 const struct xfs_piece *piece, int side)
{
	struct xfs_bmbt_irec old = record_of(piece, side, false);
	struct xfs_inode *ip = inode_of(exchange, side);
	int error, done = 0;

	if (!has_side(piece, side) || is_hole(&piece->old[side]))
		return 0;
	if (is_replaced(piece, side)) {
		if (!piece->rmaps_in_place)
			xfs_rmap_unmap_extent(tp, ip, XFS_DATA_FORK, &old);
		return 0;
	}
	error = xfs_bunmapi(tp, ip, old.br_startoff, old.br_blockcount,
			    XFS_BMAPI_REMAP, 1, &done);
	if (!error && !done)
		error = -EUCLEAN;
	return error;
}

/* Before XFS changes the trees with cursors of its own, and at the end. */
static void drop_cursors(struct xfs_exchange *exchange, int error)
{
	int i;

	for (i = 0; i < 2; i++) {
		if (exchange->map_cursor[i])
			xfs_btree_del_cursor(exchange->map_cursor[i], error);
		exchange->map_cursor[i] = NULL;
	}
}

/*
 * In the tree of a map, what xfs_iext_update_extent() did in memory.  From a piece to the
 * next the cursor keeps the blocks that both are below.
 */
static int update_tree(struct xfs_exchange *exchange, struct xfs_trans *tp, int side,
		       const struct xfs_bmbt_irec *old,
		       struct xfs_bmbt_irec *new)
{
	struct xfs_btree_cur *cursor = exchange->map_cursor[side];
	union xfs_btree_rec record;
	int error, found = 0;

	if (!cursor) {
		cursor = xfs_bmbt_init_cursor(exchange->mp, tp,
					      inode_of(exchange, side),
					      XFS_DATA_FORK);
		exchange->map_cursor[side] = cursor;
	}
	cursor->bc_rec.b = *old;
	error = xfs_btree_lookup(cursor, XFS_LOOKUP_EQi, &found);
	if (!error && !found)
		error = -EUCLEAN;
	if (!error) {
		xfs_bmbt_disk_set_all(&record.bmbt, new);
		error = xfs_btree_update(cursor, &record);
	}
	return error;
}

static int replace(struct xfs_exchange *exchange, struct xfs_trans *tp, int side,
		   struct xfs_bmbt_irec *new, bool rmap_in_place)
{
	struct xfs_inode *ip = inode_of(exchange, side);
	struct xfs_iext_cursor cursor;
	struct xfs_bmbt_irec old;

	if (!xfs_iext_lookup_extent(ip, &ip->i_df, new->br_startoff, &cursor,
				    &old) ||
	    old.br_startoff != new->br_startoff ||
	    old.br_blockcount != new->br_blockcount)
		return -EUCLEAN;
	xfs_iext_update_extent(ip, 0, &cursor, new);
	if (!rmap_in_place)
		xfs_rmap_map_extent(tp, ip, XFS_DATA_FORK, new);
	if (ip->i_df.if_format == XFS_DINODE_FMT_BTREE)
		return update_tree(exchange, tp, side, &old, new);
	xfs_trans_log_inode(tp, ip, XFS_ILOG_CORE | XFS_ILOG_DEXT);
	return 0;
}

static int map(struct xfs_exchange *exchange, struct xfs_trans *tp,
	       const struct xfs_piece *piece, int side)
{
	struct xfs_bmbt_irec new = record_of(piece, side, true);
	struct xfs_inode *ip = inode_of(exchange, side);

	if (!has_side(piece, side) || new.br_startblock == HOLESTARTBLOCK)
		return 0;
	if (is_replaced(piece, side))
		return replace(exchange, tp, side, &new, piece->rmaps_in_place);
	/* Where it takes them off again, as if they had been delayed. */
	if (XFS_BMAPI_REMAP_TAKES_DELAYED)
		ip->i_delayed_blks += new.br_blockcount;
	return xfs_bmapi_remap(tp, ip, new.br_startoff, new.br_blockcount,
			       new.br_startblock,
			       new.br_state == XFS_EXT_UNWRITTEN ?
			       XFS_BMAPI_PREALLOC : 0);
}

static int exchange_piece(struct xfs_exchange *exchange, struct xfs_trans *tp,
			  const struct xfs_piece *piece)
{
	int i, error = 0;

	if (!is_replaced(piece, 0) || !is_replaced(piece, 1))
		drop_cursors(exchange, 0);
	xfs_exchange_allow_ag(exchange, tp);
	for (i = 0; i < 2 && !error; i++)
		error = unmap(exchange, tp, piece, i);
	for (i = 0; i < 2 && !error; i++)
		error = map(exchange, tp, piece, i);
	return error;
}

/*
 * XFS updates up to 16 reverse mappings with one filling of the AGFL; barriers make it as
 * few as room.c has found that it holds for.
 */
static int exchange_all(struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	bool has_rmapbt = xfs_has_rmapbt(exchange->mp);
	LIST_HEAD(parted);
	u64 i, deferred = 0;
	int error = 0;

	for (i = 0; i < pieces->count && !error; i++) {
		const struct xfs_piece *piece = &pieces->piece[i];

		cond_resched();
		if (has_rmapbt && !piece->rmaps_in_place) {
			if (deferred && deferred % exchange->pieces_an_intent == 0)
				xfs_part_intents(tp, &parted);
			deferred++;
		}
		error = exchange_piece(exchange, tp, piece);
	}
	drop_cursors(exchange, error);
	xfs_join_intents(tp, &parted);
	return error;
}

/* Blocks of one that was a reflink's come into the other: both may be written by CoW. */
static void share_reflink(const struct xfs_exchange *exchange)
{
	struct xfs_inode *ip1 = inode_of(exchange, 0);
	struct xfs_inode *ip2 = inode_of(exchange, 1);

	if (!((ip1->i_diflags2 ^ ip2->i_diflags2) & XFS_DIFLAG2_REFLINK))
		return;
	ip1->i_diflags2 |= XFS_DIFLAG2_REFLINK;
	ip2->i_diflags2 |= XFS_DIFLAG2_REFLINK;
	xfs_ifork_init_cow(ip1);
	xfs_ifork_init_cow(ip2);
}

static void touch(struct file *file, struct xfs_inode *ip, struct xfs_trans *tp)
{
	if (!(file->f_mode & FMODE_NOCMTIME) && !IS_NOCMTIME(VFS_I(ip)))
		xfs_trans_ichgtime(tp, ip, XFS_ICHGTIME_MOD | XFS_ICHGTIME_CHG);
}

void xfs_exchange_touch(const struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	touch(exchange->request->file1, inode_of(exchange, 0), tp);
	touch(exchange->request->file2, inode_of(exchange, 1), tp);
}

/*
 * The size on disk.  It may be the one from before a write that has not been written back:
 * then a range ends behind it, and after a crash nobody would find what comes there.  All
 * that is before the end of the range has been written back.
 */
static void set_disk_size(const struct xfs_exchange *exchange, int side)
{
	const struct exchange_request *request = exchange->request;
	struct xfs_inode *ip = inode_of(exchange, side);
	u64 offset = side ? request->file2_offset : request->file1_offset;

	if (request->flags & EXCHRANGE_TO_EOF)
		ip->i_disk_size = exchange->new_size[side];
	else
		ip->i_disk_size = max_t(u64, ip->i_disk_size,
					offset + request->length);
}

/* Before the maps change; nothing of this fails. */
static void change_inodes(const struct xfs_exchange *exchange,
			  struct xfs_trans *tp)
{
	const u64 *blocks = exchange->pieces.blocks;
	int i;

	xfs_exchange_touch(exchange, tp);
	share_reflink(exchange);
	for (i = 0; i < 2; i++) {
		struct xfs_inode *ip = inode_of(exchange, i);

		set_disk_size(exchange, i);
		xfs_trans_mod_dquot_byino(tp, ip, XFS_TRANS_DQ_BCOUNT,
					  (s64)blocks[!i] - (s64)blocks[i]);
		xfs_trans_log_inode(tp, ip, XFS_ILOG_CORE);
	}
}

/* Bytes of the intents that @tp will log: they are made when it is committed. */
static u64 count_intent_bytes(const struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	unsigned int extent = xfs_has_rmapbt(exchange->mp) ? XFS_MAP_EXTENT_SIZE :
							     XFS_EXTENT_SIZE;
	const struct xfs_defer_pending *pending;
	u64 bytes = 0;

	list_for_each_entry(pending, &tp->t_dfops, dfp_list)
		if (pending->dfp_count)
			bytes += XFS_INTENT_HEADER_SIZE + XLOG_OP_HEADER_BYTES +
				 pending->dfp_count * extent;
	return bytes;
}

/* Bytes of the log that @tp takes as it is. */
static u64 count_log_bytes(const struct xfs_exchange *exchange,
			   struct xfs_trans *tp)
{
	struct xfs_log_item *item;
	u64 bytes = xfs_inode_log_bytes(exchange->mp) + count_intent_bytes(exchange, tp);

	list_for_each_entry(item, &tp->t_items, li_trans) {
		int regions = 0, size = 0;

		if (!test_bit(XFS_LI_DIRTY, &item->li_flags) ||
		    item->li_type == XFS_LI_INODE)
			continue;
		item->li_ops->iop_size(item, &regions, &size);
		if (item->li_type == XFS_LI_BUF)
			bytes += xfs_measure_item(container_of(item, struct xfs_buf_log_item,
							       bli_item), regions);
		else
			bytes += size + regions * XLOG_OP_HEADER_BYTES;
	}
	return bytes;
}

static int change(struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	int error;

	change_inodes(exchange, tp);
	if (exchange->forks.chosen)
		error = xfs_forks_change(exchange, tp);
	else
		error = xfs_rmap_change_all(exchange, tp) ?: exchange_all(exchange, tp) ?:
			xfs_unmap_freed_blocks(tp);
	if (trace_exchrange_xfs_transaction_enabled())
		trace_exchrange_xfs_transaction(exchange->request,
						exchange->reservation.log_bytes,
						count_log_bytes(exchange, tp),
						exchange->reservation.blocks,
						tp->t_blk_res_used,
						exchange->forks.chosen ? fork_rmaps(exchange) :
						exchange->pieces.rmaps_in_place,
						error);
	return error;
}

/* Of the inodes in memory, with ILOCK. */
void xfs_exchange_set_sizes(const struct xfs_exchange *exchange)
{
	int i;

	for (i = 0; i < 2 && exchange->request->flags & EXCHRANGE_TO_EOF; i++)
		i_size_write(VFS_I(inode_of(exchange, i)), exchange->new_size[i]);
}

static int alloc_transaction(const struct xfs_exchange *exchange,
			     struct xfs_trans **tp)
{
	/* Forks defer nothing. */
	struct xfs_trans_res reservation = {
		.tr_logres	= exchange->reservation.log_bytes,
		.tr_logcount	= exchange->forks.chosen ? 1 : 2,
		.tr_logflags	= exchange->forks.chosen ? 0 : XFS_TRANS_PERM_LOG_RES,
	};

	return xfs_trans_alloc(exchange->mp, &reservation,
			       exchange->reservation.blocks, 0,
			       XFS_TRANS_RES_FDBLKS, tp);
}

/*
 * The exchange, after xfs_exchange_plan().  0 in a dry run where it could be done.
 * -EAGAIN: the plan does not hold any more.  That, -ENOSPC, -EDQUOT, -EFBIG, -EINTR, and nothing
 * has changed; another error, and the file system is shut down.
 */
int xfs_exchange_pieces(struct xfs_exchange *exchange)
{
	struct xfs_trans *tp;
	int error;

	error = alloc_transaction(exchange, &tp);
	if (error)
		return error;
	xfs_exchange_join_maps(exchange, tp);

	error = prepare(exchange, tp);
	if (!error && exchange->dry_run) {
		xfs_forks_release(exchange);
		xfs_trans_cancel(tp);
		goto out_unlock;
	}
	if (!error)
		error = extend_counts(exchange, tp) ?: change(exchange, tp);
	if (error) {
		xfs_trans_cancel(tp);
		goto out_unlock;
	}
	error = xfs_trans_commit(tp);
	if (!error)
		xfs_exchange_set_sizes(exchange);
out_unlock:
	xfs_exchange_unlock_maps(exchange);
	xfs_room_give_back(exchange);
	return error;
}
