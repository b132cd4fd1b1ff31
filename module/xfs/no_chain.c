// SPDX-License-Identifier: GPL-2.0
/*
 * In the place of chain.c, where XFS has no exchange of its own: it mounts no file system that
 * has its feature then, and nothing of this is called.
 */
#include "exchange.h"

int xfs_chain_plan(struct xfs_exchange *exchange)
{
	return -EOPNOTSUPP;
}

int xfs_chain_exchange(struct xfs_exchange *exchange)
{
	return -EOPNOTSUPP;
}

int xfs_chain_check_freshness(struct inode *inode, const u64 freshness[6])
{
	return -EBUSY;
}
