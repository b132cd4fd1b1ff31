// SPDX-License-Identifier: GPL-2.0
/*
 * XFS's own exchange: a chain of transactions with a log intent, which log recovery goes on
 * with.  XFS's ioctl takes the locks itself and truncates the page cache, which loses bytes
 * (see drop_pages.c) and knows no way round a delayed allocation behind the end of a file.
 * So here is what it does below that, after the steps of exchange.c.
 */
#include "exchange.h"

/*
 * The part of the ranges that XFS can plan with in a dry run: a delayed allocation, which has
 * to stay then, lies behind the end of a file.
 */
static void limit_dry_run(struct xfs_exchange *exchange)
{
	unsigned int shift = exchange->mp->m_sb.sb_blocklog;
	const struct xfs_range *range = xfs_only_range(exchange);
	struct xfs_exchmaps_req *request = &exchange->chain;
	int i;

	for (i = 0; i < 2; i++) {
		u64 end = round_up(range->old_size[i], 1ULL << shift) >> shift;

		if (range->map[i]->ip->i_delayed_blks)
			request->blockcount = min(request->blockcount,
						  end - range->start[i]);
	}
}

/*
 * Finds out what it takes.  -ENOSPC, -EFBIG, -EAGAIN for a delayed allocation; errors of
 * reading a map.  IOLOCK and MMAPLOCK of both files.
 */
int xfs_chain_plan(struct xfs_exchange *exchange)
{
	const struct xfs_range *range = xfs_only_range(exchange);
	int error;

	exchange->chain = (struct xfs_exchmaps_req) {
		.ip1		= range->map[0]->ip,
		.ip2		= range->map[1]->ip,
		.startoff1	= range->start[0],
		.startoff2	= range->start[1],
		.blockcount	= range->length,
	};
	if (range->request->flags & EXCHRANGE_TO_EOF)
		exchange->chain.flags |= XFS_EXCHMAPS_SET_SIZES;
	if (range->written_only)
		exchange->chain.flags |= XFS_EXCHMAPS_INO1_WRITTEN;
	if (exchange->pieces.skips_delayed)
		limit_dry_run(exchange);

	xfs_exchange_lock_maps(exchange);
	error = xfs_exchmaps_estimate(&exchange->chain);
	xfs_exchange_unlock_maps(exchange);
	/* Nothing else is wrong with it. */
	return error == -EINVAL ? -EAGAIN : error;
}

static bool same_dquots(const struct xfs_inode *ip1, const struct xfs_inode *ip2)
{
	return ip1->i_udquot == ip2->i_udquot && ip1->i_gdquot == ip2->i_gdquot &&
	       ip1->i_pdquot == ip2->i_pdquot;
}

/*
 * -EDQUOT or -ENOSPC where a file gains more than its quotas allow.  What each gets in all is
 * reserved in any case: XFS does not count what goes against it.
 */
static int reserve_quota(const struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	const struct xfs_exchmaps_req *request = &exchange->chain;
	struct xfs_inode *ip1 = request->ip1, *ip2 = request->ip2;
	s64 gain = request->ip2_bcount - request->ip1_bcount;
	int error = 0;

	if (same_dquots(ip1, ip2))
		return 0;
	if (gain)
		error = xfs_trans_reserve_quota_nblks(tp, gain > 0 ? ip1 : ip2,
						      abs(gain), 0, false);
	return error ?:
	       xfs_trans_reserve_quota_nblks(tp, ip1, request->ip1_bcount, 0, true) ?:
	       xfs_trans_reserve_quota_nblks(tp, ip2, request->ip2_bcount, 0, true);
}

/* The chain is durable as soon as its first transaction is. */
static bool must_be_durable(const struct xfs_exchange *exchange)
{
	return exchange_must_be_durable(exchange->vector) ||
	       exchange->mp->m_features & XFS_FEAT_WSYNC;
}

/*
 * The exchange, after xfs_chain_plan() and with nothing of the ranges in the page cache.  0 in a
 * dry run where it could be done.  -ENOSPC, -EDQUOT, and nothing has changed; another error,
 * and the file system is shut down.
 */
int xfs_chain_exchange(struct xfs_exchange *exchange)
{
	struct xfs_mount *mp = exchange->mp;
	struct xfs_trans *tp;
	int error;

	error = xfs_trans_alloc(mp, &mp->m_resv.tr_write, exchange->chain.resblks, 0,
				XFS_TRANS_RES_FDBLKS, &tp);
	if (error)
		return error;
	xfs_exchange_join_maps(exchange, tp);

	error = reserve_quota(exchange, tp);
	if (error || exchange->dry_run) {
		xfs_trans_cancel(tp);
		goto out_unlock;
	}
	xfs_exchange_touch(exchange, tp);
	xfs_exchange_mappings(tp, &exchange->chain);
	if (must_be_durable(exchange))
		tp->t_flags |= XFS_TRANS_SYNC;
	error = xfs_trans_commit(tp);
	if (!error)
		xfs_exchange_set_sizes(exchange);
out_unlock:
	xfs_exchange_unlock_maps(exchange);
	return error;
}

/* --- what XFS's START_COMMIT samples ------------------------------------------------ */

struct xfs_own_freshness {
	u32	fs[2];
	u64	ino;
	s64	mtime, ctime;		/* seconds */
	s32	mtime_nsec, ctime_nsec;
	u32	generation;
	u32	magic;
};

static_assert(sizeof(struct xfs_own_freshness) ==
	      sizeof_field(struct exchrange_commit, file2_freshness));

#define OWN_FRESHNESS_MAGIC	0x444f524b

static bool is_time(s64 seconds, s32 nanoseconds, struct timespec64 time)
{
	return time.tv_sec == seconds && time.tv_nsec == nanoseconds;
}

/* -EBUSY where @inode is not what @freshness tells.  With the inode's lock. */
int xfs_chain_check_freshness(struct inode *inode, const u64 freshness[6])
{
	const struct xfs_mount *mp = XFS_I(inode)->i_mount;
	struct xfs_own_freshness sample;

	memcpy(&sample, freshness, sizeof(sample));
	if (sample.magic != OWN_FRESHNESS_MAGIC ||
	    memcmp(sample.fs, mp->m_fixedfsid, sizeof(sample.fs)) ||
	    sample.ino != inode->i_ino ||
	    sample.generation != inode->i_generation ||
	    !is_time(sample.mtime, sample.mtime_nsec, inode_get_mtime(inode)) ||
	    !is_time(sample.ctime, sample.ctime_nsec, inode_get_ctime(inode)))
		return -EBUSY;
	return 0;
}
