// SPDX-License-Identifier: GPL-2.0
/*
 * What lies at the ends of files whose sizes change.
 *
 * Whoever calls these holds both inodes' IOLOCK and MMAPLOCK exclusively.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>

#include "exchange.h"

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

/* -ENOSPC, -EDQUOT, -EIO; no contents have changed. */
int xfs_exchange_prepare_ends(const struct xfs_exchange *exchange)
{
	int i, error = 0;

	for (i = 0; i < 2 && !error; i++)
		error = prepare_end(exchange, i);
	return error;
}

/*
 * After the exchange: nothing is cached or mapped behind an end that has come nearer, and
 * what file2 keeps there goes, if it can.  Nobody asks: the exchange is done.
 */
void xfs_exchange_settle_ends(const struct xfs_exchange *exchange)
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
		truncate_pagecache(xfs_exchange_inode(exchange, i), exchange->new_size[i]);
}
