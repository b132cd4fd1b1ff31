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
	u64		block;
	u64		piece;
	int		side;
	unsigned int	place;	/* in its leaf, from 1 on */
	struct xfs_buf	*leaf;	/* where it was found: locked, the transaction's; or NULL */
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
	if (walk->cursor && walk->alone)
		xfs_walk_end(walk->cursor);
	else if (walk->cursor)
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
		walk->cursor = xfs_rmapbt_init_cursor(mp, walk->alone ? NULL : walk->tp,
						      agf, pag);
	}
	xfs_perag_put(pag);
	return error;
}

/* What is done with one of the records. */
typedef int visit_function(struct xfs_rmap_walk *walk, struct xfs_rmap_change *rmap);

static struct xfs_piece *piece_of(const struct xfs_exchange *exchange,
				  const struct xfs_rmap_change *rmap)
{
	return &exchange->pieces.piece[rmap->piece];
}

/* All records of the pieces that change in place, as far as is known by then. */
static int visit_all(struct xfs_rmap_walk *walk, visit_function *visit)
{
	const struct xfs_exchange *exchange = walk->exchange;
	int error = 0;
	u64 i;

	for (i = 0; i < exchange->rmap_count && !error; i++) {
		struct xfs_rmap_change *rmap = &exchange->rmaps[i];

		if (!piece_of(exchange, rmap)->rmaps_in_place)
			continue;
		cond_resched();
		error = visit(walk, rmap);
	}
	xfs_rmap_leave_ag(walk, error);
	return error;
}

static int enter_ag_of(struct xfs_rmap_walk *walk, const struct xfs_rmap_change *rmap)
{
	return xfs_rmap_enter_ag(walk, xfs_ag_of(walk->exchange->mp, rmap->block));
}

/* --- the look at them --------------------------------------------------------------- */

/* The record at @place, from 1 on, of a leaf. */
static struct xfs_rmap_rec *record_at(const struct xfs_buf *leaf, unsigned int place)
{
	return leaf->b_addr + XFS_SHORT_BLOCK_HEADER + (place - 1) * XFS_RMAP_REC_SIZE;
}

static u64 end_of(const struct xfs_rmap_rec *record)
{
	return (u64)be32_to_cpu(record->rm_startblock) + be32_to_cpu(record->rm_blockcount);
}

static unsigned int count_of(const struct xfs_buf *leaf)
{
	const struct xfs_btree_block *block = leaf->b_addr;

	return be16_to_cpu(block->bb_numrecs);
}

/* As the tree has it. */
static struct xfs_rmap_rec encode(const struct xfs_rmap_irec *record)
{
	u64 offset = record->rm_offset;

	if (record->rm_flags & XFS_RMAP_UNWRITTEN)
		offset |= XFS_RMAP_OFF_UNWRITTEN;
	if (record->rm_flags & XFS_RMAP_BMBT_BLOCK)
		offset |= XFS_RMAP_OFF_BMBT_BLOCK;
	return (struct xfs_rmap_rec) {
		.rm_startblock	= cpu_to_be32(record->rm_startblock),
		.rm_blockcount	= cpu_to_be32(record->rm_blockcount),
		.rm_owner	= cpu_to_be64(record->rm_owner),
		.rm_offset	= cpu_to_be64(offset),
	};
}

/* The record that the cursor is on; false where it is on none, or on one of an attribute fork. */
bool xfs_rmap_read(const struct xfs_btree_cur *cursor, struct xfs_rmap_irec *record)
{
	const struct xfs_buf *leaf = cursor->bc_levels[0].bp;
	unsigned int place = cursor->bc_levels[0].ptr;
	const struct xfs_rmap_rec *there;
	u64 offset;

	if (!place || place > count_of(leaf))
		return false;
	there = record_at(leaf, place);
	offset = be64_to_cpu(there->rm_offset);
	*record = (struct xfs_rmap_irec) {
		.rm_startblock	= be32_to_cpu(there->rm_startblock),
		.rm_blockcount	= be32_to_cpu(there->rm_blockcount),
		.rm_owner	= be64_to_cpu(there->rm_owner),
		.rm_offset	= offset & XFS_RMAP_OFF_MASK,
		.rm_flags	= (offset & XFS_RMAP_OFF_UNWRITTEN ? XFS_RMAP_UNWRITTEN : 0) |
				  (offset & XFS_RMAP_OFF_BMBT_BLOCK ? XFS_RMAP_BMBT_BLOCK : 0),
	};
	return !(offset & XFS_RMAP_OFF_ATTR_FORK);
}

