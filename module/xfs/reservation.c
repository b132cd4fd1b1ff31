// SPDX-License-Identifier: GPL-2.0
/*
 * How much of the log, and how many blocks, an exchange may need.
 *
 * Too little would shut the file system down in the middle; too much of the log would
 * wait for ever, with locks held.  So each figure is an upper bound, each is derived
 * here, and what does not fit is refused before anything changes.
 *
 * The exchange is a chain of transactions, of which the first decides:
 *
 *	t1	changes both block maps, and reverse mappings in place (rmap.c), and logs an
 *		intent for all that follows
 *	t2	one intent's reverse mappings: after t1, by XFS itself, if there is an rmapbt
 *	t3	one intent's blocks, that a block map had and has no more: likewise
 *
 * Each takes the same reservation, so that is the largest of them.  A buffer counts with
 * all of its block: though a change marks 128 bytes of it, one that is still in the
 * log from earlier is logged with all that has changed since it was written back.
 */
#include <linux/math64.h>
#include <linux/minmax.h>

#include "reservation.h"

/* The header of a log item, its regions' headers, and what rounds them up. */
#define ITEM_OVERHEAD		128
/* An intent of up to 16 extents, with its done item: xfs_rui_log_format, xfs_map_extent. */
#define INTENT_BYTES		(16 * 32 + 2 * ITEM_OVERHEAD)
/* Six dquots, as XFS_DQUOT_LOGRES: xfs_dq_logformat, xfs_disk_dquot. */
#define DQUOT_BYTES		(6 * (24 + 104 + ITEM_OVERHEAD))
/* Ten thousand take a second. */
#define MAX_RMAP_PIECES		16384
/* A freed extent is logged with up to 15 others: XFS_EFI_MAX_FAST_EXTENTS. */
#define FREES_AN_INTENT		16

static u64 buffers(const struct xfs_mount *mp, u64 count)
{
	return count * (mp->m_sb.sb_blocksize + ITEM_OVERHEAD);
}

static u64 sectors(const struct xfs_mount *mp, u64 count)
{
	return count * (mp->m_sb.sb_sectsize + ITEM_OVERHEAD);
}

/*
 * Both inodes with the roots of their maps, as xfs_calc_inode_res() counts them: each
 * transaction of the chain logs them.
 */
u64 xfs_inode_log_bytes(const struct xfs_mount *mp)
{
	return 2 * (mp->m_sb.sb_inodesize + 2 * 72 + 2 * ITEM_OVERHEAD);
}

/* Records that fit into the inode itself; the root of a tree there has one less. */
static u64 inline_records(const struct xfs_inode *ip)
{
	u64 bytes = ip->i_forkoff ? (u64)ip->i_forkoff << 3 :
		    ip->i_mount->m_sb.sb_inodesize - XFS_DINODE_V3_SIZE;

	return bytes / XFS_BMBT_REC_SIZE;
}

/* Blocks of a map: that are changed or freed, and that are new, at the most. */
struct map_blocks {
	u64	touched;
	u64	allocated;
};

/*
 * How often a map goes from the inode into a tree, with a block for its root.  Once, and
 * again after each record that went, by which it may have become small enough to go back.
 */
static u64 count_conversions(const struct xfs_pieces *pieces, int side)
{
	const struct xfs_inode *ip = pieces->ip[side];
	u64 records = ip->i_df.if_nextents;
	u64 room = inline_records(ip);

	if (records + pieces->inserts[side] <= room ||
	    records > room + pieces->deletes[side])
		return 0;
	return 1 + min(pieces->deletes[side], pieces->inserts[side]);
}

/*
 * The blocks of one map, level by level from the leaves.
 *
 * A record that is replaced changes its leaf; of the first one there XFS logs the key in
 * the block above too, though it stays the same, and so on up.  Another piece changes the
 * record in one leaf, and may borrow from, merge with or spill into the leaf on either
 * side, when it takes the old mapping out and when it puts the new one in: six blocks of a
 * level, or all that there are.
 *
 * A split needs a full block, so a level that never has as many records as a block takes
 * has none, and makes two half full ones.  One that is full now takes one record for that;
 * a half full one takes as many as a block's minimum; and two that were merged, after a
 * record went, may be full at once.  Each split adds a record to the level above, which
 * splits likewise; up to the level whose blocks the root in the inode has room for,
 * however many there may be.  Where it may not have, that root goes into a block of its own
 * once, and again after each record that went, by which it may have come back.
 */
