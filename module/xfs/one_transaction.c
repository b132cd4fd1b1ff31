// SPDX-License-Identifier: GPL-2.0
/*
 * XFS back end: one XFS transaction, on file systems that XFS's own ioctl refuses since
 * they were made without exchange=1, and on kernels that have no such ioctl.
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
#include "transaction.h"

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

/* How often a plan is made anew where it did not hold. */
#define ATTEMPTS	8

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

static struct inode *inode_of(const struct xfs_exchange *exchange, int side)
{
	return VFS_I(exchange->pieces.ip[side]);
}

static bool is_one_file(const struct xfs_exchange *exchange)
{
	return exchange->pieces.ip[0] == exchange->pieces.ip[1];
}

static u64 offset_of(const struct exchange_request *request, int side)
{
	return side ? request->file2_offset : request->file1_offset;
}

/* The ranges in blocks, and the sizes that both files will have. */
static void set_ranges(struct xfs_exchange *exchange)
{
	const struct exchange_request *request = exchange->request;
	unsigned int shift = exchange->mp->m_sb.sb_blocklog;
	u64 size[2];
	int i;

	for (i = 0; i < 2; i++) {
		size[i] = i_size_read(inode_of(exchange, i));
		exchange->pieces.start[i] = offset_of(request, i) >> shift;
		exchange->old_size[i] = size[i];
		exchange->new_size[i] = size[i];
	}
	exchange->pieces.length = round_up(request->length, 1ULL << shift) >> shift;
	exchange->pieces.written_only = request->flags & EXCHRANGE_FILE1_WRITTEN;
	exchange->pieces.cut_from = U64_MAX;
	if (!(request->flags & EXCHRANGE_TO_EOF))
		return;
	for (i = 0; i < 2; i++)
		exchange->new_size[i] = offset_of(request, i) + size[!i] -
					offset_of(request, !i);
	if (exchange->pieces.written_only)
		exchange->pieces.cut_from = round_up(exchange->new_size[1],
						     1ULL << shift) >> shift;
}

/*
 * Writes a range back, with all of the file before it that is behind the size on disk:
 * else a crash finds zeroes there.  All of it where the size on disk has to be the size.
 */
static int flush_range(const struct xfs_exchange *exchange, int side)
{
	const struct exchange_request *request = exchange->request;
	struct xfs_inode *ip = exchange->pieces.ip[side];
	u64 offset = offset_of(request, side);

	if (request->flags & EXCHRANGE_TO_EOF)
		return filemap_write_and_wait(VFS_I(ip)->i_mapping);
	return filemap_write_and_wait_range(VFS_I(ip)->i_mapping,
					    min_t(u64, offset, ip->i_disk_size),
					    offset + request->length - 1);
}

static int flush(const struct xfs_exchange *exchange)
{
	int i, error = 0;

	for (i = 0; i < 2; i++)
		inode_dio_wait(inode_of(exchange, i));
	for (i = 0; i < 2 && !error; i++)
		error = flush_range(exchange, i) ?:
			xfs_qm_dqattach(exchange->pieces.ip[i]);
	return error;
}

/*
 * Whether it has blocks, or will, from @from on to @end, in bytes; or its map cannot be
 * read, which what comes next tells.
 */
static bool has_blocks(struct xfs_inode *ip, u64 from, u64 end)
{
	unsigned int shift = ip->i_mount->m_sb.sb_blocklog;
	struct xfs_iext_cursor cursor;
	struct xfs_bmbt_irec record;
	bool found = true;

	xfs_ilock(ip, XFS_ILOCK_EXCL);
	if (!xfs_iread_extents(NULL, ip, XFS_DATA_FORK))
		found = xfs_iext_lookup_extent(ip, &ip->i_df, from >> shift,
					       &cursor, &record) &&
			record.br_startoff < end >> shift;
	xfs_iunlock(ip, XFS_ILOCK_EXCL);
	return found;
}

/*
 * What of a file that is going to grow is behind its end, in its last block and in those
 * that it has there.  XFS writes zeroes behind the end.
 */
static int zero_behind_end(const struct xfs_exchange *exchange,
			   struct xfs_inode *ip, u64 new_size)
{
	u64 size = i_size_read(VFS_I(ip));
	u64 from = round_up(size, exchange->mp->m_sb.sb_blocksize);
	u64 end = round_up(new_size, exchange->mp->m_sb.sb_blocksize);
	int error = 0;

	if (from > size)
		error = xfs_zero_range(ip, size, from - size, NULL) ?:
			filemap_write_and_wait_range(VFS_I(ip)->i_mapping, size,
						     from - 1);
	/* Which asks for space and quota, even where there is nothing. */
	if (!error && end > from && has_blocks(ip, from, end))
		error = xfs_free_file_space(ip, from, end - from);
	return error;
}

