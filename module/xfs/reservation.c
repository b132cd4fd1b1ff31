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
 * log from earlier is logged with all that has changed since it was written back.  Where
 * records are replaced that would be many times what it comes to, and measure.c looks.
 */
#include <linux/math64.h>
#include <linux/minmax.h>

#include "reservation.h"

/* The header of a log item, its regions' headers, and what rounds them up. */
#define ITEM_OVERHEAD		128
/*
 * An intent and its done item: 16 bytes each, two headers of operations, and what rounds
 * them up to 8 bytes; and its extents, xfs_map_extent or xfs_extent.
 */
#define INTENT_OVERHEAD		(2 * 40)
#define UPDATES_A_PIECE		4
#define RMAP_INTENT_BYTES	(INTENT_OVERHEAD + PIECES_AN_INTENT * UPDATES_A_PIECE * 32)
#define FREE_INTENT_BYTES	(INTENT_OVERHEAD + FREES_AN_INTENT * 16)
/* A dquot, as XFS_DQUOT_LOGRES has six: xfs_dq_logformat, xfs_disk_dquot. */
#define DQUOT_BYTES		(24 + 104 + ITEM_OVERHEAD)
/* Ten thousand take a second. */
#define MAX_RMAP_PIECES		16384
/* A freed extent is logged with up to 15 others: XFS_EFI_MAX_FAST_EXTENTS. */
#define FREES_AN_INTENT		16
/* Blocks that an AGFL takes at first, where it is empty: xfs_alloc_min_freelist(). */
#define FIRST_FILL		10

static u64 buffers(const struct xfs_mount *mp, u64 count)
{
	return count * (mp->m_sb.sb_blocksize + ITEM_OVERHEAD);
}

static u64 sectors(const struct xfs_mount *mp, u64 count)
{
	return count * (mp->m_sb.sb_sectsize + ITEM_OVERHEAD);
}

/*
 * All inodes, two at the least, with the roots of their maps, as xfs_calc_inode_res() counts
 * them: each transaction of the chain logs them, or the first.
 */
u64 xfs_inode_log_bytes(const struct xfs_pieces *pieces)
{
	const struct xfs_mount *mp = pieces->maps[0].ip->i_mount;

	return max(2u, pieces->map_count) *
	       (mp->m_sb.sb_inodesize + 2 * 72 + 2 * ITEM_OVERHEAD);
}

/* What every exchange logs: its inodes, and the quotas of their owners. */
u64 xfs_fixed_log_bytes(const struct xfs_pieces *pieces)
{
	u64 dquots = pieces->map_count > 2 ? 3 * XFS_MAX_DQUOTS : 6;

	return xfs_inode_log_bytes(pieces) + dquots * DQUOT_BYTES;
}

/* Blocks of a map, at the most. */
struct map_blocks {
	u64	changed;	/* where records come or go */
	u64	replaced;	/* where others take their places */
	u64	allocated;
	u64	freed;
};

/*
 * The blocks of one map, level by level from the leaves.
 *
 * A record that is replaced changes its leaf; of the first one there XFS logs the key in
 * the block above too, though it stays the same, and so on up.  Another piece changes the
 * record in one leaf, and may borrow from, merge with or spill into the leaf on either
 * side, when it takes the old mapping out and when it puts the new one in: six blocks of a
 * level, or all that there are.
 *
 * What splits.  A split needs a full block and full ones on both sides, so a level that
 * never has as many records as a block takes has none; and it makes two that are half full.
 * The pieces of a range go through the map from left to right, and all that comes or goes does so
 * where they are.  So a split is one of
 *
 *	- a block that was there, and full: once for each
 *	- one that two became of which one was there, with one record less than a block has at
 *	  the least: once for each, too
 *	- one that has been half full since, or had been made so: the records that it takes
 *	  for that, half a block's, are more in the map, by a rise (struct xfs_growth)
 *	- one that two became that had been one: between the two there are two records less at
 *	  the least, and until it is split again two more; so a rise ends and another begins
 *
 * and never more than there are records put in.  To the level above each split adds a record,
 * which splits likewise, and two of these make a rise; up to the level whose blocks the
 * root in the inode has room for, however many there may be.  Where it may not have,
 * that root goes into a block of its own once, and again after each record that went, by
 * which it may have come back.
 *
 * A record that goes frees a block of each level at the most.
 *
 * Where a map is in many ranges, these come in any order.  Count what the blocks of a level have
 * above half of what they can: a record that is put in makes it one more at most; a split takes
 * half a block's off; two blocks that become one, since a record went, put less than that on.
 * So there are no more splits than blocks, twice; than records put in, for each half a block;
 * and than records that go.  That is the same sum, where the rises are these (pieces.c), and at
 * each level no more blocks become one than records went.
 */
