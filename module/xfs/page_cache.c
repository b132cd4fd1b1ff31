// SPDX-License-Identifier: GPL-2.0
/*
 * The page cache of all files: written back before the exchange, and what is going to
 * move dropped.
 *
 * Whoever calls these holds all inodes' IOLOCK and MMAPLOCK exclusively.
 */
#include <linux/fs.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include "exchange.h"

/* Bytes of a file that are written back together. */
struct dirty_run {
	struct address_space	*mapping;
	u64			start, last;
};

/*
 * What has to be written back of a range: it, with all of the file before it that is behind the
 * size on disk: else a crash finds zeroes there.  All of it where the size on disk has to be the
 * size.  Nothing of an empty one.
 */
static struct dirty_run dirty_run_of(const struct xfs_range *range, int side)
{
	const struct exchange_request *request = range->request;
	u64 offset = exchange_request_offset(request, side);
	struct xfs_inode *ip = range->map[side]->ip;

	if (request->flags & EXCHRANGE_TO_EOF)
		return (struct dirty_run) { VFS_I(ip)->i_mapping, 0, LLONG_MAX };
	if (!request->length)
		return (struct dirty_run) { };
	return (struct dirty_run) {
		.mapping	= VFS_I(ip)->i_mapping,
		.start		= min_t(u64, offset, ip->i_disk_size),
		.last		= offset + request->length - 1,
	};
}

typedef int flush_function(struct address_space *mapping, loff_t start, loff_t last);

/* Ranges without a gap between them go together.  -EINTR for a caller who is being killed. */
static int flush_runs(const struct xfs_exchange *exchange, flush_function *flush)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	struct dirty_run run = { };
	int side, error = 0;
	u32 i;

	for (i = 0; i < 2 * pieces->range_count && !error; i++) {
		const struct xfs_range *range = xfs_ordered_range(pieces, i, &side);
		const struct dirty_run next = dirty_run_of(range, side);

		if (next.mapping && next.mapping == run.mapping && next.start <= run.last + 1) {
			run.last = max(run.last, next.last);
			continue;
		}
		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
		if (run.mapping)
			error = flush(run.mapping, run.start, run.last);
		run = next;
	}
	if (run.mapping && !error)
		error = flush(run.mapping, run.start, run.last);
	return error;
}

/*
 * XFS's chain leaves the size on disk as it is without TO_EOF.  It may be the one from before a
 * write that has not been written back: then a range may end behind it, and after a crash
 * nobody would find what came there.  With the last page the size goes to the disk.
 */
static int flush_end(const struct xfs_exchange *exchange, const struct xfs_range *range,
		     int side)
{
	struct xfs_inode *ip = range->map[side]->ip;
	loff_t size = range->old_size[side];

	if (!exchange->in_chain || ip->i_disk_size >= size)
		return 0;
	return filemap_write_and_wait_range(VFS_I(ip)->i_mapping, size - 1, size - 1);
}

static int flush_ends(const struct xfs_exchange *exchange)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	int side, error = 0;
	u32 i;

	for (i = 0; i < pieces->range_count; i++)
		for (side = 0; side < 2 && !error; side++)
			error = flush_end(exchange, &pieces->ranges[i], side);
	return error;
}

/* Of a file of which nothing is on its way there is nothing to look for. */
static int wait_for(struct address_space *mapping, loff_t start, loff_t last)
{
	if (!mapping_tagged(mapping, PAGECACHE_TAG_WRITEBACK))
		return filemap_check_errors(mapping);
	return filemap_fdatawait_range(mapping, start, last);
}

/* All is on its way before the first is waited for. */
static int flush_ranges(const struct xfs_exchange *exchange)
{
	int error = flush_runs(exchange, filemap_fdatawrite_range);
	int waited = flush_runs(exchange, wait_for);

	return error ?: waited ?: flush_ends(exchange);
}

int xfs_exchange_flush(const struct xfs_exchange *exchange)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	int error;
	u32 i;

	for (i = 0; i < pieces->map_count; i++)
		inode_dio_wait(VFS_I(pieces->maps[i].ip));
	error = flush_ranges(exchange);
	for (i = 0; i < pieces->map_count && !error; i++)
		error = xfs_qm_dqattach(pieces->maps[i].ip);
	return error;
}

