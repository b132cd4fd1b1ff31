// SPDX-License-Identifier: GPL-2.0
/*
 * The allocation group (AG) that the block maps of an exchange grow in.
 */
#include "exchange.h"
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

void xfs_exchange_forget_ag(struct xfs_exchange *exchange)
{
	if (exchange->pag)
		xfs_perag_put(exchange->pag);
	exchange->pag = NULL;
}

/*
 * An AG from @lowest on that all the blocks fit in, by which the maps may grow: file2's own,
 * or the first that has the space.  -ENOSPC where there is none.
 */
static int find_ag(struct xfs_exchange *exchange, xfs_agnumber_t lowest)
{
	xfs_agnumber_t agno = xfs_ino_to_agno(exchange->mp,
					      VFS_I(exchange->pieces.ip[1])->i_ino);
	int error = 0;

	xfs_exchange_forget_ag(exchange);
	if (!exchange->reservation.map_blocks)
		return 0;
	if (agno >= lowest)
		error = try_ag(exchange, agno);
	for (agno = lowest; !error && !exchange->pag &&
	     agno < exchange->mp->m_sb.sb_agcount; agno++)
		error = try_ag(exchange, agno);
	if (error)
		return error;
	return exchange->pag ? 0 : -ENOSPC;
}

/* -ENOSPC, -ENOMEM; errors of reading an AG's header. */
int xfs_exchange_choose_ags(struct xfs_exchange *exchange)
{
	int error = xfs_rmap_collect(exchange);

	if (error)
		return error;
	error = find_ag(exchange, xfs_rmap_last_ag(exchange));
	if (error != -ENOSPC || !exchange->rmap_count)
		return error;
	/* There is space before the AGs that would be locked. */
	xfs_rmap_forget(exchange);
	return find_ag(exchange, 0);
}

/* --- in the transaction: ILOCK of both inodes, which are joined to it ------------- */

/*
 * Locks the header of the AG that the maps grow in, until the transaction is committed:
 * nobody else takes its space.  -EAGAIN where somebody has.
 */
int xfs_exchange_lock_ag(const struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	struct xfs_buf *agf;
	int error;

	if (!exchange->pag)
		return 0;
	error = xfs_alloc_read_agf(exchange->pag, tp, 0, &agf);
	if (error)
		return error;
	return has_space(exchange, exchange->pag) ? 0 : -EAGAIN;
}

/*
 * XFS looks for a block of a map from the AG with this number on, and tries those before
 * it, without waiting for a lock.  In the one that is locked here it finds one: so it
 * never waits for a second AG, which could deadlock, and never fails.
 */
void xfs_exchange_allow_ag(const struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	if (exchange->pag)
		xfs_trans_set_lowest_ag(tp, pag_agno(exchange->pag));
}
