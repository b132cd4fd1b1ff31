// SPDX-License-Identifier: GPL-2.0
/*
 * Reverse mappings that change in place.
 *
 * The rmapbt of an AG has a record for each extent there: where it is, which file has it,
 * and where in the file.  XFS updates it by intents, after the transaction that changed the
 * map: for a mapping that goes from one file to the other it takes a record out and puts
 * one in, each time by a transaction more.  Where the record is that mapping, no more and
 * no less, the two differ in the owner and the offset alone, and these are overwritten
 * in the transaction itself.  The place of a record in the tree comes of its first block,
 * and of the owner only where a block has several: so nothing moves, splits or merges,
 * and the keys above the leaf are all that may change besides.
 *
 * That is done where it is certain, for both mappings of a piece:
 *
 *	- neither file is, or was, a reflink: else a block may have several owners
 *	- both block maps have a record replaced for the piece
 *	- the rmapbt has exactly the record that the block map has
 *	- neither the record on its left nor that on its right continues it, as it is
 *	  or as it will be: XFS keeps two such as one
 *	- nobody listens: online repair does, while it makes the tree anew
 *
 * All other pieces go by intents.  They come afterwards, and join their neighbours
 * as they find them then; a record that changes in place stays what it is until then,
 * so that neither way is in the other's way.
 *
 * Of two records beside each other that both change in place, and are of one range, one
 * continues the other afterwards only if it did before: offsets in one file become offsets in
 * the other by adding the same.  Of two ranges, it does only if one continues the other in
 * the block map too, and there the later one joins the earlier, and is not replaced.  So it
 * suffices to look at all of them before the first one changes.
 *
 * The locks of the AGs' headers (AGF) keep the trees as they are between the look and the
 * change.  They are taken after the ILOCKs, in ascending order as everywhere in XFS,
 * and kept until the transaction is committed; the AG that the block maps grow in is not
 * before any of them.
 */
#include <linux/mm.h>
#include <linux/notifier.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include "rmap.h"

/* One of the two reverse mappings of a piece. */
struct xfs_rmap_change {
	u64	block;
	u64	piece;
	int	side;
};

/* Drops what the plan has found: all pieces go by intents. */
void xfs_rmap_forget(struct xfs_exchange *exchange)
{
	struct xfs_pieces *pieces = &exchange->pieces;
	u64 i;

	for (i = 0; i < pieces->count; i++)
		pieces->piece[i].rmaps_in_place = false;
	pieces->rmaps_in_place = 0;
	kvfree(exchange->rmaps);
	exchange->rmaps = NULL;
	exchange->rmap_count = 0;
}

static int compare(const void *a, const void *b)
{
	u64 x = ((const struct xfs_rmap_change *)a)->block;
	u64 y = ((const struct xfs_rmap_change *)b)->block;

	return (x > y) - (x < y);
}

/*
 * Collects the reverse mappings that may change in place, in the order that the trees
 * have, so that each of their blocks is looked at once: XFS finds a block that a transaction
 * has already by walking through all that it has.  -ENOMEM.
 */
int xfs_rmap_collect(struct xfs_exchange *exchange)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	struct xfs_rmap_change *rmaps;
	u64 i, count = 0;
	int side;

	if (!pieces->rmaps_in_place)
		return 0;
	rmaps = kvmalloc_array(2 * pieces->rmaps_in_place, sizeof(*rmaps),
			       GFP_KERNEL_ACCOUNT);
	if (!rmaps)
		return -ENOMEM;
	for (i = 0; i < pieces->count; i++)
		for (side = 0; side < 2 && pieces->piece[i].rmaps_in_place; side++)
			rmaps[count++] = (struct xfs_rmap_change) {
				.block	= pieces->piece[i].old[side].block,
				.piece	= i,
				.side	= side,
			};
	sort(rmaps, count, sizeof(*rmaps), compare, NULL);
	exchange->rmaps = rmaps;
	exchange->rmap_count = count;
	return 0;
}

/* --- in the transaction: ILOCK of both inodes ------------------------------------- */

/* Until the transaction is committed.  In ascending order, as everywhere in XFS. */
int xfs_rmap_lock_ag(const struct xfs_exchange *exchange, struct xfs_trans *tp,
		     xfs_agnumber_t agno)
{
	struct xfs_perag *pag = xfs_perag_get(exchange->mp, agno);
	struct xfs_buf *agf;
	int error;

	if (!pag)
		return -EUCLEAN;
	error = xfs_alloc_read_agf(pag, tp, 0, &agf);
	xfs_perag_put(pag);
	return error;
}

/*
 * Locks the AGs' headers in ascending order, until the transaction is committed.  What
 * else it allocates comes from the last of them or from one behind it.
 */
