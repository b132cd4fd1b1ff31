// SPDX-License-Identifier: GPL-2.0
/*
 * XFS back end: the steps of an exchange, which is one XFS transaction on file systems that
 * XFS's own ioctl refuses since they were made without exchange=1, and on kernels that have no
 * such ioctl; and XFS's own chain of transactions where it has one.
 *
 * Locks, in this order:
 *
 *	sb_start_write	no exchange on a frozen file system
 *	IOLOCK		the inode lock: no write, truncate, fallocate, reflink; layouts
 *			that NFS servers handed out are broken
 *	MMAPLOCK	the invalidate_lock: no page comes into the cache, no store through
 *			a mapping makes one dirty
 *	transaction	log space
 *	ILOCK		both block maps
 *	AGF		of the AG that a block map may grow in
 *
 * Two locks of a kind are taken in the order that XFS has for them, by XFS's functions.
 * User memory is not touched in between.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>

#include "../trace.h"
#include "exchange.h"

/* What this version knows of a file system's format; private.h has the bits. */
#define KNOWN_RO_COMPAT	(XFS_SB_FEAT_RO_COMPAT_FINOBT |		\
			 XFS_SB_FEAT_RO_COMPAT_RMAPBT |		\
			 XFS_SB_FEAT_RO_COMPAT_REFLINK |	\
			 XFS_SB_FEAT_RO_COMPAT_INOBTCNT)
#define KNOWN_INCOMPAT	(XFS_SB_FEAT_INCOMPAT_FTYPE |		\
			 XFS_SB_FEAT_INCOMPAT_SPINODES |	\
			 XFS_SB_FEAT_INCOMPAT_META_UUID |	\
			 XFS_SB_FEAT_INCOMPAT_BIGTIME |		\
			 XFS_SB_FEAT_INCOMPAT_NREXT64 |		\
			 XFS_SB_FEAT_INCOMPAT_EXCHRANGE |	\
			 XFS_SB_FEAT_INCOMPAT_PARENT)

static bool is_known_format(const struct xfs_mount *mp)
{
	const struct xfs_sb *sb = &mp->m_sb;

	return (sb->sb_versionnum & XFS_SB_VERSION_NUMBITS) == XFS_SB_VERSION_5 &&
	       !(sb->sb_features_ro_compat & ~KNOWN_RO_COMPAT) &&
	       !(sb->sb_features_incompat & ~KNOWN_INCOMPAT);
}

/* Why the file cannot be exchanged so, or EXCHRANGE_REASON_NONE. */
static u32 missing_reason(const struct file *file)
{
	const struct xfs_inode *ip = XFS_I(file_inode(file));

	if (!is_known_format(ip->i_mount))
		return EXCHRANGE_REASON_XFS_FORMAT;
	if (ip->i_diflags & XFS_DIFLAG_REALTIME)
		return EXCHRANGE_REASON_XFS_REALTIME;
	return EXCHRANGE_REASON_NONE;
}

/* Whether the file system was made for XFS's own ioctl. */
bool xfs_has_own_exchange(const struct file *file)
{
	return xfs_has_exchange_range(XFS_I(file_inode(file))->i_mount);
}

/* Of XFS's own ioctl, in bytes: blocks, or the realtime extents of a file that has those. */
u32 xfs_own_alignment(const struct file *file)
{
	const struct xfs_inode *ip = XFS_I(file_inode(file));
	const struct xfs_sb *sb = &ip->i_mount->m_sb;

	if (READ_ONCE(ip->i_diflags) & XFS_DIFLAG_REALTIME)
		return sb->sb_blocksize * sb->sb_rextsize;
	return sb->sb_blocksize;
}

