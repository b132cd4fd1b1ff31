// SPDX-License-Identifier: GPL-2.0
/*
 * The exchange of files in one transaction of XFS's: of two whole ones by their data forks, where
 * that can be (forks.c), else the pieces of pairs of ranges.
 *
 * First all that can fail without a change: memory, the log, space, quota, the number of
 * extents, a caller who is being killed.  Then all inodes' times, sizes and counts and,
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
 * Of more files than two the ILOCKs go with the first transaction, before the intents are
 * done (lock_maps.c).  What others may do then to a map that is not the pieces', with IOLOCK and
 * MMAPLOCK taken by us, is to allocate and to convert elsewhere in the file, as writeback
 * does.  Reverse mappings are a set: each intent, theirs and ours, takes blocks out of it or
 * puts blocks in that no other intent is about, and finds its neighbours as they are; so these
 * may be done in any order.  After a crash log recovery does them in that of the log.
 *
 * Whoever calls these holds all inodes' IOLOCK and MMAPLOCK exclusively, and nothing of
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
#include "map_records.h"
#include "rmap.h"
#include "room.h"

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

static int measure_maps(struct xfs_exchange *exchange, struct xfs_measure *measure)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	unsigned int nofs;
	int error;

	xfs_exchange_lock_maps(exchange);
	nofs = memalloc_nofs_save();
	error = xfs_pieces_are_stale(pieces) ? -EAGAIN :
		xfs_map_records_measure(exchange, &measure->map_bytes);
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
		xfs_rmap_measure_all(exchange, tp, &measure->rmap_bytes);
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
	const struct xfs_range *first = &exchange->ranges[0];

	trace_exchrange_xfs_plan(first->request, pieces, first->map[0]->replaced,
				 first->map[1]->replaced, rmaps,
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

/* Drops what xfs_exchange_plan() has found: nothing is planned, of the same ranges. */
void xfs_exchange_finish(struct xfs_exchange *exchange)
{
	xfs_exchange_forget_ags(exchange);
	xfs_rmap_forget(exchange);
	xfs_map_records_forget(exchange);
	xfs_forks_forget(exchange);
	xfs_forget_pieces(&exchange->pieces);
}

/*
 * Finds out what there is to do, and what it takes; xfs_exchange_finish() drops that
 * again, after an error too.  The ranges are set.  -E2BIG,
 * -ENOSPC, -ENOMEM, -EAGAIN for a delayed allocation or a map that changes, -EINTR; errors of
 * reading a map.
 */
int xfs_exchange_plan(struct xfs_exchange *exchange)
{
	int error;

	xfs_exchange_finish(exchange);
	error = plan_forks(exchange);
	if (error != -EOPNOTSUPP && error != -E2BIG)
		return error;
	xfs_exchange_finish(exchange);
	return plan_pieces(exchange);
}

/* --- in the transaction: ILOCK of all inodes, which are joined to it -------------- */

/* Quota of one kind, of all files together. */
struct gain {
	struct xfs_dquot	*dquot;
	s64			blocks;
	bool			has_loss;	/* of one of the files */
};

static struct xfs_dquot *dquot_of(const struct xfs_inode *ip, int kind)
{
	return kind == 0 ? ip->i_udquot : kind == 1 ? ip->i_gdquot : ip->i_pdquot;
}

static bool is_counted(const struct xfs_pieces *pieces, int kind)
{
	u32 i;

	for (i = 0; i < pieces->map_count; i++)
		if (dquot_of(pieces->maps[i].ip, kind))
			return true;
	return false;
}

/* -E2BIG: one transaction cannot change so many. */
static int add_gain(struct gain gains[XFS_MAX_DQUOTS], struct xfs_dquot *dquot, s64 blocks)
{
	unsigned int i;

	for (i = 0; i < XFS_MAX_DQUOTS; i++) {
		if (gains[i].dquot && gains[i].dquot != dquot)
			continue;
		gains[i].dquot = dquot;
		gains[i].blocks += blocks;
		gains[i].has_loss |= blocks < 0;
		return 0;
	}
	return -E2BIG;
}

static int reserve_blocks_of(struct xfs_trans *tp, struct xfs_mount *mp, int kind,
			     struct xfs_dquot *dquot, s64 blocks, unsigned int flags)
{
	return xfs_trans_reserve_quota_bydquots(tp, mp,
			kind == 0 ? dquot : NULL, kind == 1 ? dquot : NULL,
			kind == 2 ? dquot : NULL, blocks, 0,
			XFS_QMOPT_RES_REGBLKS | flags);
}

