/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The records of block maps that are replaced where they are.
 */
#ifndef EXCHRANGE_XFS_MAP_RECORDS_H
#define EXCHRANGE_XFS_MAP_RECORDS_H

#include "exchange.h"

int xfs_map_records_measure(struct xfs_exchange *exchange, u64 *bytes);
int xfs_map_records_lock(const struct xfs_exchange *exchange, struct xfs_trans *tp);
bool xfs_map_record_replace(const struct xfs_exchange *exchange, struct xfs_trans *tp,
			    const struct xfs_piece *piece, int side,
			    struct xfs_bmbt_irec *new);
void xfs_map_records_forget(struct xfs_exchange *exchange);

#endif /* EXCHRANGE_XFS_MAP_RECORDS_H */