/*
 * What is behind the end of a file and in the range: with FILE1_WRITTEN it stays where it
 * is, and where the file grows it must not come to light; a delayed allocation cannot
 * change places.  Nobody sees any of it.
 */
static int prepare_end(const struct xfs_exchange *exchange, int side)
{
	struct xfs_inode *ip = exchange->pieces.ip[side];
	u64 new_size = exchange->new_size[side];

	if (!(exchange->request->flags & EXCHRANGE_TO_EOF))
		return 0;
	if (exchange->pieces.written_only && new_size > i_size_read(VFS_I(ip)) &&
	    !(exchange->request->flags & EXCHRANGE_DRY_RUN))
		return zero_behind_end(exchange, ip, new_size);
	return ip->i_delayed_blks ? xfs_free_eofblocks(ip) : 0;
}

/*
 * Takes part of a range out of the page cache, out of all mappings, and out of what CoW
 * has preallocated for it.  It is clean, and the locks keep it from coming back before
 * the exchange is done: nobody sees pages of before and of after beside each other.
 */
static int drop_range(struct xfs_inode *ip, u64 offset, u64 length)
{
	int error = xfs_flush_unmap_range(ip, offset, length);

	/* One that a device wrote to meanwhile may have stayed. */
	if (!error && filemap_range_has_page(VFS_I(ip)->i_mapping, offset,
					     offset + length - 1))
		error = -EAGAIN;
	if (!error && ip->i_cowfp && ip->i_cowfp->if_bytes)
		error = xfs_reflink_cancel_cow_range(ip, offset, length, true);
	return error;
}

/* Pieces without a gap go together. */
static int drop_pieces(const struct xfs_exchange *exchange, int side)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	unsigned int shift = exchange->mp->m_sb.sb_blocklog;
	u64 i, start = 0, end = 0;
	int error = 0;

	for (i = 0; i < pieces->count && !error; i++) {
		const struct xfs_piece *piece = &pieces->piece[i];

		if (!has_side(piece, side))
			continue;
		if (piece->offset[side] != end) {
			if (end > start)
				error = drop_range(pieces->ip[side], start << shift,
						   (end - start) << shift);
			start = piece->offset[side];
		}
		end = piece->offset[side] + piece->length;
	}
	if (!error && end > start)
		error = drop_range(pieces->ip[side], start << shift,
				   (end - start) << shift);
	return error;
}

/* As a write does it. */
static int remove_privileges(const struct xfs_exchange *exchange)
{
	int error;

	error = file_remove_privs(exchange->request->file1);
	if (!error && !is_one_file(exchange))
		error = file_remove_privs(exchange->request->file2);
	return error;
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

/*
 * -EAGAIN: a map, or the space of an AG, has changed between the plan and its turn.
 * @planned: there is one that may hold still.
 */
static int try_exchange(struct xfs_exchange *exchange, bool planned)
{
	bool dry_run = exchange->request->flags & EXCHRANGE_DRY_RUN;
	int i, error = 0;

	if (!planned)
		error = xfs_exchange_plan(exchange);
	for (i = 0; i < 2 && !error && !dry_run; i++)
		error = drop_pieces(exchange, i);
	return error ?: xfs_exchange_pieces(exchange);
}

/* With these locks nothing becomes dirty again. */
static int flush_all(const struct xfs_exchange *exchange)
{
	return filemap_write_and_wait(inode_of(exchange, 0)->i_mapping) ?:
	       filemap_write_and_wait(inode_of(exchange, 1)->i_mapping);
}

static int exchange_space(struct xfs_exchange *exchange, bool planned)
{
	bool freed = false;
	int attempt, error;

	for (attempt = 0; attempt < ATTEMPTS; attempt++) {
		error = try_exchange(exchange, planned && attempt == 0);
		/* Writeback of other ranges changes the maps; this ends it. */
		if (error == -EAGAIN)
			error = flush_all(exchange) ?: -EAGAIN;
		if ((error == -EDQUOT || error == -ENOSPC) && !freed) {
			freed = true;
			error = free_space(exchange, error) ?: -EAGAIN;
		}
		if (error != -EAGAIN)
			return error;
	}
	/* Others take the space of each AG as soon as it is found. */
	return -ENOSPC;
}

/*
 * After the exchange: nothing is cached or mapped behind an end that has come nearer, and
 * what file2 keeps there goes, if it can.  Nobody asks: the exchange is done.
 */
static void settle_ends(const struct xfs_exchange *exchange)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	unsigned int shift = exchange->mp->m_sb.sb_blocklog;
	u64 end = pieces->start[1] + pieces->length;
	int i;

	if (!(exchange->request->flags & EXCHRANGE_TO_EOF))
		return;
	if (pieces->written_only && exchange->new_size[1] < exchange->old_size[1])
		xfs_truncate_page(pieces->ip[1], exchange->new_size[1], NULL);
	if (pieces->cut_from < end &&
	    has_blocks(pieces->ip[1], pieces->cut_from << shift, end << shift))
		xfs_free_file_space(pieces->ip[1], pieces->cut_from << shift,
				    (end - pieces->cut_from) << shift);
	for (i = 0; i < 2; i++)
		truncate_pagecache(inode_of(exchange, i), exchange->new_size[i]);
}

