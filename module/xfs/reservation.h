/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the transaction of an exchange may need: room in the log, and blocks.
 */
#ifndef EXCHRANGE_XFS_RESERVATION_H
#define EXCHRANGE_XFS_RESERVATION_H

#include "pieces.h"

/* Pieces whose reverse mappings one intent updates: see reservation.c. */
#define PIECES_AN_INTENT	2

struct xfs_reservation {
	u64	log_bytes;	/* of each transaction of the chain */
	u64	log_limit;	/* the most that they may be */
	u64	map_blocks;	/* that the block maps may grow by, both together */
	u64	blocks;		/* to reserve of the file system */
};

u64 xfs_piece_limit(const struct xfs_mount *mp);
int xfs_reserve_pieces(const struct xfs_pieces *pieces,
		       struct xfs_reservation *reservation);
u64 xfs_inode_log_bytes(const struct xfs_mount *mp);
u64 xfs_ag_blocks_needed(const struct xfs_mount *mp, u64 map_blocks);

#endif /* EXCHRANGE_XFS_RESERVATION_H */
