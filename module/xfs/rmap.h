/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Reverse mappings that change in place, in the transaction that changes the block maps.
 */
#ifndef EXCHRANGE_XFS_RMAP_H
#define EXCHRANGE_XFS_RMAP_H

#include "exchange.h"
#include "measure.h"
#include "walk.h"

/*
 * A cursor in the tree of one AG after the other, whose headers are locked.  From one record
 * to the next of an AG it keeps the blocks that both are below.
 */
struct xfs_rmap_walk {
	const struct xfs_exchange	*exchange;
	struct xfs_trans		*tp;
	bool				alone;		/* the cursor is in no transaction */
	bool				keeps;		/* @tp gets the leaves that change */
	xfs_agnumber_t			agno;
	bool				listened_to;
	struct xfs_btree_cur		*cursor;	/* of @agno's, or NULL */
	struct xfs_walk_measure		measure;	/* what changing the records logs */
};

int xfs_rmap_lock_ag(const struct xfs_exchange *exchange, struct xfs_trans *tp,
		     xfs_agnumber_t agno);
int xfs_rmap_enter_ag(struct xfs_rmap_walk *walk, xfs_agnumber_t agno);
void xfs_rmap_leave_ag(struct xfs_rmap_walk *walk, int error);
bool xfs_rmap_read(const struct xfs_btree_cur *cursor, struct xfs_rmap_irec *record);
int xfs_rmap_update(struct xfs_rmap_walk *walk, const struct xfs_rmap_irec *new);

int xfs_rmap_collect(struct xfs_exchange *exchange);
void xfs_rmap_forget(struct xfs_exchange *exchange);

int xfs_rmap_lock_ags(const struct xfs_exchange *exchange, struct xfs_trans *tp);
int xfs_rmap_measure_all(struct xfs_exchange *exchange, struct xfs_trans *tp,
			 u64 *log_bytes);
int xfs_rmap_check_all(struct xfs_exchange *exchange, struct xfs_trans *tp,
		       u64 *log_bytes);
int xfs_rmap_change_all(const struct xfs_exchange *exchange, struct xfs_trans *tp);

#endif /* EXCHRANGE_XFS_RMAP_H */