static struct map_blocks count_map_blocks(const struct xfs_map *of)
{
	const struct xfs_inode *ip = of->ip;
	const struct xfs_mount *mp = ip->i_mount;
	const struct xfs_growth *growth = &of->growth;
	u64 touches = 6 * (of->sides - of->replaced);
	u64 inserts = of->inserts, deletes = of->deletes;
	u64 records = ip->i_df.if_nextents, most = records + inserts;
	u64 risen = growth->risen, rises = growth->rises;
	struct map_blocks map = { .allocated = growth->conversions };
	unsigned int level;

	if (!map.allocated && ip->i_df.if_format == XFS_DINODE_FMT_EXTENTS)
		return map;
	for (level = 0; level < mp->m_bm_maxlevels[XFS_DATA_FORK]; level++) {
		u64 fill = mp->m_bmap_dmnr[level > 0];
		u64 blocks = min(div64_u64(records, fill), of->tree_blocks) + 1;
		u64 splits = min(inserts, 2 * blocks + div64_u64(risen, fill) + rises + 1);

		if (most < mp->m_bmap_dmxr[level > 0])
			splits = 0;
		map.changed += min(blocks, touches);
		map.replaced += min(blocks, of->replaced);
		map.allocated += splits;
		map.freed += deletes;
		if (blocks + splits < xfs_inline_records(ip))
			break;
		map.allocated += min(splits, deletes + 1);
		records = blocks;
		most = blocks + splits;
		inserts = splits;
		risen = splits;
		rises = of->is_in_many ? max(splits / 2, deletes) : splits / 2;
	}
	map.changed += map.allocated;
	/* A level more, of a tree that was larger once. */
	map.changed += touches > 0;
	map.replaced += of->replaced > 0;
	map.freed = min(map.freed + (deletes > 0), map.changed);
	return map;
}

/* Those of all maps. */
static struct map_blocks count_all_map_blocks(const struct xfs_pieces *pieces)
{
	struct map_blocks all = { };
	u32 i;

	for (i = 0; i < pieces->map_count; i++) {
		struct map_blocks map = count_map_blocks(&pieces->maps[i]);

		all.changed += map.changed;
		all.replaced += map.replaced;
		all.allocated += map.allocated;
		all.freed += map.freed;
	}
	return all;
}

/*
 * What @count single blocks, allocated or freed one by one, change at the most: for each, a
 * whole split of every tree of its AG.
 */
static u64 whole_splits(struct xfs_mount *mp, u64 count)
{
	return count * xfs_allocfree_block_count(mp, 1);
}

/*
 * The blocks of one tree of an AG, of @height levels and @all blocks that the trees have
 * there, that @changes records which come or go change or make.  Of each level two for a
 * record, or all that there are and those that come: each may be full and split, and then it
 * takes half a block of records for another, or two that go and two that come (as in
 * a block map).  And the root may split and have one above it.
 */
static u64 count_tree(u64 changes, unsigned int height, u64 all,
		      const unsigned int most[2], const unsigned int least[2])
{
	u64 there = 1, blocks = 2;

	while (height-- > 0) {
		u64 come = there + div64_u64(changes, least[1]) + changes / 4 + 1;

		blocks += min(2 * changes, there + come);
		there = min(there * most[1], all);
	}
	return blocks;
}

/*
 * What @count blocks, allocated one by one in the AG that the maps grow in, change there; it
 * is locked from before the transaction's first change on.  Each takes a record off the tree
 * by block, or makes two of it; takes one off the tree by size and puts another in; and puts
 * one into the rmapbt.  So does each block that comes to the AGFL: what the trees grow by.
 */
