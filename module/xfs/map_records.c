// SPDX-License-Identifier: GPL-2.0
/*
 * The records of block maps that are replaced where they are, in the trees.
 *
 * The plan looks for each of them once, in the order of the trees, and measures what changing
 * them takes of the log.  When the transaction begins they are where they were: a map is what it
 * was if no change of it has been counted since (xfs_pieces_are_stale()).  Their leaves are read
 * and locked before the first change, so nothing of it can fail later, and nothing is looked
 * for again.
 *
 * Other pieces may cut a record before its turn comes, or put records in and take some out, so
 * that leaves split and join meanwhile.  So when its turn comes it has to be where it was found,
 * in a leaf that was not freed; else it is looked for (transaction.c).  A record is in its
 * tree once.
 */
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "map_records.h"
#include "measure.h"
#include "walk.h"

/* One side of a piece. */
struct xfs_map_record {
	const struct xfs_map	*map;
	u64			offset;
	u64			piece;
	u8			side;
	u16			place;	/* in its leaf, from 1 on */
	xfs_daddr_t		where;	/* the leaf is, on the disk */
	struct xfs_buf		*leaf;	/* the transaction's, or NULL */
};

/* Drops what the plan has found. */
void xfs_map_records_forget(struct xfs_exchange *exchange)
{
	kvfree(exchange->records);
	exchange->records = NULL;
	exchange->record_count = 0;
}

static bool has_tree(const struct xfs_map *map)
{
	return map->ip->i_df.if_format == XFS_DINODE_FMT_BTREE;
}

static u64 count_replaced(const struct xfs_pieces *pieces)
{
	u64 count = 0;
	u32 i;

	for (i = 0; i < pieces->map_count; i++)
		if (has_tree(&pieces->maps[i]))
			count += pieces->maps[i].replaced;
	return count;
}

static void add_piece(struct xfs_exchange *exchange, const struct xfs_range *range, u64 i,
		      int side)
{
	struct xfs_piece *piece = &exchange->pieces.piece[i];
	const struct xfs_map *map = range->map[side];

	if (!has_side(piece, side) || !is_replaced(piece, side) || !has_tree(map))
		return;
	exchange->records[exchange->record_count++] = (struct xfs_map_record) {
		.map	= map,
		.offset	= piece->offset[side],
		.piece	= i,
		.side	= side,
	};
	piece->record[side] = exchange->record_count;
}

/* In the order of the trees; -ENOMEM. */
static int collect(struct xfs_exchange *exchange)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	u64 i, count = count_replaced(pieces);
	u32 j;
	int side;

	if (!count)
		return 0;
	exchange->records = kvmalloc_array(count, sizeof(*exchange->records),
					   GFP_KERNEL_ACCOUNT);
	if (!exchange->records)
		return -ENOMEM;
	for (j = 0; j < 2 * pieces->range_count; j++) {
		const struct xfs_range *range = xfs_ordered_range(pieces, j, &side);

		for (i = 0; i < range->piece_count; i++)
			add_piece(exchange, range, range->first_piece + i, side);
	}
	return 0;
}

/* Puts a cursor of the map on the record. */
static int find(struct xfs_btree_cur *cursor, struct xfs_map_record *record)
{
	const struct xfs_btree_block *leaf;
	int error, found;

	if (cursor->bc_levels[0].bp) {
		error = xfs_walk_map(cursor, record->map->ip, record->offset);
	} else {
		cursor->bc_rec.b = (struct xfs_bmbt_irec) { .br_startoff = record->offset };
		error = xfs_btree_lookup(cursor, XFS_LOOKUP_LEi, &found);
	}
	if (error)
		return error;
	leaf = cursor->bc_levels[0].bp->b_addr;
	record->where = be64_to_cpu(leaf->bb_u.l.bb_blkno);
	record->place = cursor->bc_levels[0].ptr;
	return 0;
}

/* Those of one map, from @i on; returns where the next map's begin, or an error. */
static int measure_map(struct xfs_exchange *exchange, u64 *i, u64 *bytes)
{
	const struct xfs_map *map = exchange->records[*i].map;
	struct xfs_walk_measure measure = { };
	struct xfs_btree_cur *cursor;
	int error = 0;

	cursor = xfs_bmbt_init_cursor(exchange->mp, NULL, map->ip, XFS_DATA_FORK);
	for (; *i < exchange->record_count && exchange->records[*i].map == map && !error; ++*i) {
		cond_resched();
		error = find(cursor, &exchange->records[*i]);
		if (!error)
			xfs_measure_record(&measure, cursor);
	}
	xfs_walk_end(cursor);
	*bytes += measure.bytes;
	return error;
}

