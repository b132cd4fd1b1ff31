// SPDX-License-Identifier: GPL-2.0
/*
 * What lies at the ends of files whose sizes change.
 *
 * Whoever calls these holds all inodes' IOLOCK and MMAPLOCK exclusively.
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
 * Frees what a file has behind @size, in bytes, where it ends, with what was preallocated
 * there.  Takes neither space nor quota; nothing of it is in the page cache.
 */
static int free_behind(struct xfs_inode *ip, u64 size)
{
	struct xfs_mount *mp = ip->i_mount;
	struct xfs_trans *tp;
	int error;

	error = xfs_trans_alloc(mp, &mp->m_resv.tr_itruncate, 0, 0, 0, &tp);
	if (error)
		return error;
	xfs_ilock(ip, XFS_ILOCK_EXCL);
	xfs_trans_ijoin(tp, ip, 0);
	error = xfs_itruncate_extents_flags(&tp, ip, XFS_DATA_FORK, size, 0);
	if (error)
		xfs_trans_cancel(tp);
	else
		error = xfs_trans_commit(tp);
	xfs_iunlock(ip, XFS_ILOCK_EXCL);
	return error;
}

/*
 * What of a file that is going to grow is behind its end, in its last block and in those
 * that it has there.  XFS writes zeroes behind the end.
 */
static int clear_behind_end(const struct xfs_exchange *exchange, const struct xfs_range *range,
			    int side)
{
	struct xfs_inode *ip = range->map[side]->ip;
	u64 size = range->old_size[side];
	u64 from = round_up(size, exchange->mp->m_sb.sb_blocksize);
	u64 end = round_up(range->new_size[side], exchange->mp->m_sb.sb_blocksize);
	int error = 0;

	if (from > size) {
		error = xfs_zero_range(ip, size, from - size, NULL) ?:
			filemap_write_and_wait_range(VFS_I(ip)->i_mapping, size,
						     from - 1);
		/* Linux before 6.10 has moved it to the end of the block. */
		i_size_write(VFS_I(ip), size);
	}
	if (!error && end > from && has_blocks(ip, from, end))
		error = xfs_exchange_drop_range(exchange, ip, from,
						MAX_LFS_FILESIZE) ?:
			free_behind(ip, size);
	return error;
}

/*
 * file2's new last block, if it keeps its own, gets zeroes behind the end after the exchange:
 * what can fail of that is tried before.  The block must be no other file's (space, quota),
 * and be readable.  Its contents stay.
 */
static int prepare_last_block(const struct xfs_range *range)
{
	struct xfs_inode *ip = range->map[1]->ip;
	u64 new_size = range->new_size[1];
	u64 block_size = ip->i_mount->m_sb.sb_blocksize;
	u64 start = round_down(new_size, block_size);
	struct folio *folio;
	int error = 0;

	if (start == new_size)
		return 0;
	/* Linux before 6.12 reserves a block where it unshares a hole, and does not use it. */
	if (has_blocks(ip, start, start + block_size))
		error = xfs_reflink_unshare(ip, start, block_size);
	if (error || IS_DAX(VFS_I(ip)))
		return error;
	folio = read_mapping_folio(VFS_I(ip)->i_mapping, new_size >> PAGE_SHIFT,
				   range->request->file2);
	if (IS_ERR(folio))
		return PTR_ERR(folio);
	folio_put(folio);
	return 0;
}

/*
 * What is behind the end of a file and in the range: with FILE1_WRITTEN it stays where it
 * is, and where the file grows it must not come to light; a delayed allocation cannot
 * change places.  Nobody sees any of it.
 */
static int prepare_end(const struct xfs_exchange *exchange, const struct xfs_range *range,
		       int side)
{
	struct xfs_inode *ip = range->map[side]->ip;
	loff_t size = range->old_size[side], new_size = range->new_size[side];
	int error = 0;

	if (!(range->request->flags & EXCHRANGE_TO_EOF))
		return 0;
	if (range->written_only && new_size > size)
		return clear_behind_end(exchange, range, side);
	if (range->written_only && side == 1 && new_size < size)
		error = prepare_last_block(range);
	if (!error && ip->i_delayed_blks)
		error = xfs_free_eofblocks(ip);
	return error;
}

/* -ENOSPC, -EDQUOT, -EIO, -EBUSY for pinned pages; no contents have changed. */
int xfs_exchange_prepare_ends(const struct xfs_exchange *exchange)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	int side, error = 0;
	u32 i;

	/* A dry run changes nothing: it goes past delayed allocations. */
	if (exchange->dry_run)
		return 0;
	for (i = 0; i < pieces->range_count; i++)
		for (side = 0; side < 2 && !error; side++)
			error = prepare_end(exchange, &pieces->ranges[i], side);
	return error;
}

/* What file2 keeps behind an end that has come nearer. */
static int clear_behind_file2(const struct xfs_range *range)
{
	struct xfs_inode *ip = range->map[1]->ip;
	unsigned int shift = ip->i_mount->m_sb.sb_blocklog;
	u64 end = range->start[1] + range->length;
	int error;

	error = xfs_truncate_page(ip, range->new_size[1], NULL);
	/* Reclaim had its turn. */
	if (error == -ENOMEM)
		error = xfs_truncate_page(ip, range->new_size[1], NULL);
	/* As above. */
	i_size_write(VFS_I(ip), range->new_size[1]);
	if (range->cut_from < end &&
	    has_blocks(ip, range->cut_from << shift, end << shift))
		error = free_behind(ip, range->new_size[1]) ?: error;
	return error;
}

static int settle_ends_of(const struct xfs_range *range)
{
	int i;

	for (i = 0; i < 2; i++)
		if (range->new_size[i] < range->old_size[i])
			/* Private copies too, as truncation does it. */
			unmap_mapping_range(VFS_I(range->map[i]->ip)->i_mapping,
					    round_up(range->new_size[i], PAGE_SIZE),
					    0, 1);
	if (!range->written_only || range->new_size[1] >= range->old_size[1])
		return 0;
	return clear_behind_file2(range);
}

/*
 * After the exchange, which is done: nothing of what was behind an end that has come nearer
 * is mapped, or comes to light.  -EIO, -ENOMEM where the last block of a file2, which could be
 * read before, cannot get its zeroes.
 */
int xfs_exchange_settle_ends(const struct xfs_exchange *exchange)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	int error = 0;
	u32 i;

	for (i = 0; i < pieces->range_count; i++)
		error = settle_ends_of(&pieces->ranges[i]) ?: error;
	return error;
}