static u64 count_allocations(struct xfs_mount *mp, const struct xfs_perag *pag, u64 count)
{
	u64 changes = count + count / 4 + FIRST_FILL, blocks, all;

	if (!pag || !count)
		return whole_splits(mp, count);
	all = xfs_ag_tree_blocks(pag);
	blocks = count_tree(changes, pag_bno_level(pag), all, mp->m_alloc_mxr, mp->m_alloc_mnr) +
		 count_tree(2 * changes, pag_cnt_level(pag), all, mp->m_alloc_mxr,
			    mp->m_alloc_mnr);
	if (xfs_has_rmapbt(mp))
		blocks += count_tree(changes, pag_rmap_level(pag), all, mp->m_rmap_mxr,
				     mp->m_rmap_mnr);
	return min(blocks, whole_splits(mp, count));
}

/* The headers of so many AGs at the most: AGF, AGFL; and the superblock's counters. */
static u64 headers(const struct xfs_mount *mp, u64 ags)
{
	return sectors(mp, 2 * min_t(u64, ags, mp->m_sb.sb_agcount) + 1);
}

static u64 frees(struct xfs_mount *mp, u64 count)
{
	return count ? buffers(mp, whole_splits(mp, count)) + headers(mp, count) : 0;
}

/*
 * The updates of one intent: of each piece two places on the disk change, where one file's
 * mapping goes and the other's comes, and where files are clones four, since the records of a
 * block are in the order of their owners.  At a place a record goes or is cut, and one
 * comes or joins its neighbours: of each level the block, those beside it, the one behind
 * these, and one more by a split; of the root, another and one above it.  Each place may be
 * in an AG of its own, whose AGFL is filled before.
 */
static u64 rmap_updates(struct xfs_mount *mp, const struct xfs_pieces *pieces, u64 count)
{
	u64 places = min_t(u64, count, PIECES_AN_INTENT) * (xfs_has_clone(pieces) ? 4 : 2);
	u64 blocks = places * (5 * (mp->m_rmap_maxlevels - 1) + 2);

	return count ? buffers(mp, blocks + whole_splits(mp, places)) + headers(mp, places) : 0;
}

static u64 log_size(const struct xfs_mount *mp)
{
	return (u64)mp->m_sb.sb_logblocks * mp->m_sb.sb_blocksize;
}

/* For a transaction that defers nothing: see forks.c. */
u64 xfs_forks_log_limit(const struct xfs_mount *mp)
{
	return min_t(u64, log_size(mp) / 4, INT_MAX);
}

/*
 * The most pieces: each has an intent's part in the log.  Where there are intents XFS looks
 * at all of them each time that it goes on to the next, with both files locked.
 */
u64 xfs_piece_limit(const struct xfs_mount *mp)
{
	u64 limit = log_size(mp) / RMAP_INTENT_BYTES;

	return xfs_has_rmapbt(mp) ? min_t(u64, limit, MAX_RMAP_PIECES) : limit;
}

/*
 * Blocks of the trees of all AGs.  U64_MAX / 2 where an AG has not been looked at yet.
 */
static u64 count_ag_blocks(struct xfs_mount *mp)
{
	u64 blocks = 0;
	xfs_agnumber_t agno;

	for (agno = 0; agno < mp->m_sb.sb_agcount; agno++) {
		struct xfs_perag *pag = xfs_perag_get(mp, agno);
		bool known = pag && (pag->pagf_freeblks || pag->pagf_flcount);

		if (known)
			blocks += xfs_ag_tree_blocks(pag);
		if (pag)
			xfs_perag_put(pag);
		if (!known)
			return U64_MAX / 2;
	}
	return blocks;
}

/*
 * What taking away the reverse mappings of @count blocks that the maps free changes: for each
 * a whole split, but no more than there is, and what it may grow by.
 */
static u64 freed_rmaps(struct xfs_mount *mp, u64 count)
{
	u64 blocks = whole_splits(mp, count);

	if (!count)
		return 0;
	return buffers(mp, min(blocks, count_ag_blocks(mp) + 3 * count + whole_splits(mp, 1))) +
	       headers(mp, count);
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
	u64 trees;

	if (each <= log_size(mp) / 4)
		return each;
	trees = count_ag_blocks(mp);
	if (trees > log_size(mp) / 16 / (mp->m_sb.sb_blocksize + ITEM_OVERHEAD))
		return each;
	return min(each, 2 * buffers(mp, trees) + intents * 2 * ITEM_OVERHEAD);
}