static struct map_blocks count_map_blocks(const struct xfs_pieces *pieces, int side)
{
	const struct xfs_inode *ip = pieces->ip[side];
	const struct xfs_mount *mp = ip->i_mount;
	u64 inserts = pieces->inserts[side];
	u64 touches = (pieces->one_file ? 12 : 6) *
		      (pieces->count - pieces->replaced[side]);
	u64 replaced = pieces->replaced[side];
	u64 records = ip->i_df.if_nextents;
	struct map_blocks map = { };
	unsigned int level;

	/* One file is counted once. */
	if (pieces->one_file && side)
		return map;
	map.allocated = count_conversions(pieces, side);
	if (!map.allocated && ip->i_df.if_format == XFS_DINODE_FMT_EXTENTS)
		return map;
	for (level = 0; level < mp->m_bm_maxlevels[XFS_DATA_FORK]; level++) {
		u64 fill = mp->m_bmap_dmnr[level > 0];
		u64 blocks = DIV_ROUND_UP_ULL(records, fill) + 1;
		u64 splits = min(inserts, blocks + pieces->deletes[side] +
				 DIV_ROUND_UP_ULL(inserts, fill));

		if (records + inserts < mp->m_bmap_dmxr[level > 0])
			splits = 0;
		map.touched += min(blocks, touches + replaced);
		map.allocated += splits;
		if (blocks + splits < inline_records(ip))
			break;
		map.allocated += min(splits, pieces->deletes[side] + 1);
		records = blocks + splits;
		inserts = splits;
	}
	/* A level more, of a tree that was larger once. */
	map.touched += map.allocated + 1;
	return map;
}

/*
 * Blocks of the free space trees, and of the tree of reverse mappings, of all AGs.  No
 * more than these can be logged that are there already.  U64_MAX / 2 where an AG has
 * not been looked at yet.
 */
static u64 count_ag_blocks(struct xfs_mount *mp)
{
	u64 blocks = 0;
	xfs_agnumber_t agno;

	for (agno = 0; agno < mp->m_sb.sb_agcount; agno++) {
		struct xfs_perag *pag = xfs_perag_get(mp, agno);
		bool known = pag && (pag->pagf_freeblks || pag->pagf_flcount);

		/* Three roots are no part of agf_btreeblks. */
		if (known)
			blocks += pag->pagf_btreeblks + 3;
		if (pag)
			xfs_perag_put(pag);
		if (!known)
			return U64_MAX / 2;
	}
	return blocks;
}

/*
 * What @count single blocks, allocated or freed one by one, change in the trees of their
 * AGs: for each, a whole split of every tree (xfs_allocfree_block_count()), but no more
 * than all there are, and what these may grow by.
 */
static u64 count_free_space_blocks(struct xfs_mount *mp, u64 count)
{
	u64 one = xfs_allocfree_block_count(mp, 1);

	return min(count * one, count_ag_blocks(mp) + 3 * count + one);
}

/* And the headers: AGF, AGFL, and the superblock's counters. */
static u64 allocations(struct xfs_mount *mp, u64 count)
{
	u64 headers = min_t(u64, 2 * count, 2 * mp->m_sb.sb_agcount) + 1;

	return buffers(mp, count_free_space_blocks(mp, count)) +
	       sectors(mp, headers);
}

/* All intents that are still to be done may be logged again in each transaction. */
static u64 count_rmap_intents(const struct xfs_pieces *pieces)
{
	const struct xfs_mount *mp = pieces->ip[0]->i_mount;

	return xfs_has_rmapbt(mp) ?
	       DIV_ROUND_UP_ULL(pieces->count, PIECES_AN_INTENT) + 1 : 0;
}

/*
 * The blocks of the rmapbts that change in place: a leaf for each record, two a piece; and
 * above it, since the leaf's keys may change, a block of each level.  At each level no more
 * than all AGs have there, a node of @fill blocks below it at the least, and a root.
 */
static u64 count_rmap_blocks(struct xfs_mount *mp, const struct xfs_pieces *pieces)
{
	u64 records = 2 * pieces->rmaps_in_place;
	u64 fill = mp->m_rmap_mnr[1];
	u64 blocks = 0, of_level;
	unsigned int level;

	if (!records)
		return 0;
	of_level = count_ag_blocks(mp);
	for (level = 0; level < mp->m_rmap_maxlevels; level++) {
		blocks += min(records, of_level);
		of_level = div64_u64(of_level, fill) + mp->m_sb.sb_agcount;
	}
	return blocks;
}

