/* SPDX-License-Identifier: GPL-2.0 */
/*
 * From one record of a tree to another, with a cursor that is in the tree already.
 */
#ifndef EXCHRANGE_XFS_WALK_H
#define EXCHRANGE_XFS_WALK_H

#include "private.h"

/* The place of a block: its AG, and which it is there. */
static inline xfs_agnumber_t xfs_ag_of(const struct xfs_mount *mp, u64 block)
{
	return block >> mp->m_sb.sb_agblklog;
}

static inline xfs_agblock_t xfs_block_in_ag(const struct xfs_mount *mp, u64 block)
{
	return block & (BIT_ULL(mp->m_sb.sb_agblklog) - 1);
}

/* On the disk, in sectors of 512 bytes. */
static inline xfs_daddr_t xfs_place_in_ag(const struct xfs_mount *mp, xfs_agnumber_t agno,
					  xfs_agblock_t block)
{
	return ((u64)agno * mp->m_sb.sb_agblocks + block) << mp->m_blkbb_log;
}

static inline xfs_daddr_t xfs_place_of(const struct xfs_mount *mp, u64 block)
{
	return xfs_place_in_ag(mp, xfs_ag_of(mp, block), xfs_block_in_ag(mp, block));
}

int xfs_walk_read(const struct xfs_btree_cur *cursor, xfs_daddr_t place, bool wait,
		  struct xfs_buf **block);
int xfs_walk_map(struct xfs_btree_cur *cursor, const struct xfs_inode *ip, u64 offset);
int xfs_walk_rmaps(struct xfs_btree_cur *cursor, xfs_agnumber_t agno, xfs_agblock_t block,
		   xfs_daddr_t *busy);
void xfs_walk_end(struct xfs_btree_cur *cursor);

#endif /* EXCHRANGE_XFS_WALK_H */
