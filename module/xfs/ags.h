/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The allocation groups that one transaction works in.
 */
#ifndef EXCHRANGE_XFS_AGS_H
#define EXCHRANGE_XFS_AGS_H

#include "exchange.h"

/* One whose header is locked before the first change. */
struct xfs_exchange_ag {
	xfs_agnumber_t	agno;
	bool		changes;	/* in the transaction itself: locked until the commit */
	struct xfs_buf	*agf;		/* its header, while it is locked */
	u64		records;	/* of its rmapbt that come, at the most */
	u32		growth;		/* blocks that these need and that are kept: room.c */
	u32		added;		/* blocks, to those that the AG kept itself */
};

static inline void xfs_add_ag(const struct xfs_exchange *exchange, unsigned long *set,
			      xfs_agnumber_t agno)
{
	/* A file system that grew meanwhile: the plan is stale, or will be. */
	if (agno < exchange->ag_total)
		__set_bit(agno, set);
}

struct xfs_exchange_ag *xfs_exchange_find_ag(const struct xfs_exchange *exchange,
					     xfs_agnumber_t agno);

int xfs_exchange_collect_ags(struct xfs_exchange *exchange);
int xfs_exchange_choose_ags(struct xfs_exchange *exchange);
void xfs_exchange_forget_ags(struct xfs_exchange *exchange);
int xfs_exchange_lock_ags(struct xfs_exchange *exchange, struct xfs_trans *tp);
void xfs_exchange_release_ags(struct xfs_exchange *exchange, struct xfs_trans *tp);
void xfs_exchange_allow_ag(const struct xfs_exchange *exchange, struct xfs_trans *tp);

#endif /* EXCHRANGE_XFS_AGS_H */
