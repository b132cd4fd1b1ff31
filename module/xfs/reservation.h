/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the transaction of an exchange may need: room in the log, and blocks.
 */
#ifndef EXCHRANGE_XFS_RESERVATION_H
#define EXCHRANGE_XFS_RESERVATION_H

#include "measure.h"
#include "pieces.h"

/* Pieces whose reverse mappings one intent updates: see reservation.c. */
#define PIECES_AN_INTENT	2

struct xfs_reservation {
	u64	log_bytes;	/* of each transaction of the chain */
	u64	log_limit;	/* the most that they may be */
	u64	map_blocks;	/* that the block maps may grow by, all together */
	u64	freed;		/* that the block maps may free, likewise, with an rmapbt */
	u64	blocks;		/* to reserve of the file system */

	/* What the log's bytes rest on, to be looked at again in the transaction. */
	u64	rmap_bytes;	/* of rmapbts, by records that change in place */
	u64	by_intents;	/* pieces whose reverse mappings do not */
	u64	ag_blocks;	/* of the trees of the AG that the maps grow in, that change */
};

/* Blocks of an AG's trees: three roots are no part of agf_btreeblks. */
static inline u64 xfs_ag_tree_blocks(const struct xfs_perag *pag)
{
	return (u64)pag->pagf_btreeblks + 3;
}

u64 xfs_piece_limit(const struct xfs_mount *mp);
int xfs_reserve_blocks(const struct xfs_pieces *pieces, struct xfs_reservation *reservation);
int xfs_reserve_log(const struct xfs_pieces *pieces, const struct xfs_perag *pag,
		    const struct xfs_measure *measured, struct xfs_reservation *reservation);
bool xfs_reservation_holds(const struct xfs_reservation *reservation, struct xfs_mount *mp,
			   const struct xfs_perag *pag, u64 by_intents, u64 rmap_bytes);
u64 xfs_forks_log_limit(const struct xfs_mount *mp);
u64 xfs_fixed_log_bytes(const struct xfs_pieces *pieces);
u64 xfs_inode_log_bytes(const struct xfs_pieces *pieces);
u64 xfs_ag_blocks_needed(const struct xfs_mount *mp, u64 map_blocks);

#endif /* EXCHRANGE_XFS_RESERVATION_H */
