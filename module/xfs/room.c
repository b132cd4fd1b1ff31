// SPDX-License-Identifier: GPL-2.0
/*
 * Room in the AGs for what intents will do after the commit.
 *
 * When the first transaction is committed there is no way back: an intent that cannot be
 * done shuts the file system down, and so does log recovery, at every mount.  What an intent
 * needs, and why it is there:
 *
 * Blocks for the rmapbt: kept here, see below.
 *
 * The AGFL, which the rmapbt takes its blocks from: XFS fills it before each intent, from any
 * free block of the AG, so it is the same blocks.  How many that are depends on the trees, and
 * an intent of ours has as many updates as these last for.
 *
 * Blocks for the free space trees, as a block of a map comes free: these take them of the AGFL
 * too, and of the blocks that XFS sets aside in each AG so that freeing never fails
 * (xfs_alloc_set_aside).  The reverse mapping of such a block goes before the commit
 * (map_blocks.c).
 *
 * The counter of free blocks, quota: neither counts blocks of AG trees.
 *
 * Log space: each transaction of the chain has the reservation of the first, which is the
 * largest of what they need; the tail of the log moves on as XFS logs the intents that are
 * left anew (reservation.c).
 *
 * Memory: XFS does not let these allocations fail (__GFP_NOFAIL).
 *
 * The rmapbt.  An AG keeps from its mount on as many free blocks as the tree may grow by if
 * each block of the AG has a record.  Without reflinks it never has more, and nothing is to be
 * done here.  With reflinks a block has a record for each file that it is in, and the tree may
 * outgrow that: then it grows as long as the AG has free blocks, and XFS leaves off making
 * reflinks when there is little left (xfs_ag_resv_critical(): a tenth of what it asked for).
 * So here: if the records that come need a block each time that one may be split, they must be
 * there, and that tenth besides.  For the time of the chain the AG then keeps these blocks as
 * it keeps those of its mount: data of others is not written there, and reflinks and
 * exchanges of others count with them.  What others write to shared blocks (CoW) asks nobody,
 * and has the tenth.
 *
 * After a crash the blocks are as free as they were, and log recovery is alone.
 *
 * The counts of an AG (pagf_*, *_resv) change under the lock of its header.
 */
#include <linux/math64.h>
#include <linux/minmax.h>

#include "ags.h"
#include "rmap.h"
#include "room.h"

/* XFS counts a tenth of what was asked for as little: so this keeps @growth off others. */
#define ASKED_FOR_ONE	10

/* Blocks that the rmapbt of an AG may grow by, as @records come: by a split at each level. */
static u64 count_growth(const struct xfs_mount *mp, const struct xfs_perag *pag, u64 records)
{
	/* Of the level; of the leaves no more than all trees of the AG have. */
	u64 blocks = pag_rmap_level(pag) > 1 ? pag->pagf_btreeblks + 1ULL : 1;
	u64 growth = 0, inserts = records;
	unsigned int level;

	for (level = 0; inserts && level < pag_rmap_level(pag); level++) {
		u64 fill = mp->m_rmap_mnr[level > 0];

		/* A full block splits for one record; a new one is half full. */
		inserts = min(inserts, blocks + div64_u64(inserts, fill));
		growth += inserts;
		blocks = level + 2 < pag_rmap_level(pag) ?
			 div_u64(blocks, mp->m_rmap_mnr[1]) + 1 : 1;
	}
	/* Above what was the root: a new one, which splits when it has become full. */
	for (; inserts; level++) {
		inserts = div64_u64(inserts, mp->m_rmap_mnr[1]);
		growth += 1 + inserts;
	}
	return growth;
}

/* What exchanges that are not done yet have kept. */
static u64 kept_by_others(const struct xfs_ag_resv *resv)
{
	return (resv->ar_asked - resv->ar_orig_reserved) / ASKED_FOR_ONE;
}

/* What XFS keeps from the mount on, if it could, is enough where no block has two records. */
static bool always_has_room(const struct xfs_mount *mp, const struct xfs_perag *pag)
{
	return !xfs_has_reflink(mp) && pag->pag_rmapbt_resv.ar_asked;
}

/* Blocks of the AG that are free, and not for the maps of this exchange. */
static u64 free_blocks(const struct xfs_exchange *exchange, const struct xfs_perag *pag)
{
	u64 maps = exchange->pag == pag ?
		   xfs_ag_blocks_needed(exchange->mp, exchange->reservation.map_blocks) : 0;

	return pag->pagf_freeblks - min_t(u64, maps, pag->pagf_freeblks);
}

/* -ENOSPC; the AG is locked. */
static int keep(const struct xfs_exchange *exchange, struct xfs_perag *pag,
		struct xfs_exchange_ag *ag)
{
	struct xfs_mount *mp = exchange->mp;
	u64 free = free_blocks(exchange, pag);
	struct xfs_ag_resv *resv = &pag->pag_rmapbt_resv;
	u64 little = max_t(u64, resv->ar_orig_reserved / ASKED_FOR_ONE,
			   mp->m_agbtree_maxlevels);
	u64 growth, needed, added = 0;

