// SPDX-License-Identifier: GPL-2.0
/*
 * Blocks of the block maps that come free in the transaction, as a map becomes smaller.
 *
 * XFS frees such a block by an intent after the transaction: it takes the reverse mapping
 * away, and gives the space back.  The intent in memory knows the owner of the block, the
 * one in the log does not.  An rmapbt keeps blocks of one map that lie side by side as one
 * record.  Where log recovery frees one out of the middle of it, it does not know what to
 * write into the record of those behind it (xfs_rmap_unmap() with an unknown owner, Linux
 * 6.12), makes one for data of the file, and the next truncate of the file finds that and
 * shuts the file system down.
 *
 * So the reverse mapping goes in the transaction itself, where the owner is known, and the
 * intent gives only the space back.  Recovery accepts that: it expects the reverse mapping
 * whole, or gone.
 *
 * This changes rmapbts, so the AGs of the blocks must be among those that are locked before
 * the first change, and which blocks will go nobody can tell by then.  They are among those
 * that the pieces are in and their neighbours: a block goes when it has become too empty and
 * is joined with one beside it, at each level, and a block of which no record goes has always
 * enough to stay.  With each level this may reach a block further.
 */
#include <linux/blk_types.h>
#include <linux/math64.h>
#include <linux/sched/signal.h>

#include "ags.h"
#include "map_blocks.h"
#include "rmap.h"

static const struct xfs_btree_block *block_of(const struct xfs_btree_cur *cursor,
					      unsigned int level)
{
	return cursor->bc_levels[level].bp->b_addr;
}

static void add(const struct xfs_exchange *exchange, unsigned long *ags,
		const struct xfs_btree_block *block)
{
	const struct xfs_sb *sb = &exchange->mp->m_sb;
	u64 sector = be64_to_cpu(block->bb_u.l.bb_blkno);

	xfs_add_ag(exchange, ags, div_u64(sector >> (sb->sb_blocklog - SECTOR_SHIFT),
					  sb->sb_agblocks));
}

/* To the block at its side; *moved tells whether there is one. */
static int step(struct xfs_btree_cur *cursor, unsigned int level, bool right, int *moved)
{
	const struct xfs_btree_block *block = block_of(cursor, level);
	__be64 sibling = right ? block->bb_u.l.bb_rightsib : block->bb_u.l.bb_leftsib;

	*moved = 0;
	if (sibling == cpu_to_be64(NULLFSBLOCK))
		return 0;
	/* Its last record, or its first: the next one is in the next block. */
	cursor->bc_levels[level].ptr = right ? be16_to_cpu(block->bb_numrecs) : 1;
	return right ? xfs_btree_increment(cursor, level, moved) :
		       xfs_btree_decrement(cursor, level, moved);
}

static int look_up(struct xfs_btree_cur *cursor, u64 offset)
{
	int found;

	cursor->bc_rec.b = (struct xfs_bmbt_irec) { .br_startoff = offset };
	return xfs_btree_lookup(cursor, XFS_LOOKUP_LEi, &found);
}

/*
 * A block that may go is at most so many beside those that the range is in.  One that no range
 * is in goes at most beside one of them, so with many ranges it is no further.
 */
static unsigned int reach(unsigned int level)
{
	return level + 2;
}

static int find_in_level(const struct xfs_exchange *exchange, unsigned long *ags,
			 struct xfs_btree_cur *cursor, unsigned int level,
			 u64 first, u64 last)
{
	unsigned int behind = 0, i;
	int error, moved = 1;
	bool passed = false;
	__be64 end;

	error = look_up(cursor, last);
	if (error)
		return error;
	end = block_of(cursor, level)->bb_u.l.bb_blkno;
	error = look_up(cursor, first);
	for (i = 0; !error && moved && i < reach(level); i++)
		error = step(cursor, level, false, &moved);
	for (moved = 1; !error && moved && behind <= reach(level);) {
		const struct xfs_btree_block *block = block_of(cursor, level);

		add(exchange, ags, block);
		passed |= block->bb_u.l.bb_blkno == end;
		behind += passed;
		error = step(cursor, level, true, &moved);
	}
	return error;
}

