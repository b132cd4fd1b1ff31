/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Reverse mappings that change in place, in the transaction that changes the block maps.
 */
#ifndef EXCHRANGE_XFS_RMAP_H
#define EXCHRANGE_XFS_RMAP_H

#include "exchange.h"

int xfs_rmap_collect(struct xfs_exchange *exchange);
xfs_agnumber_t xfs_rmap_last_ag(const struct xfs_exchange *exchange);
void xfs_rmap_forget(struct xfs_exchange *exchange);

int xfs_rmap_lock_ags(const struct xfs_exchange *exchange, struct xfs_trans *tp);
int xfs_rmap_check_all(struct xfs_exchange *exchange, struct xfs_trans *tp);
int xfs_rmap_change_all(const struct xfs_exchange *exchange, struct xfs_trans *tp);

#endif /* EXCHRANGE_XFS_RMAP_H */
