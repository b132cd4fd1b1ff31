// SPDX-License-Identifier: GPL-2.0
/*
 * The allocation groups (AGs) that one transaction works in: where the block maps grow,
 * where reverse mappings change, and where blocks of the maps may come free.
 *
 * All of them are known before the transaction, and their headers (AGF) are locked before
 * the first change, in ascending order, as everywhere in XFS.  Those that change are kept
 * until the commit; those where only intents will work are looked at (room.c) and let go.
 */
#include <linux/bitmap.h>
#include <linux/bsearch.h>
#include <linux/slab.h>

#include "ags.h"
#include "map_blocks.h"
#include "rmap.h"

/* Whether the AG has the space for the block maps to grow there. */
static bool has_space(const struct xfs_exchange *exchange,
		      const struct xfs_perag *pag)
{
	u64 kept = (u64)pag->pag_meta_resv.ar_reserved +
		   pag->pag_rmapbt_resv.ar_reserved;

	return pag->pagf_freeblks >= kept +
	       xfs_ag_blocks_needed(exchange->mp,
				    exchange->reservation.map_blocks);
}

/* Reads the AG's header, so that its counts are known.  Locks nothing. */
static int read_ag(struct xfs_exchange *exchange, struct xfs_perag *pag)
{
	struct xfs_trans *tp;
	struct xfs_buf *agf;
	int error;

	tp = xfs_trans_alloc_empty(exchange->mp);
	if (IS_ERR(tp))
		return PTR_ERR(tp);
	error = xfs_alloc_read_agf(pag, tp, 0, &agf);
	xfs_trans_cancel(tp);
	return error;
}

/* Takes AG @agno for the block maps, if it has the space. */
static int try_ag(struct xfs_exchange *exchange, xfs_agnumber_t agno)
{
	struct xfs_perag *pag = xfs_perag_get(exchange->mp, agno);
	int error;

	if (!pag)
		return 0;
	error = read_ag(exchange, pag);
	if (!error && has_space(exchange, pag))
		exchange->pag = pag;
	else
		xfs_perag_put(pag);
	return error;
}

/* Drops what xfs_exchange_collect_ags() and xfs_exchange_choose_ags() have found. */
void xfs_exchange_forget_ags(struct xfs_exchange *exchange)
{
	if (exchange->pag)
		xfs_perag_put(exchange->pag);
	exchange->pag = NULL;
	kvfree(exchange->ag_sets);
	exchange->ag_sets = NULL;
	kvfree(exchange->ags);
	exchange->ags = NULL;
	exchange->ag_count = 0;
}

/*
 * An AG that all the blocks fit in, by which the maps may grow: file2's own, or the first
 * that has the space.  -ENOSPC where there is none.
 */
static int find_ag(struct xfs_exchange *exchange)
{
	xfs_agnumber_t agno = xfs_ino_to_agno(exchange->mp,
					      VFS_I(exchange->ranges[0].map[1]->ip)->i_ino);
	int error;

	if (!exchange->reservation.map_blocks)
		return 0;
	error = try_ag(exchange, agno);
	for (agno = 0; !error && !exchange->pag && agno < exchange->ag_total; agno++)
		error = try_ag(exchange, agno);
	if (error)
		return error;
	return exchange->pag ? 0 : -ENOSPC;
}

/* Two sets, one behind the other. */
static unsigned long *set_of_all(const struct xfs_exchange *exchange)
{
	return exchange->ag_sets;
}

static unsigned long *set_of_maps(const struct xfs_exchange *exchange)
{
	return exchange->ag_sets + BITS_TO_LONGS(exchange->ag_total);
}

/*
 * Finds the AGs that the reverse mappings of the pieces are in, and those that blocks of the
 * maps may come free in.  -ENOMEM; errors of reading a map.  ILOCK of both inodes.
 */
