/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The exchange of whole files by their data forks: see forks.c.
 */
#ifndef EXCHRANGE_XFS_FORKS_H
#define EXCHRANGE_XFS_FORKS_H

#include "exchange.h"

/* forks.c: ILOCK of both inodes, but for what is said to be without. */
bool xfs_forks_are_meant(const struct xfs_exchange *exchange);
int xfs_forks_collect(struct xfs_exchange *exchange);
int xfs_forks_reserve(struct xfs_exchange *exchange);
int xfs_forks_prepare(struct xfs_exchange *exchange, struct xfs_trans *tp);
int xfs_forks_change(struct xfs_exchange *exchange, struct xfs_trans *tp);
void xfs_forks_release(struct xfs_exchange *exchange);
void xfs_forks_forget(struct xfs_exchange *exchange);

/* fork_rmaps.c */
int xfs_fork_rmaps_add(struct xfs_exchange *exchange, int side,
		       const struct xfs_bmbt_irec *record);
int xfs_fork_rmaps_add_tree(struct xfs_exchange *exchange, int side, u64 block);
void xfs_fork_rmaps_sort(struct xfs_exchange *exchange);
int xfs_fork_rmaps_check(struct xfs_exchange *exchange, struct xfs_trans *tp, u64 *log_bytes);
int xfs_fork_rmaps_change(struct xfs_exchange *exchange, struct xfs_trans *tp);

#endif /* EXCHRANGE_XFS_FORKS_H */
