/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What other kernels have of XFS in another form: the rest is written for the newest.
 * The labels come from private.list: HAVE_x where this kernel has x, and the names of
 * the variants of a function's prototype.
 */
#ifndef EXCHRANGE_XFS_COMPAT_H
#define EXCHRANGE_XFS_COMPAT_H

/* Zoned file systems, which have to say where they allocate, are refused by their format. */
#ifdef XFS_TRUNCATE_PAGE_ZONED
static inline int compat_xfs_truncate_page(struct xfs_inode *ip, loff_t pos, bool *did_zero)
{
	return xfs_truncate_page(ip, pos, NULL, did_zero);
}

#undef xfs_truncate_page
#define xfs_truncate_page(...) compat_xfs_truncate_page(__VA_ARGS__)
#endif
#ifdef XFS_ZERO_RANGE_ZONED
static inline int compat_xfs_zero_range(struct xfs_inode *ip, loff_t pos, loff_t length,
					bool *did_zero)
{
	return xfs_zero_range(ip, pos, length, NULL, did_zero);
}

#undef xfs_zero_range
#define xfs_zero_range(...) compat_xfs_zero_range(__VA_ARGS__)
#endif

/* An allocation group (AG) is a kind of group since 6.13. */
#ifdef HAVE_xfs_perag_pag_group
static inline struct xfs_perag *xfs_perag_get(struct xfs_mount *mp, xfs_agnumber_t agno)
{
	struct xfs_group *group = xfs_group_get(mp, agno, XG_TYPE_AG);

	return group ? container_of(group, struct xfs_perag, pag_group) : NULL;
}

static inline void xfs_perag_put(struct xfs_perag *pag)
{
	xfs_group_put(&pag->pag_group);
}

static inline xfs_agnumber_t pag_agno(const struct xfs_perag *pag)
{
	return pag->pag_group.xg_gno;
}
#else
static inline xfs_agnumber_t pag_agno(const struct xfs_perag *pag)
{
	return pag->pag_agno;
}
#endif

/* Levels of the AG's trees: until 6.10 they are in an array. */
#ifdef HAVE_xfs_perag_pagf_levels
#define PAG_LEVEL(pag, tree)	((pag)->pagf_levels[XFS_BTNUM_ ## tree ## i])
#define pag_bno_level(pag)	PAG_LEVEL(pag, BNO)
#define pag_cnt_level(pag)	PAG_LEVEL(pag, CNT)
#define pag_rmap_level(pag)	PAG_LEVEL(pag, RMAP)
#else
#define pag_bno_level(pag)	((pag)->pagf_bno_level)
#define pag_cnt_level(pag)	((pag)->pagf_cnt_level)
#define pag_rmap_level(pag)	((pag)->pagf_rmap_level)
#endif

/* Whether somebody wants to know of each change of the AG's rmapbt: online repair does. */
static inline bool xfs_rmap_is_listened_to(const struct xfs_perag *pag)
{
#if defined(CONFIG_XFS_LIVE_HOOKS) && defined(HAVE_xfs_group_xg_rmap_update_hooks)
	return rcu_access_pointer(pag->pag_group.xg_rmap_update_hooks.head.head);
#elif defined(CONFIG_XFS_LIVE_HOOKS) && defined(HAVE_xfs_perag_pag_rmap_update_hooks)
	return rcu_access_pointer(pag->pag_rmap_update_hooks.head.head);
#else
	return false;
#endif
}

/* Never fails since 6.17. */
#ifdef XFS_TRANS_ALLOC_EMPTY_MAY_FAIL
static inline struct xfs_trans *compat_xfs_trans_alloc_empty(struct xfs_mount *mp)
{
	struct xfs_trans *tp;
	int error = xfs_trans_alloc_empty(mp, &tp);

	return error ? ERR_PTR(error) : tp;
}

#undef xfs_trans_alloc_empty
#define xfs_trans_alloc_empty(...) compat_xfs_trans_alloc_empty(__VA_ARGS__)
#endif