void xfs_transaction_query(struct file *file, struct exchrange_query *query)
{
	query->reason = missing_reason(file);
	if (query->reason != EXCHRANGE_REASON_NONE)
		return;
	query->backend = EXCHRANGE_BACKEND_XFS_TRANSACTION;
	query->alignment = XFS_I(file_inode(file))->i_mount->m_sb.sb_blocksize;
	query->flags = EXCHRANGE_TO_EOF | EXCHRANGE_DSYNC | EXCHRANGE_DRY_RUN |
		       EXCHRANGE_FILE1_WRITTEN;
}

/* The ranges in blocks, and the sizes that both files will have. */
static void set_ranges(struct xfs_exchange *exchange)
{
	const struct exchange_request *request = exchange->request;
	unsigned int shift = exchange->mp->m_sb.sb_blocklog;
	u64 size[2];
	int i;

	for (i = 0; i < 2; i++) {
		size[i] = i_size_read(xfs_exchange_inode(exchange, i));
		exchange->pieces.start[i] = xfs_exchange_offset(exchange, i) >> shift;
		exchange->old_size[i] = size[i];
		exchange->new_size[i] = size[i];
	}
	exchange->pieces.length = round_up(request->length, 1ULL << shift) >> shift;
	exchange->pieces.written_only = request->flags & EXCHRANGE_FILE1_WRITTEN;
	exchange->pieces.skips_delayed = exchange->dry_run;
	exchange->pieces.cut_from = U64_MAX;
	if (!(request->flags & EXCHRANGE_TO_EOF))
		return;
	for (i = 0; i < 2; i++)
		exchange->new_size[i] = xfs_exchange_offset(exchange, i) + size[!i] -
					xfs_exchange_offset(exchange, !i);
	if (exchange->pieces.written_only)
		exchange->pieces.cut_from = round_up(exchange->new_size[1],
						     1ULL << shift) >> shift;
}

/*
 * Speculative preallocations take space, and count for their owner's quota; files without a
 * name have theirs until XFS gets to it.  As in XFS itself: this waits for no file that
 * somebody has locked.
 */
static int free_space(const struct xfs_exchange *exchange, int error)
{
	error = error == -ENOSPC ? xfs_blockgc_flush_all(exchange->mp) : 0;
	return error ?: xfs_blockgc_free_quota(exchange->pieces.ip[0], 0) ?:
			xfs_blockgc_free_quota(exchange->pieces.ip[1], 0);
}

static int plan_once(struct xfs_exchange *exchange)
{
	return exchange->in_chain ? xfs_chain_plan(exchange) :
				    xfs_exchange_plan(exchange);
}

/* -EBUSY: there is a delayed allocation that is not written back. */
static int plan(struct xfs_exchange *exchange)
{
	int error = plan_once(exchange);

	if (error == -EAGAIN)
		error = xfs_exchange_flush_all(exchange) ?: plan_once(exchange);
	return error == -EAGAIN ? -EBUSY : error;
}

/* -EAGAIN: a map, or the space of an AG, has changed between the plan and its turn. */
static int carry_out(struct xfs_exchange *exchange)
{
	int error = 0;

	if (!(exchange->request->flags & EXCHRANGE_DRY_RUN))
		error = xfs_exchange_drop_pages(exchange);
	if (error)
		return error;
	return exchange->in_chain ? xfs_chain_exchange(exchange) :
				    xfs_exchange_pieces(exchange);
}

/*
 * Writing other ranges back changes the maps: that ends here, since what is dirty in the end a
 * device alone can have made so, through a pin that it already had.
 */
static int settle_maps(const struct xfs_exchange *exchange)
{
	if (fatal_signal_pending(current))
		return -EINTR;
	cond_resched();
	return xfs_exchange_flush_all(exchange);
}

/*
 * As often as it takes: each time that a plan does not hold, a map has settled or somebody
 * else has got the space of an AG.  Where there is no more in any, the plan says -ENOSPC.
 */
