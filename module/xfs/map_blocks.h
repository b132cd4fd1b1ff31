/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Blocks of the block maps that come free in the transaction.
 */
#ifndef EXCHRANGE_XFS_MAP_BLOCKS_H
#define EXCHRANGE_XFS_MAP_BLOCKS_H

#include "exchange.h"

int xfs_find_map_blocks(const struct xfs_exchange *exchange, unsigned long *ags);
int xfs_unmap_freed_blocks(struct xfs_trans *tp);

#endif /* EXCHRANGE_XFS_MAP_BLOCKS_H */