int xfs_rmap_lock_ags(const struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	xfs_agnumber_t agno, last = NULLAGNUMBER;
	u64 i;

	for (i = 0; i < exchange->rmap_count; i++) {
		int error;

		agno = xfs_ag_of(exchange->mp, exchange->rmaps[i].block);
		if (agno == last)
			continue;
		error = xfs_rmap_lock_ag(exchange, tp, agno);
		if (error)
			return error;
		last = agno;
	}
	if (last != NULLAGNUMBER)
		xfs_trans_set_lowest_ag(tp, last);
	return 0;
}

/* What the rmapbt should have for @piece of @side, before the exchange or after it. */
static struct xfs_rmap_irec rmap_of(const struct xfs_exchange *exchange,
				    const struct xfs_piece *piece, int side,
				    bool after)
{
	const struct xfs_mapping *mapping = &piece->old[side];
	int owner = after ? !side : side;

	return (struct xfs_rmap_irec) {
		.rm_startblock	= xfs_block_in_ag(exchange->mp, mapping->block),
		.rm_blockcount	= piece->length,
		.rm_owner	= VFS_I(xfs_piece_inode(&exchange->pieces, piece, owner))->i_ino,
		.rm_offset	= piece->offset[owner],
		.rm_flags	= mapping->unwritten ? XFS_RMAP_UNWRITTEN : 0,
	};
}

void xfs_rmap_leave_ag(struct xfs_rmap_walk *walk, int error)
{
	if (walk->cursor)
		xfs_btree_del_cursor(walk->cursor, error);
	walk->cursor = NULL;
}

/* Locks the AG's header if it is not locked. */
int xfs_rmap_enter_ag(struct xfs_rmap_walk *walk, xfs_agnumber_t agno)
{
	struct xfs_mount *mp = walk->exchange->mp;
	struct xfs_perag *pag;
	struct xfs_buf *agf;
	int error;

	if (walk->cursor && walk->agno == agno)
		return 0;
	xfs_rmap_leave_ag(walk, 0);
	pag = xfs_perag_get(mp, agno);
	if (!pag)
		return -EUCLEAN;
	error = xfs_alloc_read_agf(pag, walk->tp, 0, &agf);
	if (!error) {
		walk->agno = agno;
		/* It begins to with the header of the AG locked. */
		walk->listened_to = xfs_rmap_is_listened_to(pag);
		walk->cursor = xfs_rmapbt_init_cursor(mp, walk->tp, agf, pag);
	}
	xfs_perag_put(pag);
	return error;
}

/* What is done with the record of @side of a piece, with the cursor in its AG's tree. */
typedef int visit_function(struct xfs_rmap_walk *walk, struct xfs_piece *piece, int side);

/*
 * All records of the pieces that change in place, as far as is known by then.  *@log_bytes:
 * of the log, that changing those which are exact takes.
 */
static int visit_all(const struct xfs_exchange *exchange, struct xfs_trans *tp,
		     visit_function *visit, u64 *log_bytes)
{
	struct xfs_rmap_walk walk = { .exchange = exchange, .tp = tp };
	int error = 0;
	u64 i;

	for (i = 0; i < exchange->rmap_count && !error; i++) {
		const struct xfs_rmap_change *rmap = &exchange->rmaps[i];
		struct xfs_piece *piece = &exchange->pieces.piece[rmap->piece];

		if (!piece->rmaps_in_place)
			continue;
		cond_resched();
		error = xfs_rmap_enter_ag(&walk, xfs_ag_of(exchange->mp, rmap->block)) ?:
			visit(&walk, piece, rmap->side);
	}
	xfs_rmap_leave_ag(&walk, error);
	*log_bytes = walk.measure.bytes;
	return error;
}

/* Puts the cursor on @record; *found tells whether it is there, exactly so. */
static int look_up(struct xfs_btree_cur *cursor,
		   const struct xfs_rmap_irec *record, bool *found)
{
	struct xfs_rmap_irec there;
	int error, any = 0;

	error = xfs_rmap_lookup_le(cursor, record->rm_startblock,
				   record->rm_owner, record->rm_offset,
				   record->rm_flags, &there, &any);
	*found = !error && any &&
		 there.rm_startblock == record->rm_startblock &&
		 there.rm_blockcount == record->rm_blockcount &&
		 there.rm_owner == record->rm_owner &&
		 there.rm_offset == record->rm_offset &&
		 there.rm_flags == record->rm_flags;
	return error;
}

