/* SPDX-License-Identifier: GPL-2.0 */
/*
 * XFS as it is inside: its private types and functions, which a build takes from
 * the BTF of the kernel that it is for (scripts/private_types), and what XFS has as
 * macros and inlines, which no BTF tells.
 */
#ifndef EXCHRANGE_XFS_PRIVATE_H
#define EXCHRANGE_XFS_PRIVATE_H

#include <linux/bits.h>
#include <linux/fs.h>
#include <linux/kobject.h>
#include <linux/list.h>
#include <linux/list_lru.h>
#include <linux/mutex.h>
#include <linux/percpu_counter.h>
#include <linux/radix-tree.h>
#include <linux/ratelimit.h>
#include <linux/rhashtable.h>
#include <linux/rwsem.h>
#include <linux/semaphore.h>
#include <linux/shrinker.h>
#include <linux/spinlock.h>
#include <linux/uuid.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "../private_layout.h"
#include "xfs_types.h"

/* Of the log's and the disk's format: fs/xfs/libxfs/xfs_{format,log_format}.h. */
#define XFS_DIFLAG_REALTIME		BIT(0)
#define XFS_DIFLAG_PREALLOC		BIT(1)
#define XFS_DIFLAG2_REFLINK		BIT_ULL(1)
#define XFS_SB_VERSION_NUMBITS		0x000f
#define XFS_SB_VERSION_5		5
#define XFS_SB_FEAT_RO_COMPAT_FINOBT	BIT(0)
#define XFS_SB_FEAT_RO_COMPAT_RMAPBT	BIT(1)
#define XFS_SB_FEAT_RO_COMPAT_REFLINK	BIT(2)
#define XFS_SB_FEAT_RO_COMPAT_INOBTCNT	BIT(3)
#define XFS_SB_FEAT_INCOMPAT_FTYPE	BIT(0)
#define XFS_SB_FEAT_INCOMPAT_SPINODES	BIT(1)
#define XFS_SB_FEAT_INCOMPAT_META_UUID	BIT(2)
#define XFS_SB_FEAT_INCOMPAT_BIGTIME	BIT(3)
#define XFS_SB_FEAT_INCOMPAT_NREXT64	BIT(5)
#define XFS_SB_FEAT_INCOMPAT_EXCHRANGE	BIT(6)
#define XFS_SB_FEAT_INCOMPAT_PARENT	BIT(7)
#define XFS_DINODE_FMT_EXTENTS		2
#define XFS_DINODE_FMT_BTREE		3
#define XFS_MAX_BMBT_EXTLEN		(BIT_ULL(21) - 1)
#define XFS_BMBT_REC_SIZE		16
#define XFS_DINODE_V3_SIZE		176
#define XFS_RMAP_OFF_UNWRITTEN		BIT_ULL(61)
#define XFS_RMAP_OFF_ATTR_FORK		BIT_ULL(63)
#define XFS_RMAP_OFF_MASK		GENMASK_ULL(53, 0)
#define XFS_EXCHMAPS_SET_SIZES		BIT_ULL(1)
#define XFS_EXCHMAPS_INO1_WRITTEN	BIT_ULL(2)
#define XFS_RMAP_OFF_BMBT_BLOCK		BIT_ULL(62)
#define XFS_DIFLAG2_NREXT64		BIT_ULL(4)
#define XFS_MAX_EXTCNT_SMALL		(BIT_ULL(31) - 1)
#define XFS_BMDR_HEADER_SIZE		4
#define XFS_RMAP_REC_SIZE		24
#define NULLFSBLOCK			((xfs_fsblock_t)-1)
#define XFS_ILOG_CORE			0x001
#define XFS_ILOG_DEXT			0x004
#define XFS_ILOG_DBROOT			0x008
#define XFS_LI_INODE			0x123b
#define XFS_LI_BUF			0x123c
#define XFS_BUF_LOG_FORMAT_SIZE		24	/* without its map's words */
#define XLOG_OP_HEADER_BYTES		12
#define XFS_INTENT_HEADER_SIZE		16
#define XFS_MAP_EXTENT_SIZE		32
#define XFS_EXTENT_SIZE			16