/*
 * Takes a range of a file out of the page cache and out of all mappings; the locks keep it
 * from coming back before the exchange is done: nobody sees pages of before and of after
 * beside each other.  -EBUSY where a device still writes to some of it.
 */
int xfs_exchange_drop_range(const struct xfs_exchange *exchange, struct xfs_inode *ip,
			    u64 offset, u64 length)
{
	loff_t last = min_t(u64, offset + length, MAX_LFS_FILESIZE) - 1;

	return exchange_drop_pages(VFS_I(ip)->i_mapping, offset, last, exchange->pin_wait);
}

/* The same, and what CoW has preallocated for it: it is clean, so nobody needs that. */
static int drop_mapped(const struct xfs_exchange *exchange, struct xfs_inode *ip, u64 offset,
		       u64 length)
{
	int error = xfs_exchange_drop_range(exchange, ip, offset, length);

	if (!error && ip->i_cowfp && ip->i_cowfp->if_bytes)
		error = xfs_reflink_cancel_cow_range(ip, offset, length, true);
	return error;
}

/* Blocks of a file that leave the page cache together. */
struct run {
	struct xfs_inode	*ip;
	u64			start, end;
};

static int drop_run(const struct xfs_exchange *exchange, const struct run *run)
{
	unsigned int shift = exchange->mp->m_sb.sb_blocklog;

	if (run->end == run->start)
		return 0;
	return drop_mapped(exchange, run->ip, run->start << shift,
			   (run->end - run->start) << shift);
}

static int drop_side(const struct xfs_exchange *exchange, struct run *run,
		     const struct xfs_piece *piece, int side)
{
	struct xfs_inode *ip = xfs_piece_inode(&exchange->pieces, piece, side);
	int error = 0;

	if (!has_side(piece, side))
		return 0;
	if (ip != run->ip || piece->offset[side] != run->end) {
		error = drop_run(exchange, run);
		run->ip = ip;
		run->start = piece->offset[side];
	}
	run->end = piece->offset[side] + piece->length;
	return error;
}

/* In the order of their places in each file: pieces without a gap go together. */
static int drop_pieces(const struct xfs_exchange *exchange)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	struct run run = { };
	int side, error = 0;
	u64 j;
	u32 i;

	for (i = 0; i < 2 * pieces->range_count; i++) {
		const struct xfs_range *range = xfs_ordered_range(pieces, i, &side);
		const struct xfs_piece *first = &pieces->piece[range->first_piece];

		for (j = 0; j < range->piece_count && !error; j++)
			error = drop_side(exchange, &run, &first[j], side);
	}
	return error ?: drop_run(exchange, &run);
}

/* With these locks nothing becomes dirty again but by a device, through a pin. */
int xfs_exchange_flush_all(const struct xfs_exchange *exchange)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	int error = 0;
	u32 i;

	for (i = 0; i < pieces->map_count && !error; i++)
		error = filemap_write_and_wait(VFS_I(pieces->maps[i].ip)->i_mapping);
	return error;
}

/* XFS's own chain looks for the pieces itself. */
static int drop_range(const struct xfs_exchange *exchange, int side)
{
	const struct xfs_range *range = xfs_only_range(exchange);
	unsigned int shift = exchange->mp->m_sb.sb_blocklog;

	if (!range->length)
		return 0;
	return drop_mapped(exchange, range->map[side]->ip, range->start[side] << shift,
			   range->length << shift);
}

static int drop_moving(const struct xfs_exchange *exchange)
{
	if (!exchange->in_chain)
		return drop_pieces(exchange);
	return drop_range(exchange, 0) ?: drop_range(exchange, 1);
}

static int drop_behind_ends(const struct xfs_exchange *exchange, int side)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	int error = 0;
	u32 i;

	for (i = 0; i < pieces->range_count && !error; i++) {
		const struct xfs_range *range = &pieces->ranges[i];

		if (range->new_size[side] < range->old_size[side])
			error = xfs_exchange_drop_range(exchange, range->map[side]->ip,
							range->new_size[side],
							MAX_LFS_FILESIZE);
	}
	return error;
}

/*
 * What is going to move, and what is behind an end that comes nearer, with the page that it
 * will be in: nothing of that is left to truncate when the size has changed.
 */
int xfs_exchange_drop_pages(const struct xfs_exchange *exchange)
{
	return drop_moving(exchange) ?:
	       drop_behind_ends(exchange, 0) ?: drop_behind_ends(exchange, 1);
}