/*
 * Finds the records, and adds to *@bytes what changing them takes of the log.  ILOCK of all
 * inodes, in a scope of memalloc_nofs_save(); the pieces are not stale.  -ENOMEM; errors of
 * reading a map.
 */
int xfs_map_records_measure(struct xfs_exchange *exchange, u64 *bytes)
{
	int error;
	u64 i = 0;

	xfs_map_records_forget(exchange);
	error = collect(exchange);
	while (!error && i < exchange->record_count)
		error = measure_map(exchange, &i, bytes);
	return error;
}

/* --- in the transaction: ILOCK of all inodes, which are joined to it ------------------ */

static struct xfs_bmbt_rec *record_in(const struct xfs_map_record *record)
{
	return record->leaf->b_addr + XFS_LONG_BLOCK_HEADER +
	       (record->place - 1) * XFS_BMBT_REC_SIZE;
}

/* Whether the record that was found is the one that the piece has there. */
static bool is_there(const struct xfs_exchange *exchange, const struct xfs_map_record *record)
{
	const struct xfs_piece *piece = &exchange->pieces.piece[record->piece];
	const struct xfs_btree_block *leaf = record->leaf->b_addr;
	struct xfs_bmbt_irec old = xfs_piece_record(piece, record->side, false);
	struct xfs_bmbt_rec expected;

	if (record->leaf->b_log_item->bli_flags & XFS_BLI_STALE ||
	    !record->place || record->place > be16_to_cpu(leaf->bb_numrecs))
		return false;
	xfs_bmbt_disk_set_all(&expected, &old);
	return !memcmp(record_in(record), &expected, sizeof(expected));
}

/* The leaf, which records beside each other share. */
static int lock_leaf(const struct xfs_exchange *exchange, struct xfs_trans *tp,
		     struct xfs_btree_cur **cursor, u64 i)
{
	struct xfs_map_record *record = &exchange->records[i];
	int error;

	if (i && record[-1].leaf && record[-1].where == record->where) {
		record->leaf = record[-1].leaf;
		return 0;
	}
	if (!*cursor)
		*cursor = xfs_bmbt_init_cursor(exchange->mp, NULL, record->map->ip,
					       XFS_DATA_FORK);
	error = xfs_walk_read(*cursor, record->where, true, &record->leaf);
	if (!error)
		xfs_trans_bjoin(tp, record->leaf);
	return error;
}

/*
 * Reads and locks the leaves.  Nothing has changed so far.  -EINTR; errors of I/O.
 */
int xfs_map_records_lock(const struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	struct xfs_btree_cur *cursor = NULL;
	int error = 0;
	u64 i;

	for (i = 0; i < exchange->record_count; i++)
		exchange->records[i].leaf = NULL;
	for (i = 0; i < exchange->record_count && !error; i++) {
		cond_resched();
		error = fatal_signal_pending(current) ? -EINTR :
			lock_leaf(exchange, tp, &cursor, i);
	}
	if (cursor)
		xfs_walk_end(cursor);
	return error;
}

/* Overwrites a record in the tree; its key stays what it is.  False where it is not there. */
bool xfs_map_record_replace(const struct xfs_exchange *exchange, struct xfs_trans *tp,
			    const struct xfs_piece *piece, int side,
			    struct xfs_bmbt_irec *new)
{
	const struct xfs_map_record *record;
	unsigned int offset;

	if (!piece->record[side])
		return false;
	record = &exchange->records[piece->record[side] - 1];
	if (!record->leaf || !is_there(exchange, record))
		return false;
	xfs_bmbt_disk_set_all(record_in(record), new);
	offset = (void *)record_in(record) - record->leaf->b_addr;
	xfs_trans_buf_set_type(tp, record->leaf, XFS_BLFT_BTREE_BUF);
	xfs_trans_log_buf(tp, record->leaf, offset, offset + XFS_BMBT_REC_SIZE - 1);
	return true;
}