static int reserve_quota_of_kind(const struct xfs_exchange *exchange, struct xfs_trans *tp,
				 int kind)
{
	u64 grows = exchange->reservation.map_blocks;
	const struct xfs_pieces *pieces = &exchange->pieces;
	struct gain gains[XFS_MAX_DQUOTS] = { };
	int error = 0;
	u32 i;

	for (i = 0; i < pieces->map_count && !error; i++) {
		const struct xfs_map *map = &pieces->maps[i];

		if (dquot_of(map->ip, kind))
			error = add_gain(gains, dquot_of(map->ip, kind),
					 (s64)(map->come - map->leave));
	}
	for (i = 0; i < XFS_MAX_DQUOTS && !error; i++) {
		s64 more = gains[i].has_loss ? -gains[i].blocks : grows;

		if (gains[i].blocks <= 0)
			continue;
		error = reserve_blocks_of(tp, exchange->mp, kind, gains[i].dquot,
					  gains[i].blocks, 0) ?:
			reserve_blocks_of(tp, exchange->mp, kind, gains[i].dquot,
					  more, XFS_QMOPT_FORCE_RES);
	}
	return error;
}

/*
 * -EDQUOT or -ENOSPC where those who pay for a file gain more than their quotas allow.  For
 * each who gains by all files together, since of a dquot that has a reservation and loses
 * XFS gives back no more than the reservation.  What a map grows by is reserved in any case:
 * XFS counts wrongly what is used beyond a reservation.  Who gains by one file and loses by
 * another is asked, and has no reservation then.
 */
static int reserve_quota(const struct xfs_exchange *exchange,
			 struct xfs_trans *tp)
{
	int kind, error = 0;

	for (kind = 0; kind < 3 && !error; kind++)
		if (is_counted(&exchange->pieces, kind))
			error = reserve_quota_of_kind(exchange, tp, kind);
	return error;
}

/*
 * -EFBIG where a file would have more extents than it can.  The last check: it may
 * change an inode to count more of them, and if it does so for the first the others
 * have the room too.
 */
static int extend_counts(const struct xfs_exchange *exchange,
			 struct xfs_trans *tp)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	int error = 0;
	u32 i;

	if (exchange->forks.chosen)
		return 0;
	for (i = 0; i < pieces->map_count && !error; i++)
		error = xfs_iext_count_extend(tp, pieces->maps[i].ip, XFS_DATA_FORK,
					      pieces->maps[i].inserts + 1);
	return error;
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
		xfs_map_records_lock(exchange, tp) ?:
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
	struct xfs_inode *ip = xfs_piece_inode(&exchange->pieces, piece, side);
	struct xfs_bmbt_irec old = xfs_piece_record(piece, side, false);
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

/* Before XFS changes the tree with cursors of its own, and at the end. */
static void drop_cursor(struct xfs_map *map, int error)
{
	if (map->cursor)
		xfs_btree_del_cursor(map->cursor, error);
	map->cursor = NULL;
}

/*
 * In the tree of a map, what xfs_iext_update_extent() did in memory.  From a piece to the
 * next the cursor keeps the blocks that both are below.
 */
static int update_tree(struct xfs_map *map, struct xfs_trans *tp,
		       const struct xfs_bmbt_irec *old,
		       struct xfs_bmbt_irec *new)
{
	struct xfs_btree_cur *cursor = map->cursor;
	union xfs_btree_rec record;
	int error, found = 0;