/* The leaf at @place, if the transaction has it already. */
static struct xfs_buf *find_kept(const struct xfs_exchange *exchange, xfs_agnumber_t agno,
				 xfs_daddr_t place)
{
	u64 i;

	for (i = 0; i < exchange->rmap_count; i++) {
		const struct xfs_rmap_change *rmap = &exchange->rmaps[i];
		const struct xfs_btree_block *block = rmap->leaf ? rmap->leaf->b_addr : NULL;

		if (block && be64_to_cpu(block->bb_u.s.bb_blkno) == place &&
		    xfs_ag_of(exchange->mp, rmap->block) == agno)
			return rmap->leaf;
	}
	return NULL;
}

/*
 * Puts the cursor on the last record that begins at @block or before it.  Records come in the
 * order of the tree, so a leaf that was left, and is kept, is not come back to; were it so, by
 * a damaged tree, this would wait for itself.
 */
static int go_to(struct xfs_rmap_walk *walk, xfs_agblock_t block)
{
	xfs_daddr_t busy;
	int error;

	error = xfs_walk_rmaps(walk->cursor, walk->agno, block, &busy);
	if (error != -EAGAIN)
		return error;
	if (walk->keeps && find_kept(walk->exchange, walk->agno, busy))
		return -EUCLEAN;
	return xfs_walk_rmaps(walk->cursor, walk->agno, block, NULL);
}

/* Puts the cursor on @record; *found tells whether it is there, exactly so. */
static int find(struct xfs_rmap_walk *walk, const struct xfs_rmap_irec *record, bool *found)
{
	const struct xfs_rmap_rec exact = encode(record);
	struct xfs_btree_cur *cursor = walk->cursor;
	struct xfs_rmap_irec there;
	unsigned int place;
	int error, any;

	if (cursor->bc_levels[0].bp)
		error = go_to(walk, record->rm_startblock);
	else
		error = xfs_rmap_lookup_le(cursor, record->rm_startblock, record->rm_owner,
					   record->rm_offset, record->rm_flags, &there, &any);
	if (error)
		return error;
	place = cursor->bc_levels[0].ptr;
	*found = place && place <= count_of(cursor->bc_levels[0].bp) &&
		 !memcmp(record_at(cursor->bc_levels[0].bp, place), &exact, sizeof(exact));
	return 0;
}

/* Whether @right begins within @left, or is what follows it on disk and in a file. */
static bool touches(const struct xfs_rmap_rec *left, const struct xfs_rmap_rec *right)
{
	const u64 flags = ~XFS_RMAP_OFF_MASK;
	u64 start = be32_to_cpu(right->rm_startblock);
	u64 offset1 = be64_to_cpu(left->rm_offset), offset2 = be64_to_cpu(right->rm_offset);

	if (end_of(left) != start)
		return end_of(left) > start;
	return left->rm_owner == right->rm_owner &&
	       (offset1 & flags) == (offset2 & flags) &&
	       (offset1 & ~flags) + be32_to_cpu(left->rm_blockcount) == (offset2 & ~flags);
}

/* The last record of the leaf on the left of the cursor's, or the first of that on the right. */
static int read_in_next(const struct xfs_rmap_walk *walk, bool right,
			struct xfs_rmap_rec *record, bool *found)
{
	const struct xfs_mount *mp = walk->exchange->mp;
	const struct xfs_btree_block *block = walk->cursor->bc_levels[0].bp->b_addr;
	u32 next = be32_to_cpu(right ? block->bb_u.s.bb_rightsib : block->bb_u.s.bb_leftsib);
	xfs_daddr_t place = xfs_place_in_ag(mp, walk->agno, next);
	struct xfs_buf *leaf, *kept;
	int error;