/* Of memory: fs/xfs of Linux 6.12. */
#define XFS_DATA_FORK			0
#define XFS_ILOCK_EXCL			BIT(2)
#define XBF_TRYLOCK			BIT(30)
#define XFS_BMAPI_PREALLOC		BIT(3)
#define XFS_BMAPI_REMAP			BIT(7)
#define XFS_TRANS_PERM_LOG_RES		BIT(2)
#define XFS_TRANS_SYNC			BIT(3)
#define XFS_TRANS_RES_FDBLKS		BIT(6)
#define XFS_TRANS_DQ_BCOUNT		BIT(9)
#define XFS_QMOPT_FORCE_RES		BIT(3)
#define XFS_QMOPT_RES_REGBLKS		BIT(7)
#define XFS_RMAP_BMBT_BLOCK		BIT(1)
#define XFS_RMAP_UNWRITTEN		BIT(2)
#define XFS_BB_OWNER			BIT(8)
#define XFS_ICHGTIME_MOD		0x1
#define XFS_ICHGTIME_CHG		0x2
#define XFS_LI_DIRTY			3
#define XFS_BLI_STALE			BIT(2)
#define XFS_LI_IN_AIL			0
#define XFS_FEAT_WSYNC			BIT_ULL(52)
#define XFS_RMAP_OWN_NULL		(~0ULL)
#define XFS_OWNER_INFO_BMBT_BLOCK	BIT(1)
#define XFS_EFI_BMBT_BLOCK		BIT(2)
#define NULLAGBLOCK			((xfs_agblock_t)-1)
#define NULLAGNUMBER			((xfs_agnumber_t)-1)
#define HOLESTARTBLOCK			((xfs_fsblock_t)-2LL)

/* The headers of blocks of an AG's trees, and of a block map's. */
#define XFS_SHORT_BLOCK_HEADER \
	(offsetof(struct xfs_btree_block, bb_u) + sizeof_field(struct xfs_btree_block, bb_u.s))
#define XFS_LONG_BLOCK_HEADER \
	(offsetof(struct xfs_btree_block, bb_u) + sizeof_field(struct xfs_btree_block, bb_u.l))

static inline struct xfs_inode *XFS_I(const struct inode *inode)
{
	return container_of(inode, struct xfs_inode, i_vnode);
}

static inline struct inode *VFS_I(struct xfs_inode *ip)
{
	return &ip->i_vnode;
}

/* A delayed allocation has no block yet: fs/xfs/libxfs/xfs_format.h. */
static inline bool isnullstartblock(xfs_fsblock_t block)
{
	const xfs_fsblock_t mask = GENMASK_ULL(51, 17);

	return (block & mask) == mask;
}

static inline bool xfs_has_rmapbt(const struct xfs_mount *mp)
{
	return mp->m_sb.sb_features_ro_compat & XFS_SB_FEAT_RO_COMPAT_RMAPBT;
}

static inline bool xfs_has_reflink(const struct xfs_mount *mp)
{
	return mp->m_sb.sb_features_ro_compat & XFS_SB_FEAT_RO_COMPAT_REFLINK;
}

static inline bool xfs_has_exchange_range(const struct xfs_mount *mp)
{
	return mp->m_sb.sb_features_incompat & XFS_SB_FEAT_INCOMPAT_EXCHRANGE;
}

static inline xfs_agnumber_t xfs_ino_to_agno(const struct xfs_mount *mp,
					     xfs_ino_t ino)
{
	return ino >> mp->m_ino_geo.agino_log;
}

/* Dquots of a kind, of which there are three, that one transaction can change. */
#define XFS_MAX_DQUOTS \
	((unsigned int)(sizeof_field(struct xfs_dquot_acct, dqs) / sizeof(struct xfs_dqtrx) / 3))

#include "compat.h"

#endif /* EXCHRANGE_XFS_PRIVATE_H */