int xfs_exchange_collect_ags(struct xfs_exchange *exchange)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	struct xfs_mount *mp = exchange->mp;
	u64 i;
	int side;

	exchange->ag_total = mp->m_sb.sb_agcount;
	exchange->ag_sets = kvcalloc(2 * BITS_TO_LONGS(exchange->ag_total),
				     sizeof(*exchange->ag_sets), GFP_KERNEL_ACCOUNT);
	if (!exchange->ag_sets)
		return -ENOMEM;
	if (!xfs_has_rmapbt(mp))
		return 0;
	for (i = 0; i < pieces->count; i++)
		for (side = 0; side < 2; side++)
			if (has_rmap(&pieces->piece[i], side))
				xfs_add_ag(exchange, set_of_all(exchange),
					   xfs_ag_of(mp, pieces->piece[i].old[side].block));
	return xfs_find_map_blocks(exchange, set_of_maps(exchange));
}

/* Makes a list, in ascending order, of the AGs that were found.  -ENOMEM. */
static int list_ags(struct xfs_exchange *exchange)
{
	unsigned long *all = set_of_all(exchange), *maps = set_of_maps(exchange);
	unsigned int total = exchange->ag_total;
	unsigned int agno;

	bitmap_or(all, all, maps, total);
	if (exchange->pag)
		xfs_add_ag(exchange, all, pag_agno(exchange->pag));
	exchange->ags = kvcalloc(bitmap_weight(all, total) + 1, sizeof(*exchange->ags),
				 GFP_KERNEL_ACCOUNT);
	if (!exchange->ags)
		return -ENOMEM;
	for_each_set_bit(agno, all, total)
		exchange->ags[exchange->ag_count++] = (struct xfs_exchange_ag) {
			.agno	 = agno,
			.changes = test_bit(agno, maps) ||
				   (exchange->pag && pag_agno(exchange->pag) == agno),
			.records = test_bit(agno, maps) ?
				   exchange->reservation.freed : 0,
		};
	return 0;
}

/* -ENOSPC, -ENOMEM; errors of reading an AG's header. */
int xfs_exchange_choose_ags(struct xfs_exchange *exchange)
{
	return xfs_rmap_collect(exchange) ?: find_ag(exchange) ?: list_ags(exchange);
}

static int compare(const void *key, const void *element)
{
	xfs_agnumber_t x = *(const xfs_agnumber_t *)key;
	xfs_agnumber_t y = ((const struct xfs_exchange_ag *)element)->agno;

	return (x > y) - (x < y);
}

/* NULL where it is none that was found. */
struct xfs_exchange_ag *xfs_exchange_find_ag(const struct xfs_exchange *exchange,
					     xfs_agnumber_t agno)
{
	return bsearch(&agno, exchange->ags, exchange->ag_count,
		       sizeof(*exchange->ags), compare);
}

/* --- in the transaction: ILOCK of both inodes, which are joined to it ------------- */

static int lock_ag(const struct xfs_exchange *exchange, struct xfs_trans *tp,
		   struct xfs_exchange_ag *ag)
{
	struct xfs_perag *pag = xfs_perag_get(exchange->mp, ag->agno);
	int error;

	if (!pag)
		return -EUCLEAN;
	error = xfs_alloc_read_agf(pag, tp, 0, &ag->agf);
	xfs_perag_put(pag);
	return error;
}

/*
 * Locks the headers of all the AGs.  -EAGAIN where somebody has taken the space that the maps
 * were to grow in; nobody does from here on.  Errors of reading an AG's header.
 */
int xfs_exchange_lock_ags(struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	unsigned int i;
	int error;

	for (i = 0; i < exchange->ag_count; i++) {
		error = lock_ag(exchange, tp, &exchange->ags[i]);
		if (error)
			return error;
		xfs_trans_set_lowest_ag(tp, exchange->ags[i].agno);
	}
	return !exchange->pag || has_space(exchange, exchange->pag) ? 0 : -EAGAIN;
}

/* Lets go of the AGs in which the transaction itself changes nothing. */
void xfs_exchange_release_ags(struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	unsigned int i;

	for (i = 0; i < exchange->ag_count; i++) {
		struct xfs_exchange_ag *ag = &exchange->ags[i];

		if (!ag->changes)
			xfs_trans_brelse(tp, ag->agf);
	}
}

/*
 * XFS looks for a block of a map from the AG with this number on, and in all others, at first
 * without waiting for a lock.  In the one that is locked here it finds one then: so it never
 * waits for an AG, which could deadlock, and never fails.
 */
void xfs_exchange_allow_ag(const struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	if (exchange->pag)
		xfs_trans_set_lowest_ag(tp, pag_agno(exchange->pag));
}
