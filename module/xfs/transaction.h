/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One exchange of one_transaction.c, and what transaction.c does of it.
 */
#ifndef EXCHRANGE_XFS_TRANSACTION_H
#define EXCHRANGE_XFS_TRANSACTION_H

#include "exchange.h"
#include "pieces.h"
#include "reservation.h"

struct xfs_exchange {
	struct exchange_request	*request;
	struct xfs_mount	*mp;
	loff_t			old_size[2];	/* bytes, when both were locked */
	loff_t			new_size[2];	/* the same without TO_EOF */
	struct xfs_pieces	pieces;
	struct xfs_reservation	reservation;
	struct xfs_perag	*pag;		/* where block maps grow, or NULL */
	struct xfs_rmap_change	*rmaps;		/* that may change in place */
	u64			rmap_count;
	struct xfs_btree_cur	*map_cursor[2];	/* in the maps' trees, or NULL */
};

int xfs_exchange_plan(struct xfs_exchange *exchange);
int xfs_exchange_pieces(struct xfs_exchange *exchange);
void xfs_exchange_finish(struct xfs_exchange *exchange);

/* freshness.c */
int xfs_sample_freshness(struct file *file, u64 freshness[6]);
int xfs_check_freshness(struct inode *inode, const u64 freshness[6]);

#endif /* EXCHRANGE_XFS_TRANSACTION_H */