	if (!ag->records || always_has_room(mp, pag))
		return 0;
	growth = count_growth(mp, pag, ag->records);
	needed = kept_by_others(resv) + growth + little;
	if (free + pag->pagf_flcount < pag->pag_meta_resv.ar_reserved + needed)
		return -ENOSPC;

	/* What the AG keeps already is for such records too. */
	if (needed > resv->ar_reserved && free > resv->ar_reserved)
		added = min(needed, free) - resv->ar_reserved;
	/* So that no write is promised these blocks. */
	if (added && xfs_take_free_blocks(mp, added))
		return -ENOSPC;
	ag->growth = growth;
	ag->added = added;
	resv->ar_asked += ASKED_FOR_ONE * growth;
	resv->ar_reserved += added;
	return 0;
}

/*
 * Whether one filling of the AGFL lasts for an intent of PIECES_AN_INTENT.  XFS fills it with
 * two blocks for each level of the AG's three trees (xfs_alloc_min_freelist()).  A piece is in
 * two places of the rmapbt, of clones in four, and at each a leaf splits at most, and all above
 * it up to the root, which splits once and gets a new one above it.  An intent cannot have
 * less than a piece, for which it lasts; of clones with a tree of four levels and more, whose
 * blocks are full at all four places, where the other trees have one level too.
 */
static bool agfl_lasts(const struct xfs_exchange *exchange, const struct xfs_perag *pag)
{
	unsigned int places = PIECES_AN_INTENT * (xfs_has_clone(&exchange->pieces) ? 4 : 2);
	unsigned int filled = 2 * (pag_rmap_level(pag) + pag_bno_level(pag) +
				   pag_cnt_level(pag));

	return filled >= places * (pag_rmap_level(pag) - 1) + 2;
}

/* Each piece that goes by intents takes a record out of what may be its middle, and puts one in. */
static void count_records(struct xfs_exchange *exchange)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	u64 i;
	int side;

	for (i = 0; i < pieces->count; i++) {
		const struct xfs_piece *piece = &pieces->piece[i];

		for (side = 0; side < 2; side++) {
			struct xfs_exchange_ag *ag;
			xfs_agnumber_t agno;

			if (!has_rmap(piece, side))
				continue;
			agno = xfs_ag_of(exchange->mp, piece->old[side].block);
			ag = xfs_exchange_find_ag(exchange, agno);
			if (ag && piece->rmaps_in_place)
				ag->changes = true;
			else if (ag)
				ag->records += 2;
		}
	}
}

/*
 * Keeps the blocks, when it is known which reverse mappings change in place; finds out too
 * in which AGs any do.  All AGs are locked.  -ENOSPC; xfs_room_give_back() even then.
 */
int xfs_room_keep(struct xfs_exchange *exchange)
{
	unsigned int i;
	int error = 0;

	exchange->pieces_an_intent = PIECES_AN_INTENT;
	if (!xfs_has_rmapbt(exchange->mp))
		return 0;
	count_records(exchange);
	for (i = 0; i < exchange->ag_count && !error; i++) {
		struct xfs_exchange_ag *ag = &exchange->ags[i];
		struct xfs_perag *pag = xfs_perag_get(exchange->mp, ag->agno);

		if (!pag)
			return -EUCLEAN;
		if (ag->records && !agfl_lasts(exchange, pag))
			exchange->pieces_an_intent = 1;
		error = keep(exchange, pag, ag);
		xfs_perag_put(pag);
	}
	return error;
}

static void give_back(struct xfs_perag *pag, const struct xfs_exchange_ag *ag)
{
	struct xfs_ag_resv *resv = &pag->pag_rmapbt_resv;
	u32 asked = ASKED_FOR_ONE * ag->growth;

	/* The file system was made smaller, and all was asked for anew. */
	if (resv->ar_asked - resv->ar_orig_reserved < asked)
		return;
	resv->ar_asked -= asked;
	/* What is used counts as used of what the AG kept itself. */
	resv->ar_reserved -= min(resv->ar_reserved, ag->added);
	resv->ar_reserved = min(resv->ar_reserved, resv->ar_asked);
}

/* With its header locked, unless that cannot be read any more: then nobody else works there. */
static void lock_and_give_back(struct xfs_mount *mp, const struct xfs_exchange_ag *ag)
{
	struct xfs_perag *pag = xfs_perag_get(mp, ag->agno);
	struct xfs_trans *tp;
	struct xfs_buf *agf;

	if (!pag)
		return;
	tp = xfs_trans_alloc_empty(mp);
	if (!IS_ERR(tp))
		xfs_alloc_read_agf(pag, tp, 0, &agf);
	give_back(pag, ag);
	if (!IS_ERR(tp))
		xfs_trans_cancel(tp);
	xfs_perag_put(pag);
}

/* When the intents are done, or nothing was; in no transaction. */
void xfs_room_give_back(struct xfs_exchange *exchange)
{
	unsigned int i;

	for (i = 0; i < exchange->ag_count; i++) {
		struct xfs_exchange_ag *ag = &exchange->ags[i];

		if (!ag->growth)
			continue;
		lock_and_give_back(exchange->mp, ag);
		if (ag->added)
			xfs_give_free_blocks(exchange->mp, ag->added);
		ag->growth = 0;
		ag->added = 0;
	}
}