static int exchange_space(struct xfs_exchange *exchange, bool planned)
{
	bool freed = false;
	int error;

	for (;;) {
		error = planned ? 0 : plan(exchange);
		planned = false;
		if (!error)
			error = carry_out(exchange);
		if (error == -EAGAIN)
			error = settle_maps(exchange) ?: -EAGAIN;
		if ((error == -EDQUOT || error == -ENOSPC) && !freed) {
			freed = true;
			error = free_space(exchange, error) ?: -EAGAIN;
		}
		if (error != -EAGAIN)
			return error;
	}
}

static bool has_privileges(const struct xfs_exchange *exchange)
{
	return !IS_NOSEC(xfs_exchange_inode(exchange, 0)) ||
	       !IS_NOSEC(xfs_exchange_inode(exchange, 1));
}

/*
 * As a write does it.  What the exchange needs is asked for before, as in a dry run: they stay
 * where it is refused.
 */
static int remove_privileges(struct xfs_exchange *exchange)
{
	int error;

	if (!has_privileges(exchange))
		return 0;
	exchange->dry_run = true;
	error = exchange_space(exchange, true);
	exchange->dry_run = false;
	if (!error)
		error = file_remove_privs(exchange->request->file1);
	if (!error && !xfs_exchange_is_one_file(exchange))
		error = file_remove_privs(exchange->request->file2);
	return error;
}

static int plan_with_space(struct xfs_exchange *exchange)
{
	int error = plan(exchange);

	if (error == -ENOSPC)
		error = free_space(exchange, error) ?: plan(exchange);
	return error;
}

/* Everything is checked, flushed and locked. */
static int exchange_locked(struct xfs_exchange *exchange)
{
	bool planned = !has_privileges(exchange) || exchange->dry_run;
	int error;

	error = xfs_exchange_prepare_ends(exchange) ?: plan_with_space(exchange);
	if (error)
		return error;

	exchange_watch_begin(exchange->vector);
	if (!exchange->dry_run)
		error = remove_privileges(exchange);
	if (!error)
		error = exchange_space(exchange, planned);
	if (!error && !exchange->dry_run)
		exchange->end_error = xfs_exchange_settle_ends(exchange);
	exchange_watch_end(exchange->vector, !error);
	return error;
}

static int check_freshness(const struct xfs_exchange *exchange)
{
	struct inode *inode = xfs_exchange_inode(exchange, 1);
	const u64 *freshness = exchange->request->freshness;

	if (exchange->request->operation != EXCHANGE_OPERATION_COMMIT)
		return 0;
	return exchange->in_chain ? xfs_chain_check_freshness(inode, freshness) :
				    xfs_check_freshness(inode, freshness);
}

/* XFS waits for those who have pinned blocks of a mapping only where both have DAX. */
static bool mixes_dax(const struct xfs_exchange *exchange)
{
	return IS_DAX(xfs_exchange_inode(exchange, 0)) !=
	       IS_DAX(xfs_exchange_inode(exchange, 1));
}

/* The caller has locked both files. */
static int check_and_exchange(struct xfs_exchange *exchange)
{
	struct exchange_request *request = exchange->request;
	int error;

	/* An empty file can be made a realtime one until it is locked. */
	if (missing_reason(request->file1) != EXCHRANGE_REASON_NONE ||
	    missing_reason(request->file2) != EXCHRANGE_REASON_NONE)
		return -EOPNOTSUPP;
	error = exchange_check_locked(exchange->vector, exchange->mp->m_sb.sb_blocksize);
	if (!error && mixes_dax(exchange))
		error = -EINVAL;
	if (!error)
		error = check_freshness(exchange);
	if (error)
		return error;
	/* XFS's own sets the times then too. */
	if (request->length == 0 && !exchange->in_chain) {
		exchange_watch_empty(exchange->vector);
		return 0;
	}

	exchange->give_up = jiffies + EXCHANGE_PIN_TIMEOUT;
	set_ranges(exchange);
	error = xfs_exchange_flush(exchange);
	if (!error)
		error = exchange_locked(exchange);
	if (!exchange->in_chain)
		xfs_exchange_finish(exchange);
	return error;
}