	if (!cursor) {
		cursor = xfs_bmbt_init_cursor(tp->t_mountp, tp, map->ip, XFS_DATA_FORK);
		map->cursor = cursor;
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

static int replace(struct xfs_exchange *exchange, struct xfs_trans *tp,
		   const struct xfs_piece *piece, int side, struct xfs_bmbt_irec *new)
{
	struct xfs_map *map = xfs_map_of(&exchange->pieces, piece, side);
	struct xfs_inode *ip = map->ip;
	struct xfs_iext_cursor cursor;
	struct xfs_bmbt_irec old;

	if (!xfs_iext_lookup_extent(ip, &ip->i_df, new->br_startoff, &cursor,
				    &old) ||
	    old.br_startoff != new->br_startoff ||
	    old.br_blockcount != new->br_blockcount)
		return -EUCLEAN;
	xfs_iext_update_extent(ip, 0, &cursor, new);
	if (!piece->rmaps_in_place)
		xfs_rmap_map_extent(tp, ip, XFS_DATA_FORK, new);
	if (xfs_map_record_replace(exchange, tp, piece, side, new))
		return 0;
	if (ip->i_df.if_format == XFS_DINODE_FMT_BTREE)
		return update_tree(map, tp, &old, new);
	xfs_trans_log_inode(tp, ip, XFS_ILOG_CORE | XFS_ILOG_DEXT);
	return 0;
}

static int map(struct xfs_exchange *exchange, struct xfs_trans *tp,
	       const struct xfs_piece *piece, int side)
{
	struct xfs_bmbt_irec new = xfs_piece_record(piece, side, true);
	struct xfs_inode *ip = xfs_piece_inode(&exchange->pieces, piece, side);

	if (!has_side(piece, side) || new.br_startblock == HOLESTARTBLOCK)
		return 0;
	if (is_replaced(piece, side))
		return replace(exchange, tp, piece, side, &new);
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

	for (i = 0; i < 2; i++)
		if (!is_replaced(piece, i))
			drop_cursor(xfs_map_of(&exchange->pieces, piece, i), 0);
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
	for (i = 0; i < pieces->map_count; i++)
		drop_cursor(&pieces->maps[i], error);
	xfs_join_intents(tp, &parted);
	return error;
}

/* Blocks of one that was a reflink's come into the other: both may be written by CoW. */
static void share_reflink(const struct xfs_range *range)
{
	struct xfs_inode *ip1 = range->map[0]->ip;
	struct xfs_inode *ip2 = range->map[1]->ip;

	if (!((ip1->i_diflags2 ^ ip2->i_diflags2) & XFS_DIFLAG2_REFLINK))
		return;
	ip1->i_diflags2 |= XFS_DIFLAG2_REFLINK;
	ip2->i_diflags2 |= XFS_DIFLAG2_REFLINK;
	xfs_ifork_init_cow(ip1);
	xfs_ifork_init_cow(ip2);
}

/* Each open file has a say whether the times change. */
void xfs_exchange_touch(const struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	const struct exchange_vector *vector = exchange->vector;
	u32 i;

	for (i = 0; i < vector->file_count; i++) {
		struct file *file = vector->files[i];

		if (!(file->f_mode & FMODE_NOCMTIME) && !IS_NOCMTIME(file_inode(file)))
			xfs_trans_ichgtime(tp, XFS_I(file_inode(file)),
					   XFS_ICHGTIME_MOD | XFS_ICHGTIME_CHG);
	}
}

/*
 * The size on disk.  It may be the one from before a write that has not been written back:
 * then a range ends behind it, and after a crash nobody would find what comes there.  All
 * that is before the end of the range has been written back.
 */
static void set_disk_size(const struct xfs_range *range, int side)
{
	const struct exchange_request *request = range->request;
	u64 end = exchange_request_offset(request, side) + request->length;
	struct xfs_inode *ip = range->map[side]->ip;

	if (request->flags & EXCHRANGE_TO_EOF)
		ip->i_disk_size = range->new_size[side];
	else if (request->length)
		ip->i_disk_size = max_t(u64, ip->i_disk_size, end);
}

/* Before the maps change; nothing of this fails. */
static void change_inodes(const struct xfs_exchange *exchange,
			  struct xfs_trans *tp)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	u32 i;
	int side;

	xfs_exchange_touch(exchange, tp);
	for (i = 0; i < pieces->range_count; i++) {
		share_reflink(&pieces->ranges[i]);
		for (side = 0; side < 2; side++)
			set_disk_size(&pieces->ranges[i], side);
	}
	for (i = 0; i < pieces->map_count; i++) {
		const struct xfs_map *map = &pieces->maps[i];

		xfs_trans_mod_dquot_byino(tp, map->ip, XFS_TRANS_DQ_BCOUNT,
					  (s64)(map->come - map->leave));
		xfs_trans_log_inode(tp, map->ip, XFS_ILOG_CORE);
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
	u64 bytes = xfs_inode_log_bytes(&exchange->pieces) + count_intent_bytes(exchange, tp);

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
		trace_exchrange_xfs_transaction(exchange->ranges[0].request,
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
	const struct xfs_pieces *pieces = &exchange->pieces;
	u32 i;
	int side;

	for (i = 0; i < pieces->range_count; i++) {
		const struct xfs_range *range = &pieces->ranges[i];

		for (side = 0; side < 2 && range->request->flags & EXCHRANGE_TO_EOF; side++)
			i_size_write(VFS_I(range->map[side]->ip), range->new_size[side]);
	}
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

/* Where the ILOCKs go with the commit the sizes are there before: others may look then. */
static int commit(const struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	int error;

	if (!xfs_keeps_maps_locked(exchange))
		xfs_exchange_set_sizes(exchange);
	error = xfs_trans_commit(tp);
	if (!error && xfs_keeps_maps_locked(exchange))
		xfs_exchange_set_sizes(exchange);
	return error;
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
	if (error)
		xfs_trans_cancel(tp);
	else
		error = commit(exchange, tp);
out_unlock:
	if (xfs_keeps_maps_locked(exchange))
		xfs_exchange_unlock_maps(exchange);
	xfs_room_give_back(exchange);
	return error;
}