static int plan(struct xfs_exchange *exchange)
{
	int error = xfs_exchange_plan(exchange);

	if (error == -ENOSPC)
		error = free_space(exchange, error) ?: xfs_exchange_plan(exchange);
	return error;
}

/* Everything is checked, flushed and locked. */
static int exchange_locked(struct xfs_exchange *exchange)
{
	bool planned;
	int i, error = 0;

	for (i = 0; i < 2 && !error; i++)
		error = prepare_end(exchange, i);
	/* What the exchange needs is asked for before the privileges go. */
	if (!error)
		error = plan(exchange);
	planned = !error;
	if (error == -EAGAIN)
		error = 0;
	if (!error && !(exchange->request->flags & EXCHRANGE_DRY_RUN))
		error = remove_privileges(exchange);
	if (error)
		return error;

	exchange_watch_begin(exchange->request);
	error = exchange_space(exchange, planned);
	if (!error && !(exchange->request->flags & EXCHRANGE_DRY_RUN))
		settle_ends(exchange);
	exchange_watch_end(exchange->request, !error);
	return error;
}

/* The caller has locked both files. */
static int check_and_exchange(struct xfs_exchange *exchange,
			      const u64 *freshness)
{
	struct exchange_request *request = exchange->request;
	int error;

	/* An empty file can be made a realtime one until it is locked. */
	if (missing_reason(request->file1) != EXCHRANGE_REASON_NONE ||
	    missing_reason(request->file2) != EXCHRANGE_REASON_NONE)
		return -EOPNOTSUPP;
	error = exchange_check_locked(request, exchange->mp->m_sb.sb_blocksize);
	/* XFS waits for those who have pinned blocks of a mapping only where both have DAX. */
	if (!error && IS_DAX(inode_of(exchange, 0)) != IS_DAX(inode_of(exchange, 1)))
		error = -EINVAL;
	if (!error && freshness)
		error = xfs_check_freshness(inode_of(exchange, 1), freshness);
	if (error)
		return error;
	if (request->length == 0) {
		exchange_watch_empty(request);
		return 0;
	}

	set_ranges(exchange);
	error = flush(exchange);
	if (!error)
		error = exchange_locked(exchange);
	xfs_exchange_finish(exchange);
	return error;
}

static int lock_and_exchange(struct xfs_exchange *exchange,
			     const u64 *freshness)
{
	struct xfs_inode **ip = exchange->pieces.ip;
	int error;

	file_start_write(exchange->request->file2);
	error = xfs_ilock2_io_mmap(ip[0], ip[1]);
	if (!error) {
		error = check_and_exchange(exchange, freshness);
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
	if (request->length &&
	    (exchange_must_be_durable(request) ||
	     exchange->mp->m_features & XFS_FEAT_WSYNC))
		error = force_log(exchange);
	exchange_notify(request);
	return error;
}

static int xfs_transaction_exchange(struct exchange_request *request,
				    const u64 *freshness)
{
	struct xfs_exchange *exchange;
	int error;

	if (missing_reason(request->file1) != EXCHRANGE_REASON_NONE ||
	    missing_reason(request->file2) != EXCHRANGE_REASON_NONE)
		return -EOPNOTSUPP;
	error = exchange_verify_areas(request);
	if (error)
		return error;
	exchange = kzalloc(sizeof(*exchange), GFP_KERNEL);
	if (!exchange)
		return -ENOMEM;
	exchange->request = request;
	exchange->pieces.ip[0] = XFS_I(file_inode(request->file1));
	exchange->pieces.ip[1] = XFS_I(file_inode(request->file2));
	exchange->mp = exchange->pieces.ip[1]->i_mount;

	error = lock_and_exchange(exchange, freshness);
	if (!error)
		error = finish(exchange);
	kfree(exchange);
	return error;
}

int xfs_transaction_submit(struct exchange_request *request)
{
	int error = -EINVAL;

	trace_exchrange_backend(request, EXCHRANGE_BACKEND_XFS_TRANSACTION);
	switch (request->operation) {
	case EXCHANGE_OPERATION_EXCHANGE:
		error = xfs_transaction_exchange(request, NULL);
		break;
	case EXCHANGE_OPERATION_START_COMMIT:
		error = xfs_sample_freshness(request->file2,
					     request->freshness);
		request->sampled = !error;
		break;
	case EXCHANGE_OPERATION_COMMIT:
		error = xfs_transaction_exchange(request, request->freshness);
		break;
	}
	return error;
}