#ifndef HAVE_xfs_iext_count_extend
static inline int xfs_iext_count_extend(struct xfs_trans *tp, struct xfs_inode *ip,
					int fork, unsigned int count)
{
	int error = xfs_iext_count_may_overflow(ip, fork, count);

	return error == -EFBIG ? xfs_iext_count_upgrade(tp, ip, count) : error;
}
#endif

/* The counter of free blocks; -ENOSPC, and none are taken. */
static inline int xfs_take_free_blocks(struct xfs_mount *mp, u64 blocks)
{
#ifdef HAVE_xfs_mod_freecounter
	return xfs_mod_freecounter(mp, &mp->m_fdblocks, -(s64)blocks, false);
#elif defined(XFS_FREE_COUNTERS)
	return xfs_dec_freecounter(mp, XC_FREE_BLOCKS, blocks, false);
#else
	return xfs_dec_freecounter(mp, &mp->m_fdblocks, blocks, false);
#endif
}

static inline void xfs_give_free_blocks(struct xfs_mount *mp, u64 blocks)
{
#ifdef HAVE_xfs_mod_freecounter
	xfs_mod_freecounter(mp, &mp->m_fdblocks, blocks, false);
#elif defined(XFS_FREE_COUNTERS)
	xfs_add_freecounter(mp, XC_FREE_BLOCKS, blocks);
#else
	xfs_add_freecounter(mp, &mp->m_fdblocks, blocks);
#endif
}

/*
 * What @tp defers from here on comes into intents of its own.  Before there were barriers, XFS
 * adds what it can to the last one of its list: so those there are wait in @parted until
 * xfs_join_intents(), which is to be called whatever comes.
 */
static inline void xfs_part_intents(struct xfs_trans *tp, struct list_head *parted)
{
#ifdef HAVE_xfs_defer_add_barrier
	xfs_defer_add_barrier(tp);
#else
	list_splice_tail_init(&tp->t_dfops, parted);
#endif
}

static inline void xfs_join_intents(struct xfs_trans *tp, struct list_head *parted)
{
	list_splice_init(parted, &tp->t_dfops);
}

/* Whether it is about extents that come free. */
static inline bool xfs_frees_extents(const struct xfs_defer_pending *pending)
{
#ifdef HAVE_xfs_defer_pending_dfp_ops
	const char *name = pending->dfp_ops->name;

	return name && !strcmp(name, "extent_free");
#else
	return pending->dfp_type == XFS_DEFER_OPS_TYPE_FREE;
#endif
}

/* The AG of an extent that comes free, which is none of the realtime device. */
static inline struct xfs_perag *xfs_freed_perag(const struct xfs_extent_free_item *item)
{
#ifdef HAVE_xfs_extent_free_item_xefi_group
	return container_of(item->xefi_group, struct xfs_perag, pag_group);
#else
	return item->xefi_pag;
#endif
}

/* ILOCK is a bare rw_semaphore since 6.8. */
#ifdef HAVE_mrlock_t
#define xfs_ilock_of(ip)	(&(ip)->i_lock.mr_lock)
#else
#define xfs_ilock_of(ip)	(&(ip)->i_lock)
#endif

/* XFS has no exchange of its own before 6.10: see no_chain.c. */
#ifndef HAVE_xfs_exchmaps_req
struct xfs_exchmaps_req { };
#endif

/*
 * Blocks of a block map come from this AG on.  Before 6.4 they came from the AG of a
 * block, and from that alone.
 */
static inline void xfs_trans_set_lowest_ag(struct xfs_trans *tp, xfs_agnumber_t agno)
{
#ifdef HAVE_xfs_trans_t_highest_agno
	tp->t_highest_agno = agno;
#else
	tp->t_firstblock = (xfs_fsblock_t)agno << tp->t_mountp->m_sb.sb_agblklog;
#endif
}

/*
 * Whether xfs_bmapi_remap() takes the blocks that it maps off i_delayed_blks: it came in
 * with xfs_bmap_defer_add().
 */
#ifdef HAVE_xfs_bmap_defer_add
#define XFS_BMAPI_REMAP_TAKES_DELAYED	true
#else
#define XFS_BMAPI_REMAP_TAKES_DELAYED	false
#endif

#endif /* EXCHRANGE_XFS_COMPAT_H */