	*found = next != NULLAGBLOCK;
	if (!*found)
		return 0;
	kept = walk->keeps ? find_kept(walk->exchange, walk->agno, place) : NULL;
	leaf = kept;
	error = kept ? 0 : xfs_walk_read(walk->cursor, place, true, &leaf);
	if (error)
		return error;
	*found = count_of(leaf);
	if (*found)
		*record = *record_at(leaf, right ? 1 : count_of(leaf));
	if (!kept)
		xfs_trans_brelse(NULL, leaf);
	return 0;
}

static int read_beside(const struct xfs_rmap_walk *walk, bool right,
		       struct xfs_rmap_rec *record, bool *found)
{
	const struct xfs_buf *leaf = walk->cursor->bc_levels[0].bp;
	unsigned int place = walk->cursor->bc_levels[0].ptr;

	if (place == (right ? count_of(leaf) : 1))
		return read_in_next(walk, right, record, found);
	*found = true;
	*record = *record_at(leaf, right ? place + 1 : place - 1);
	return 0;
}

/* Whether a neighbour of the record that the cursor is on touches it as it is or will be. */
static int look_beside(const struct xfs_rmap_walk *walk, const struct xfs_rmap_irec *old,
		       const struct xfs_rmap_irec *new, bool *touched)
{
	const struct xfs_rmap_rec before = encode(old), after = encode(new);
	struct xfs_rmap_rec beside;
	bool found;
	int error;

	/* There is one: of the AG's own headers. */
	error = read_beside(walk, false, &beside, &found);
	if (error)
		return error;
	*touched = !found || touches(&beside, &before) || touches(&beside, &after);
	error = read_beside(walk, true, &beside, &found);
	if (!error && found)
		*touched |= touches(&before, &beside) || touches(&after, &beside);
	return error;
}

/* The transaction gets the leaf: nothing has to be looked for, or read, when it changes. */
static void keep(const struct xfs_rmap_walk *walk, struct xfs_rmap_change *rmap)
{
	rmap->leaf = walk->cursor->bc_levels[0].bp;
	rmap->place = walk->cursor->bc_levels[0].ptr;
	if (rmap->leaf->b_transp != walk->tp)
		xfs_trans_bjoin(walk->tp, rmap->leaf);
}

/*
 * Leaves the piece to intents where its record is not one that may change.  Errors of I/O;
 * -EINTR where the caller is being killed.
 */
static int check(struct xfs_rmap_walk *walk, struct xfs_rmap_change *rmap)
{
	struct xfs_piece *piece = piece_of(walk->exchange, rmap);
	const struct xfs_rmap_irec old = rmap_of(walk->exchange, piece, rmap->side, false);
	const struct xfs_rmap_irec new = rmap_of(walk->exchange, piece, rmap->side, true);
	bool exact = false, touched = false;
	int error;

	if (fatal_signal_pending(current))
		return -EINTR;
	error = enter_ag_of(walk, rmap);
	if (!error && !walk->listened_to)
		error = find(walk, &old, &exact);
	if (!error && exact) {
		xfs_measure_record(&walk->measure, walk->cursor);
		error = look_beside(walk, &old, &new, &touched);
	}
	piece->rmaps_in_place = exact && !touched;
	if (!error && piece->rmaps_in_place && walk->keeps)
		keep(walk, rmap);
	return error;
}

static void forget_leaves(const struct xfs_exchange *exchange)
{
	u64 i;

	for (i = 0; i < exchange->rmap_count; i++)
		exchange->rmaps[i].leaf = NULL;
}

static int check_all(struct xfs_exchange *exchange, struct xfs_rmap_walk *walk, u64 *log_bytes)
{
	struct xfs_pieces *pieces = &exchange->pieces;
	int error;
	u64 i;

	*log_bytes = 0;
	if (!pieces->rmaps_in_place)
		return 0;
	forget_leaves(exchange);
	error = visit_all(walk, check);
	*log_bytes = walk->measure.bytes;
	pieces->rmaps_in_place = 0;
	for (i = 0; i < pieces->count; i++)
		pieces->rmaps_in_place += pieces->piece[i].rmaps_in_place;
	return error;
}

/*
 * Finds out for which of the pieces that the plan has thought of the rmapbt's records can
 * change in place; the others go by intents.  The AGs are locked, by @tp, until the caller
 * cancels it.  *@log_bytes: of the log, that the change takes.
 */
