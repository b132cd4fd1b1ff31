// SPDX-License-Identifier: GPL-2.0
/*
 * The page cache of both files: written back before the exchange, and what is going to
 * move dropped.
 *
 * Whoever calls these holds both inodes' IOLOCK and MMAPLOCK exclusively.
 */
#include <linux/fs.h>
#include <linux/pagemap.h>

#include "exchange.h"

/*
 * Writes a range back, with all of the file before it that is behind the size on disk:
 * else a crash finds zeroes there.  All of it where the size on disk has to be the size.
 */
static int flush_range(const struct xfs_exchange *exchange, int side)
{
	const struct exchange_request *request = exchange->request;
	struct xfs_inode *ip = exchange->pieces.ip[side];
	u64 offset = xfs_exchange_offset(exchange, side);

	if (request->flags & EXCHRANGE_TO_EOF)
		return filemap_write_and_wait(VFS_I(ip)->i_mapping);
	return filemap_write_and_wait_range(VFS_I(ip)->i_mapping,
					    min_t(u64, offset, ip->i_disk_size),
					    offset + request->length - 1);
}

/*
 * XFS's chain leaves the size on disk as it is without TO_EOF.  It may be the one from before a
 * write that has not been written back: then a range may end behind it, and after a crash
 * nobody would find what came there.  With the last page the size goes to the disk.
 */
static int flush_end(const struct xfs_exchange *exchange, int side)
{
	loff_t size = exchange->old_size[side];

	if (!exchange->in_chain || exchange->pieces.ip[side]->i_disk_size >= size)
		return 0;
	return filemap_write_and_wait_range(xfs_exchange_inode(exchange, side)->i_mapping,
					    size - 1, size - 1);
}

int xfs_exchange_flush(const struct xfs_exchange *exchange)
{
	int i, error = 0;

	for (i = 0; i < 2; i++)
		inode_dio_wait(xfs_exchange_inode(exchange, i));
	for (i = 0; i < 2 && !error; i++)
		error = flush_range(exchange, i) ?: flush_end(exchange, i) ?:
			xfs_qm_dqattach(exchange->pieces.ip[i]);
	return error;
}

/*
 * Takes a range of a file out of the page cache and out of all mappings; the locks keep it
 * from coming back before the exchange is done: nobody sees pages of before and of after
 * beside each other.  -EBUSY where a device still writes to some of it.
 */
int xfs_exchange_drop_range(const struct xfs_exchange *exchange, int side,
			    u64 offset, u64 length)
{
	loff_t last = min_t(u64, offset + length, MAX_LFS_FILESIZE) - 1;

	return exchange_drop_pages(xfs_exchange_inode(exchange, side)->i_mapping,
				   offset, last, exchange->give_up);
}

/* The same, and what CoW has preallocated for it: it is clean, so nobody needs that. */
static int drop_mapped(const struct xfs_exchange *exchange, int side, u64 offset,
		       u64 length)
{
	struct xfs_inode *ip = exchange->pieces.ip[side];
	int error = xfs_exchange_drop_range(exchange, side, offset, length);

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
				error = drop_mapped(exchange, side, start << shift,
						    (end - start) << shift);
			start = piece->offset[side];
		}
		end = piece->offset[side] + piece->length;
	}
	if (!error && end > start)
		error = drop_mapped(exchange, side, start << shift,
				    (end - start) << shift);
	return error;
}

/* With these locks nothing becomes dirty again but by a device, through a pin. */
int xfs_exchange_flush_all(const struct xfs_exchange *exchange)
{
	return filemap_write_and_wait(xfs_exchange_inode(exchange, 0)->i_mapping) ?:
	       filemap_write_and_wait(xfs_exchange_inode(exchange, 1)->i_mapping);
}

/* XFS's own chain looks for the pieces itself. */
static int drop_moving(const struct xfs_exchange *exchange, int side)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	unsigned int shift = exchange->mp->m_sb.sb_blocklog;

	if (!exchange->in_chain)
		return drop_pieces(exchange, side);
	if (!pieces->length)
		return 0;
	return drop_mapped(exchange, side, pieces->start[side] << shift,
			   pieces->length << shift);
}

/*
 * What is going to move, and what is behind an end that comes nearer, with the page that it
 * will be in: nothing of that is left to truncate when the size has changed.
 */
int xfs_exchange_drop_pages(const struct xfs_exchange *exchange)
{
	int i, error = 0;

	for (i = 0; i < 2 && !error; i++) {
		error = drop_moving(exchange, i);
		if (!error && exchange->new_size[i] < exchange->old_size[i])
			error = xfs_exchange_drop_range(exchange, i,
							exchange->new_size[i],
							MAX_LFS_FILESIZE);
	}
	return error;
}