/* Blocks that the maps may grow by.  -E2BIG; ILOCK of all inodes. */
int xfs_reserve_blocks(const struct xfs_pieces *pieces, struct xfs_reservation *reservation)
{
	const struct xfs_mount *mp = pieces->maps[0].ip->i_mount;
	struct map_blocks map = count_all_map_blocks(pieces);

	*reservation = (struct xfs_reservation) {
		.map_blocks	= map.allocated,
		.freed		= xfs_has_rmapbt(mp) ? map.freed : 0,
		.blocks		= map.allocated,
	};
	return map.allocated > INT_MAX ? -E2BIG : 0;
}

/*
 * -E2BIG where @pieces do not fit into one transaction; after xfs_reserve_blocks().
 *
 * XFS lets a transaction go on when there is room for its size again, and moves the log's
 * tail past its intents only afterwards: so that has to be small beside the log, an
 * eighth of it, which is also what a log's buffer collects before it is written.  All
 * that the intents log takes a quarter at the most.
 *
 * A piece whose reverse mappings may change in place has no intent; that they can shows
 * in the transaction, and the plan is made anew where it was wrong.  The blocks whose
 * records are replaced may have been measured (@measured); else they count whole, and those of
 * the rmapbts as one for each record, which the transaction looks at again.
 */
int xfs_reserve_log(const struct xfs_pieces *pieces, const struct xfs_perag *pag,
		    const struct xfs_measure *measured, struct xfs_reservation *reservation)
{
	struct xfs_mount *mp = pieces->maps[0].ip->i_mount;
	struct map_blocks map = count_all_map_blocks(pieces);
	u64 changed = map.changed, freed = map.freed;
	u64 allocated = reservation->map_blocks;
	u64 by_intents = xfs_has_rmapbt(mp) ? pieces->count - pieces->rmaps_in_place : 0;
	u64 intents = DIV_ROUND_UP_ULL(by_intents, PIECES_AN_INTENT);
	u64 replaced = buffers(mp, map.replaced);
	u64 common, t1, t2, t3;

	reservation->rmap_bytes = buffers(mp, 2 * pieces->rmaps_in_place);
	if (measured) {
		replaced = min(replaced, measured->map_bytes);
		reservation->rmap_bytes = measured->rmap_bytes;
	}
	reservation->by_intents = by_intents;
	reservation->ag_blocks = count_allocations(mp, pag, allocated);

	/* An intent may have but one piece: room.c. */
	common = xfs_fixed_log_bytes(pieces) + intents * (RMAP_INTENT_BYTES + INTENT_OVERHEAD) +
		 DIV_ROUND_UP_ULL(freed, FREES_AN_INTENT) * FREE_INTENT_BYTES;
	t1 = buffers(mp, changed + reservation->ag_blocks) + replaced +
	     reservation->rmap_bytes + headers(mp, 1) +
	     freed_rmaps(mp, reservation->freed);
	t2 = rmap_updates(mp, pieces, by_intents);
	t3 = frees(mp, min_t(u64, FREES_AN_INTENT, freed));

	reservation->log_bytes = common + max3(t1, t2, t3);
	reservation->log_limit = log_size(mp) / 8;
	if (chain_bytes(mp, intents) > log_size(mp) / 4 ||
	    reservation->log_bytes > reservation->log_limit ||
	    reservation->log_bytes > INT_MAX)
		return -E2BIG;
	return 0;
}

/*
 * Whether what the reservation rests on is so in the transaction: no more pieces go by
 * intents, rmapbts take no more of the log, nor do the trees of @pag, whose header is locked.
 */
bool xfs_reservation_holds(const struct xfs_reservation *reservation, struct xfs_mount *mp,
			   const struct xfs_perag *pag, u64 by_intents, u64 rmap_bytes)
{
	return by_intents <= reservation->by_intents &&
	       rmap_bytes <= reservation->rmap_bytes &&
	       count_allocations(mp, pag, reservation->map_blocks) <= reservation->ag_blocks;
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