static int find_in_map(const struct xfs_exchange *exchange, unsigned long *ags,
		       const struct xfs_range *range, int side)
{
	u64 start = range->start[side];
	struct xfs_btree_cur *cursor;
	unsigned int level;
	int error = 0;

	/* One beside the range may be joined, which takes its record away too. */
	cursor = xfs_bmbt_init_cursor(exchange->mp, NULL, range->map[side]->ip, XFS_DATA_FORK);
	for (level = 0; level + 1 < cursor->bc_nlevels && !error; level++)
		error = find_in_level(exchange, ags, cursor, level, start - !!start,
				      start + range->length);
	xfs_btree_del_cursor(cursor, error);
	return error;
}

/*
 * Adds to @ags the AGs of all blocks of the maps, as they are, that the pieces may set free.
 * ILOCK of all inodes, in a scope of memalloc_nofs_save(), no transaction.  Errors of reading
 * a map; -EINTR for a caller who is being killed.
 */
int xfs_find_map_blocks(const struct xfs_exchange *exchange, unsigned long *ags)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	u32 i;
	int side, error = 0;

	for (i = 0; i < pieces->range_count; i++)
		for (side = 0; side < 2 && !error; side++) {
			const struct xfs_range *range = &pieces->ranges[i];
			const struct xfs_map *map = range->map[side];

			cond_resched();
			if (fatal_signal_pending(current))
				return -EINTR;
			if (range->length && range->deletes[side] &&
			    map->ip->i_df.if_format == XFS_DINODE_FMT_BTREE)
				error = find_in_map(exchange, ags, range, side);
		}
	return error;
}

/* --- in the transaction, when the maps have changed ------------------------------- */

static int unmap(struct xfs_trans *tp, struct xfs_extent_free_item *item)
{
	const struct xfs_owner_info owner = {
		.oi_owner	= item->xefi_owner,
		.oi_flags	= XFS_OWNER_INFO_BMBT_BLOCK,
	};
	struct xfs_perag *pag = xfs_freed_perag(item);
	struct xfs_buf *agf;
	int error;

	/* As XFS does before each: the tree takes blocks from there, and gives some back. */
	error = xfs_free_extent_fix_freelist(tp, pag, &agf);
	/*
	 * All free blocks of the AG were freed a moment ago, some of them here, and XFS wants
	 * to be asked again in another transaction: so it does all of it then.
	 */
	if (error == -EAGAIN)
		return 0;
	if (!error)
		error = xfs_rmap_free(tp, agf, pag,
				      xfs_block_in_ag(tp->t_mountp, item->xefi_startblock),
				      item->xefi_blockcount, &owner);
	if (error)
		return error;
	/* For XFS: there is none any more. */
	item->xefi_owner = XFS_RMAP_OWN_NULL;
	item->xefi_flags &= ~XFS_EFI_BMBT_BLOCK;
	return 0;
}

/*
 * Takes away the reverse mappings of the blocks that @tp will free by intents, which it has
 * not logged yet.  The AGs are locked, or @tp has allocated the block.
 */
int xfs_unmap_freed_blocks(struct xfs_trans *tp)
{
	struct xfs_defer_pending *pending;
	struct xfs_extent_free_item *item;
	int error;

	if (!xfs_has_rmapbt(tp->t_mountp))
		return 0;
	list_for_each_entry(pending, &tp->t_dfops, dfp_list) {
		if (!xfs_frees_extents(pending))
			continue;
		list_for_each_entry(item, &pending->dfp_work, xefi_list) {
			if (!(item->xefi_flags & XFS_EFI_BMBT_BLOCK))
				continue;
			error = unmap(tp, item);
			if (error)
				return error;
		}
	}
	return 0;
}