/*
 * The updates of one intent: two old mappings and two new ones a piece, each of which may
 * take a record out and put one in, by a whole split; and AGFLs that are filled before.
 */
static u64 rmap_updates(struct xfs_mount *mp)
{
	u64 updates = 4 * PIECES_AN_INTENT;
	u64 blocks = updates * 2 * (2 * mp->m_rmap_maxlevels - 1);

	if (!xfs_has_rmapbt(mp))
		return 0;
	return buffers(mp, blocks) + allocations(mp, updates);
}

static u64 log_bytes(const struct xfs_mount *mp)
{
	return (u64)mp->m_sb.sb_logblocks * mp->m_sb.sb_blocksize;
}

/*
 * The most pieces: each has an intent's part in the log.  Where there are intents XFS looks
 * at all of them each time that it goes on to the next, with both files locked.
 */
u64 xfs_piece_limit(const struct xfs_mount *mp)
{
	u64 limit = log_bytes(mp) / INTENT_BYTES;

	return xfs_has_rmapbt(mp) ? min_t(u64, limit, MAX_RMAP_PIECES) : limit;
}

/*
 * What doing all the intents logs, one after the other: after a crash, log recovery does
 * it without the tail of the log moving on.  Each changes four places of the rmapbt, a
 * leaf and perhaps another block there.  Where the trees are small, their blocks are in
 * the log's buffer still when they are changed again, and go to the log once or twice.
 */
static u64 chain_bytes(struct xfs_mount *mp, u64 intents)
{
	u64 each = intents * (buffers(mp, 4 * 2) + sectors(mp, 4));
	u64 trees = count_ag_blocks(mp);

	if (trees > log_bytes(mp) / 16 / (mp->m_sb.sb_blocksize + ITEM_OVERHEAD))
		return each;
	return min(each, 2 * buffers(mp, trees) + intents * 2 * ITEM_OVERHEAD);
}

/*
 * -E2BIG where @pieces do not fit into one transaction.
 *
 * XFS lets a transaction go on when there is room for its size again, and moves the log's
 * tail past its intents only afterwards: so that has to be small beside the log, an
 * eighth of it, which is also what a log's buffer collects before it is written.  All
 * that the intents log takes a quarter at the most.  ILOCK of both inodes.
 *
 * A piece whose reverse mappings may change in place counts with an intent nevertheless:
 * whether they can shows when the log is reserved already.
 */
int xfs_reserve_pieces(const struct xfs_pieces *pieces,
		       struct xfs_reservation *reservation)
{
	struct xfs_mount *mp = pieces->ip[0]->i_mount;
	struct map_blocks map[2] = {
		count_map_blocks(pieces, 0), count_map_blocks(pieces, 1),
	};
	u64 touched = map[0].touched + map[1].touched;
	u64 allocated = map[0].allocated + map[1].allocated;
	u64 intents = count_rmap_intents(pieces) +
		      DIV_ROUND_UP_ULL(touched, FREES_AN_INTENT) + 2;
	u64 common = xfs_inode_log_bytes(mp) + DQUOT_BYTES + intents * INTENT_BYTES;
	u64 t1 = buffers(mp, touched + count_rmap_blocks(mp, pieces)) +
		 allocations(mp, allocated);
	u64 t2 = rmap_updates(mp);
	u64 t3 = allocations(mp, min_t(u64, FREES_AN_INTENT, touched));

	*reservation = (struct xfs_reservation) {
		.log_bytes	= common + max3(t1, t2, t3),
		.log_limit	= log_bytes(mp) / 8,
		.map_blocks	= allocated,
		.blocks		= allocated,
	};
	if (chain_bytes(mp, count_rmap_intents(pieces)) > log_bytes(mp) / 4 ||
	    reservation->log_bytes > reservation->log_limit ||
	    reservation->log_bytes > INT_MAX || reservation->blocks > INT_MAX)
		return -E2BIG;
	return 0;
}

/*
 * Free blocks that an AG must have, beside those that it keeps for its own trees, for
 * @map_blocks to be allocated there for certain: these, and for each of them the AGFL
 * filled for whole splits.
 */
u64 xfs_ag_blocks_needed(const struct xfs_mount *mp, u64 map_blocks)
{
	u64 freelist = 2 * (2 * mp->m_alloc_maxlevels + mp->m_rmap_maxlevels);

	return 2 * map_blocks + 2 * freelist;
}