int xfs_rmap_measure_all(struct xfs_exchange *exchange, struct xfs_trans *tp, u64 *log_bytes)
{
	struct xfs_rmap_walk walk = { .exchange = exchange, .tp = tp, .alone = true };

	return check_all(exchange, &walk, log_bytes);
}

/*
 * The same in the transaction, which gets the leaves that will change.  Nothing has changed so
 * far, and after an error nothing does.
 */
int xfs_rmap_check_all(struct xfs_exchange *exchange, struct xfs_trans *tp, u64 *log_bytes)
{
	struct xfs_rmap_walk walk = {
		.exchange	= exchange,
		.tp		= tp,
		.alone		= true,
		.keeps		= true,
	};

	return check_all(exchange, &walk, log_bytes);
}

/* --- the change --------------------------------------------------------------------- */

/*
 * Whether the keys above a leaf stay what they are when the record at @place gets another owner
 * and offset.  The lower key is that of the first record.  The upper one is the highest of
 * all: it is none of this record's if another one ends behind it, as the last does where
 * blocks have one owner.
 */
static bool keeps_keys(const struct xfs_buf *leaf, unsigned int place)
{
	return place > 1 &&
	       end_of(record_at(leaf, count_of(leaf))) > end_of(record_at(leaf, place));
}

static void overwrite(struct xfs_trans *tp, struct xfs_buf *leaf, unsigned int place,
		      const struct xfs_rmap_rec *new)
{
	struct xfs_rmap_rec *record = record_at(leaf, place);
	unsigned int offset = (void *)record - leaf->b_addr;

	*record = *new;
	xfs_trans_buf_set_type(tp, leaf, XFS_BLFT_BTREE_BUF);
	xfs_trans_log_buf(tp, leaf, offset, offset + sizeof(*new) - 1);
}

/*
 * Overwrites the record that the cursor is on, in its place.  XFS makes the keys of a leaf anew
 * each time, from all its records: that is most of what it does, and hardly ever needed.
 */
int xfs_rmap_update(struct xfs_rmap_walk *walk, const struct xfs_rmap_irec *new)
{
	struct xfs_buf *leaf = walk->cursor->bc_levels[0].bp;
	unsigned int place = walk->cursor->bc_levels[0].ptr;
	union xfs_btree_rec record = { .rmap = encode(new) };

	if (!keeps_keys(leaf, place))
		return xfs_btree_update(walk->cursor, &record);
	overwrite(walk->tp, leaf, place, &record.rmap);
	return 0;
}

/* With a cursor of the transaction, which has the leaf. */
static int change_by_cursor(struct xfs_rmap_walk *walk, const struct xfs_rmap_change *rmap,
			    const struct xfs_rmap_irec *new)
{
	const struct xfs_rmap_irec old = rmap_of(walk->exchange, piece_of(walk->exchange, rmap),
						 rmap->side, false);
	struct xfs_rmap_irec there;
	int error, found = 0;

	error = enter_ag_of(walk, rmap) ?:
		xfs_rmap_lookup_le(walk->cursor, old.rm_startblock, old.rm_owner,
				   old.rm_offset, old.rm_flags, &there, &found);
	if (!error && (!found || there.rm_startblock != old.rm_startblock ||
		       there.rm_owner != old.rm_owner))
		error = -EUCLEAN;
	return error ?: xfs_rmap_update(walk, new);
}

static int change(struct xfs_rmap_walk *walk, struct xfs_rmap_change *rmap)
{
	const struct xfs_rmap_irec new = rmap_of(walk->exchange, piece_of(walk->exchange, rmap),
						 rmap->side, true);
	const struct xfs_rmap_rec record = encode(&new);

	if (!keeps_keys(rmap->leaf, rmap->place))
		return change_by_cursor(walk, rmap, &new);
	overwrite(walk->tp, rmap->leaf, rmap->place, &record);
	return 0;
}

/* Gives the blocks that xfs_rmap_check_all() has found their new owners. */
int xfs_rmap_change_all(const struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	struct xfs_rmap_walk walk = { .exchange = exchange, .tp = tp };

	return visit_all(&walk, change);
}