/* Whether @right begins within @left, or is what follows it on disk and in a file. */
static bool touches(const struct xfs_rmap_irec *left,
		    const struct xfs_rmap_irec *right)
{
	u64 end = (u64)left->rm_startblock + left->rm_blockcount;

	if (end != right->rm_startblock)
		return end > right->rm_startblock;
	return left->rm_owner == right->rm_owner &&
	       left->rm_flags == right->rm_flags &&
	       left->rm_offset + left->rm_blockcount == right->rm_offset;
}

/* Whether a neighbour of the record that the cursor is on touches it as it is or will be. */
static int look_beside(struct xfs_btree_cur *cursor, const struct xfs_rmap_irec *old,
		       const struct xfs_rmap_irec *new, bool *touched)
{
	struct xfs_rmap_irec beside;
	int error, found = 0;

	/* There is one: of the AG's own headers. */
	error = xfs_btree_decrement(cursor, 0, &found);
	if (!error && found)
		error = xfs_rmap_get_rec(cursor, &beside, &found);
	if (error)
		return error;
	*touched = !found || touches(&beside, old) || touches(&beside, new);

	error = xfs_btree_increment(cursor, 0, &found);
	if (!error && found)
		error = xfs_btree_increment(cursor, 0, &found);
	if (!error && found)
		error = xfs_rmap_get_rec(cursor, &beside, &found);
	if (!error && found)
		*touched |= touches(old, &beside) || touches(new, &beside);
	return error;
}

/*
 * Leaves the piece to intents where its record is not one that may change.  Errors of I/O;
 * -EINTR where the caller is being killed.
 */
static int check(struct xfs_rmap_walk *walk, struct xfs_piece *piece, int side)
{
	const struct xfs_rmap_irec old = rmap_of(walk->exchange, piece, side, false);
	const struct xfs_rmap_irec new = rmap_of(walk->exchange, piece, side, true);
	bool exact = false, touched = false;
	int error = 0;

	if (fatal_signal_pending(current))
		return -EINTR;
	if (!walk->listened_to)
		error = look_up(walk->cursor, &old, &exact);
	if (error || !exact)
		goto out;
	xfs_measure_record(&walk->measure, walk->cursor);
	error = look_beside(walk->cursor, &old, &new, &touched);
out:
	piece->rmaps_in_place = exact && !touched;
	return error;
}

/*
 * Finds out for which of the pieces that the plan has thought of the rmapbt's records can
 * change in place; the others go by intents.  Nothing has changed so far, and after an error
 * nothing does.  The AGs are locked.  *@log_bytes: of the log, that the change takes.
 */
int xfs_rmap_check_all(struct xfs_exchange *exchange, struct xfs_trans *tp,
		       u64 *log_bytes)
{
	struct xfs_pieces *pieces = &exchange->pieces;
	int error;
	u64 i;

	*log_bytes = 0;
	if (!pieces->rmaps_in_place)
		return 0;
	error = visit_all(exchange, tp, check, log_bytes);
	pieces->rmaps_in_place = 0;
	for (i = 0; i < pieces->count; i++)
		pieces->rmaps_in_place += pieces->piece[i].rmaps_in_place;
	return error;
}

/* Overwrites the record that the cursor is on, in its place. */
int xfs_rmap_update(struct xfs_rmap_walk *walk, const struct xfs_rmap_irec *new)
{
	u64 offset = new->rm_offset;
	union xfs_btree_rec record = { .rmap = {
		.rm_startblock	= cpu_to_be32(new->rm_startblock),
		.rm_blockcount	= cpu_to_be32(new->rm_blockcount),
		.rm_owner	= cpu_to_be64(new->rm_owner),
	} };

	if (new->rm_flags & XFS_RMAP_UNWRITTEN)
		offset |= XFS_RMAP_OFF_UNWRITTEN;
	if (new->rm_flags & XFS_RMAP_BMBT_BLOCK)
		offset |= XFS_RMAP_OFF_BMBT_BLOCK;
	record.rmap.rm_offset = cpu_to_be64(offset);
	return xfs_btree_update(walk->cursor, &record);
}

static int change(struct xfs_rmap_walk *walk, struct xfs_piece *piece, int side)
{
	const struct xfs_rmap_irec old = rmap_of(walk->exchange, piece, side, false);
	const struct xfs_rmap_irec new = rmap_of(walk->exchange, piece, side, true);
	bool found;
	int error;

	error = look_up(walk->cursor, &old, &found);
	if (!error && !found)
		error = -EUCLEAN;
	return error ?: xfs_rmap_update(walk, &new);
}

/* Gives the blocks that xfs_rmap_check_all() has found their new owners. */
int xfs_rmap_change_all(const struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	u64 log_bytes;

	return visit_all(exchange, tp, change, &log_bytes);
}