static int lock_and_exchange(struct xfs_exchange *exchange)
{
	struct xfs_inode **ip = exchange->pieces.ip;
	int error;

	file_start_write(exchange->request->file2);
	error = xfs_ilock2_io_mmap(ip[0], ip[1]);
	if (!error) {
		error = check_and_exchange(exchange);
		xfs_iunlock2_io_mmap(ip[0], ip[1]);
	}
	file_end_write(exchange->request->file2);
	return error;
}

/*
 * Returns when the exchange is on stable storage.  What follows its first transaction
 * does not count: log recovery does that.
 */
static int force_log(const struct xfs_exchange *exchange)
{
	return xfs_log_force_inode(exchange->pieces.ip[1]) ?:
	       xfs_log_force_inode(exchange->pieces.ip[0]);
}

/* After the exchange, without a lock. */
static int finish(const struct xfs_exchange *exchange)
{
	const struct exchange_request *request = exchange->request;
	int error = 0;

	if (request->flags & EXCHRANGE_DRY_RUN)
		return 0;
	/* The chain's first transaction is there already. */
	if (request->length && !exchange->in_chain &&
	    (exchange_must_be_durable(exchange->vector) ||
	     exchange->mp->m_features & XFS_FEAT_WSYNC))
		error = force_log(exchange);
	exchange_notify(exchange->vector);
	return error ?: exchange->end_error;
}

static int exchange_files(struct exchange_vector *vector, bool in_chain)
{
	struct exchange_request *request = &vector->requests[0];
	struct xfs_exchange *exchange;
	int error;

	if (missing_reason(request->file1) != EXCHRANGE_REASON_NONE ||
	    missing_reason(request->file2) != EXCHRANGE_REASON_NONE)
		return -EOPNOTSUPP;
	/* own_ioctl.c has asked before the files' flags changed. */
	error = in_chain ? 0 : exchange_check_rights(vector);
	if (error)
		return error;
	exchange = kzalloc(sizeof(*exchange), GFP_KERNEL);
	if (!exchange)
		return -ENOMEM;
	exchange->vector = vector;
	exchange->request = request;
	exchange->in_chain = in_chain;
	exchange->dry_run = request->flags & EXCHRANGE_DRY_RUN;
	exchange->pieces.ip[0] = XFS_I(file_inode(request->file1));
	exchange->pieces.ip[1] = XFS_I(file_inode(request->file2));
	exchange->mp = exchange->pieces.ip[1]->i_mount;

	error = lock_and_exchange(exchange);
	if (!error)
		error = finish(exchange);
	kfree(exchange);
	return error;
}

int xfs_transaction_submit(struct exchange_vector *vector)
{
	struct exchange_request *first = &vector->requests[0];
	int error;

	trace_exchrange_backend(first, EXCHRANGE_BACKEND_XFS_TRANSACTION);
	if (first->operation != EXCHANGE_OPERATION_START_COMMIT)
		return exchange_files(vector, false);
	error = xfs_sample_freshness(first->file2, first->freshness);
	first->sampled = !error;
	return error;
}

/* Whether xfs_chain_submit() knows all of both files' form. */
bool xfs_chain_takes(const struct exchange_request *request)
{
	return missing_reason(request->file1) == EXCHRANGE_REASON_NONE &&
	       missing_reason(request->file2) == EXCHRANGE_REASON_NONE &&
	       xfs_has_own_exchange(request->file1) &&
	       xfs_has_own_exchange(request->file2);
}

static int submit_in_chain(struct exchange_vector *vector)
{
	return exchange_files(vector, true);
}

/* EXCHANGE and COMMIT of files that it takes, with XFS's own sample. */
int xfs_chain_submit(struct exchange_vector *vector)
{
	const struct exchange_request *request = &vector->requests[0];

	if (request->flags & EXCHRANGE_TO_EOF && !(request->flags & EXCHRANGE_DRY_RUN))
		return xfs_keep_tails(vector, submit_in_chain);
	return submit_in_chain(vector);
}
