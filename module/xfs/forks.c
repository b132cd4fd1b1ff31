// SPDX-License-Identifier: GPL-2.0
/*
 * The exchange of whole files by their data forks.
 *
 * Where all of both files changes places and neither keeps anything behind it, the maps need
 * not be gone through piece by piece: the data forks change places in the inodes, with
 * their roots or records and counts, and with the trees below.  Each block of a tree has
 * the number of its file in its header, which becomes the other's, and so do the owners
 * of reverse mappings (fork_rmaps.c).  No record moves, nothing is allocated, freed or
 * deferred: one transaction, whatever the extents are.
 *
 * XFS's old swapext did the same for file systems without an rmapbt, and had log recovery
 * change the headers: it logs that the owner of the inode's tree changes (XFS_ILOG_DOWNER), and
 * recovery walks the tree from the root that the inode has by then.  In Linux 6.12 that fails on
 * the inode's checksum, and the file system does not mount (seen); and blocks of that tree may
 * have been freed since, and hold a user's data.  So here the headers go to the log
 * themselves, 128 bytes a block, as any other change of a buffer: recovery knows what has been
 * freed since, and what is newer.
 *
 * Whoever calls these holds both inodes' IOLOCK and MMAPLOCK exclusively.
 */
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "array.h"
#include "forks.h"
#include "rmap.h"

/* So many reverse mappings count with a block each, unseen. */
#define FEW_RMAPS	4

/* A block of one of the maps' trees. */
struct xfs_fork_block {
	xfs_daddr_t	place;
	struct xfs_buf	*buffer;	/* locked, in the transaction */
	u8		side;
};

/* Blocks of the file system from which on a file has nothing to lose. */
static u64 end_of(const struct xfs_exchange *exchange, int side)
{
	unsigned int shift = exchange->mp->m_sb.sb_blocklog;

	return round_up(xfs_only_range(exchange)->old_size[side], 1ULL << shift) >> shift;
}

/* Whether the request is of whole files.  IOLOCK and MMAPLOCK. */
bool xfs_forks_are_meant(const struct xfs_exchange *exchange)
{
	const struct xfs_range *range = xfs_only_range(exchange);
	const struct exchange_request *request = range->request;

	if (exchange->pieces.range_count > 1 || xfs_is_one_file(range) ||
	    request->flags & EXCHRANGE_FILE1_WRITTEN ||
	    request->file1_offset || request->file2_offset)
		return false;
	return request->flags & EXCHRANGE_TO_EOF ||
	       (request->length == range->old_size[0] &&
		request->length == range->old_size[1]);
}

/* Whether the fork of @side has its room in the other inode, which counts as many extents. */
static bool fits(const struct xfs_exchange *exchange, int side)
{
	const struct xfs_ifork *fork = &xfs_only_inode(exchange, side)->i_df;
	const struct xfs_inode *other = xfs_only_inode(exchange, !side);
	u64 room = xfs_inline_records(other);
	u64 keys;

	if (fork->if_nextents > XFS_MAX_EXTCNT_SMALL &&
	    !(other->i_diflags2 & XFS_DIFLAG2_NREXT64))
		return false;
	if (fork->if_format == XFS_DINODE_FMT_EXTENTS)
		return fork->if_nextents <= room;
	if (fork->if_format != XFS_DINODE_FMT_BTREE)
		return false;
	/* A key and a pointer have the size of a record. */
	keys = be16_to_cpu(fork->if_broot->bb_numrecs);
	return fork->if_nextents > room &&
	       XFS_BMDR_HEADER_SIZE + keys * XFS_BMBT_REC_SIZE <= xfs_fork_bytes(other);
}

/*
 * What is behind the end goes with the fork, if it is XFS's own preallocation.  What a user has
 * asked for there stays with the file, and so does all that a range does not reach.
 */
static bool may_go(const struct xfs_exchange *exchange, int side,
		   const struct xfs_bmbt_irec *record)
{
	if (record->br_startoff + record->br_blockcount <= end_of(exchange, side))
		return true;
	return xfs_only_range(exchange)->request->flags & EXCHRANGE_TO_EOF &&
	       !(xfs_only_inode(exchange, side)->i_diflags & XFS_DIFLAG_PREALLOC);
}

static void move_blocks(const struct xfs_exchange *exchange, int side, u64 blocks)
{
	xfs_only_range(exchange)->map[side]->leave += blocks;
	xfs_only_range(exchange)->map[!side]->come += blocks;
}

static int collect_records(struct xfs_exchange *exchange, int side)
{
	bool has_rmapbt = xfs_has_rmapbt(exchange->mp);
	struct xfs_inode *ip = xfs_only_inode(exchange, side);
	struct xfs_iext_cursor cursor;
	struct xfs_bmbt_irec record;
	u64 offset = 0;
	int error = 0;

	while (!error && xfs_iext_lookup_extent(ip, &ip->i_df, offset, &cursor, &record)) {
		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
		offset = record.br_startoff + record.br_blockcount;
		if (isnullstartblock(record.br_startblock)) {
			/* A dry run leaves it where it is. */
			error = exchange->pieces.skips_delayed ? 0 : -EAGAIN;
			continue;
		}
		if (!may_go(exchange, side, &record))
			return -EOPNOTSUPP;
		move_blocks(exchange, side, record.br_blockcount);
		exchange->forks.records++;
		if (has_rmapbt)
			error = xfs_fork_rmaps_add(exchange, side, &record);
	}
	return error;
}

/* --- the trees' blocks -------------------------------------------------------------- */

static int read_block(const struct xfs_exchange *exchange, const struct xfs_btree_cur *cursor,
		      xfs_daddr_t place, struct xfs_buf **buffer)
{
	struct xfs_mount *mp = exchange->mp;
	struct xfs_buf_map map = {
		.bm_bn	= place,
		.bm_len	= 1 << mp->m_blkbb_log,
	};

	/* Not by the transaction: it would look through all blocks that it has for each. */
	return xfs_trans_read_buf_map(mp, NULL, mp->m_ddev_targp, &map, 1, 0, buffer,
				      cursor->bc_ops->buf_ops);
}

static u64 block_of(const struct xfs_mount *mp, xfs_daddr_t place)
{
	u64 block = place >> mp->m_blkbb_log;
	u32 in_ag;
	u64 agno = div_u64_rem(block, mp->m_sb.sb_agblocks, &in_ag);

	return agno << mp->m_sb.sb_agblklog | in_ag;
}

static int add_block(struct xfs_exchange *exchange, int side, xfs_daddr_t place)
{
	struct xfs_forks *forks = &exchange->forks;
	struct xfs_fork_block *blocks;

	blocks = xfs_make_room(forks->blocks, forks->block_count, &forks->block_room,
			       sizeof(*blocks));
	if (!blocks)
		return -ENOMEM;
	forks->blocks = blocks;
	forks->blocks[forks->block_count++] = (struct xfs_fork_block) {
		.place	= place,
		.side	= side,
	};
	move_blocks(exchange, side, 1);
	return xfs_has_rmapbt(exchange->mp) ?
	       xfs_fork_rmaps_add_tree(exchange, side, block_of(exchange->mp, place)) : 0;
}

/* All blocks of a level, from the first at @place on. */
static int collect_level(struct xfs_exchange *exchange, const struct xfs_btree_cur *cursor,
			 int side, xfs_daddr_t place)
{
	u64 limit = exchange->reservation.log_limit, next;
	struct xfs_buf *buffer;
	int error;

	do {
		const struct xfs_btree_block *block;

		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
		error = read_block(exchange, cursor, place, &buffer);
		if (error)
			return error;
		block = buffer->b_addr;
		next = be64_to_cpu(block->bb_u.l.bb_rightsib);
		exchange->forks.block_bytes += xfs_measure_block(buffer);
		xfs_trans_brelse(NULL, buffer);
		error = add_block(exchange, side, place);
		if (error)
			return error;
		if (exchange->forks.block_bytes > limit)
			return -E2BIG;
		if (next != NULLFSBLOCK)
			place = xfs_place_of(exchange->mp, next);
	} while (next != NULLFSBLOCK);
	return 0;
}

/* Where the levels of the tree below the inode begin; their number in *@levels. */
static int find_levels(struct xfs_btree_cur *cursor, xfs_daddr_t *first, int *levels)
{
	int error, found, level;

	cursor->bc_rec.b = (struct xfs_bmbt_irec) { };
	error = xfs_btree_lookup(cursor, XFS_LOOKUP_GEi, &found);
	if (error)
		return error;
	for (level = 0; level < MEASURED_LEVELS && level < cursor->bc_nlevels &&
	     cursor->bc_levels[level].bp; level++) {
		const struct xfs_btree_block *block = cursor->bc_levels[level].bp->b_addr;

		first[level] = be64_to_cpu(block->bb_u.l.bb_blkno);
	}
	*levels = level;
	return 0;
}

static int collect_tree(struct xfs_exchange *exchange, int side)
{
	struct xfs_inode *ip = xfs_only_inode(exchange, side);
	xfs_daddr_t first[MEASURED_LEVELS];
	struct xfs_btree_cur *cursor;
	int levels = 0, level, error;

	if (ip->i_df.if_format != XFS_DINODE_FMT_BTREE)
		return 0;
	cursor = xfs_bmbt_init_cursor(exchange->mp, NULL, ip, XFS_DATA_FORK);
	error = find_levels(cursor, first, &levels);
	/* It keeps the first blocks locked. */
	xfs_btree_del_cursor(cursor, error);
	if (error)
		return error;
	cursor = xfs_bmbt_init_cursor(exchange->mp, NULL, ip, XFS_DATA_FORK);
	for (level = 0; level < levels && !error; level++)
		error = collect_level(exchange, cursor, side, first[level]);
	xfs_btree_del_cursor(cursor, error);
	return error;
}

/* --- the plan --------------------------------------------------------------------- */

/* Drops what the plan has found. */
void xfs_forks_forget(struct xfs_exchange *exchange)
{
	struct xfs_forks *forks = &exchange->forks;

	kvfree(forks->rmaps);
	kvfree(forks->blocks);
	*forks = (struct xfs_forks) { };
}

/* The one piece that whole files are: what leaves the page cache. */
static int make_piece(struct xfs_pieces *pieces)
{
	pieces->piece = kvmalloc_array(1, sizeof(*pieces->piece), GFP_KERNEL_ACCOUNT);
	if (!pieces->piece)
		return -ENOMEM;
	pieces->piece[0] = (struct xfs_piece) { .length = pieces->ranges[0].length };
	pieces->ranges[0].first_piece = 0;
	pieces->ranges[0].piece_count = 1;
	pieces->count = 1;
	pieces->room = 1;
	return 0;
}

/*
 * Finds out whether the forks can change places, and all that belongs to them, after
 * xfs_forks_are_meant().
 * -EOPNOTSUPP where they cannot: pieces may.  -E2BIG: their trees have more blocks than the log
 * takes.  -EAGAIN: a file has a delayed allocation.  -ENOMEM, -EINTR; errors of reading a map.
 */
int xfs_forks_collect(struct xfs_exchange *exchange)
{
	struct xfs_pieces *pieces = &exchange->pieces;
	int i, error;

	error = xfs_read_maps(pieces);
	if (error)
		return error;
	/* Of clones, a block may have several owners, in the order of their numbers. */
	if (xfs_has_rmapbt(exchange->mp) && xfs_has_clone(pieces))
		return -EOPNOTSUPP;
	if (!fits(exchange, 0) || !fits(exchange, 1))
		return -EOPNOTSUPP;
	exchange->reservation.log_limit = xfs_forks_log_limit(exchange->mp);
	for (i = 0; i < 2; i++) {
		error = collect_records(exchange, i) ?: collect_tree(exchange, i);
		if (error)
			return error;
	}
	xfs_remember_maps(pieces);
	return make_piece(pieces);
}

/* What changing the reverse mappings takes of the log, at most. */
static int measure_rmaps(struct xfs_exchange *exchange, u64 *log_bytes)
{
	u64 count = exchange->forks.rmap_count;
	struct xfs_trans *tp;
	int error;

	*log_bytes = count * (exchange->mp->m_sb.sb_blocksize + BUFFER_BYTES);
	xfs_fork_rmaps_sort(exchange);
	/* The transaction looks at them anyway. */
	if (count <= FEW_RMAPS && !exchange->short_of_log)
		return 0;
	tp = xfs_trans_alloc_empty(exchange->mp);
	if (IS_ERR(tp))
		return PTR_ERR(tp);
	error = xfs_fork_rmaps_check(exchange, tp, log_bytes);
	xfs_trans_cancel(tp);
	*log_bytes += xfs_spare_log_bytes(exchange, *log_bytes);
	return error;
}

/*
 * How much of the log it takes.  No lock but IOLOCK and MMAPLOCK.  -EOPNOTSUPP where a
 * reverse mapping is not what the maps have; -E2BIG; -ENOMEM, -EINTR, errors of I/O.
 *
 * A transaction without deferred work takes its reservation once, where one with such takes
 * it twice: so it may be twice as large, a quarter of the log.
 */
int xfs_forks_reserve(struct xfs_exchange *exchange)
{
	struct xfs_reservation *reservation = &exchange->reservation;
	int error = measure_rmaps(exchange, &reservation->rmap_bytes);

	if (error)
		return error;
	reservation->log_bytes = xfs_fixed_log_bytes(&exchange->pieces) +
				 exchange->forks.block_bytes + reservation->rmap_bytes;
	exchange->forks.chosen = reservation->log_bytes <= reservation->log_limit;
	return exchange->forks.chosen ? 0 : -E2BIG;
}

/* --- in the transaction: ILOCK of both inodes, which are joined to it ------------- */

/* Unlocks the trees' blocks, where xfs_forks_prepare() has locked them and nothing changes. */
void xfs_forks_release(struct xfs_exchange *exchange)
{
	struct xfs_forks *forks = &exchange->forks;
	u64 i;

	for (i = 0; i < forks->block_count; i++) {
		if (forks->blocks[i].buffer)
			xfs_trans_brelse(NULL, forks->blocks[i].buffer);
		forks->blocks[i].buffer = NULL;
	}
}

/* Reads and locks all blocks of the trees: nothing fails after that. */
static int lock_blocks(struct xfs_exchange *exchange)
{
	struct xfs_forks *forks = &exchange->forks;
	struct xfs_btree_cur *cursor = NULL;
	u64 i, bytes = 0;
	int error = 0;

	for (i = 0; i < forks->block_count && !error; i++) {
		struct xfs_fork_block *block = &forks->blocks[i];

		cond_resched();
		if (!cursor)
			cursor = xfs_bmbt_init_cursor(exchange->mp, NULL,
						      xfs_only_inode(exchange, block->side),
						      XFS_DATA_FORK);
		error = fatal_signal_pending(current) ? -EINTR :
			read_block(exchange, cursor, block->place, &block->buffer);
		if (!error)
			bytes += xfs_measure_block(block->buffer);
	}
	if (cursor)
		xfs_btree_del_cursor(cursor, error);
	/* With the ILOCKs nobody marks more of them; the maps are what they were. */
	if (!error && bytes > forks->block_bytes)
		error = -EAGAIN;
	if (error)
		xfs_forks_release(exchange);
	return error;
}

/*
 * The last that can fail without a change.  -EAGAIN where the plan does not hold any more;
 * -EINTR; errors of I/O.
 */
int xfs_forks_prepare(struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	u64 rmap_bytes = 0;
	int error;

	error = xfs_fork_rmaps_check(exchange, tp, &rmap_bytes);
	/* The next plan looks first, and tells which of the two it is. */
	if (error == -EOPNOTSUPP ||
	    (!error && rmap_bytes > exchange->reservation.rmap_bytes)) {
		exchange->short_of_log++;
		return -EAGAIN;
	}
	return error ?: lock_blocks(exchange);
}

/* The blocks come to the transaction, with their new owners in their headers. */
static void change_owners(struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	struct xfs_forks *forks = &exchange->forks;
	struct xfs_btree_cur *cursor[2] = { };
	u64 i;
	int side;

	for (i = 0; i < forks->block_count; i++) {
		struct xfs_fork_block *block = &forks->blocks[i];
		struct xfs_btree_block *header = block->buffer->b_addr;

		cond_resched();
		side = block->side;
		if (!cursor[side])
			cursor[side] = xfs_bmbt_init_cursor(exchange->mp, tp,
							    xfs_only_inode(exchange, side),
							    XFS_DATA_FORK);
		xfs_trans_bjoin(tp, block->buffer);
		header->bb_u.l.bb_owner =
			cpu_to_be64(VFS_I(xfs_only_inode(exchange, !side))->i_ino);
		xfs_btree_log_block(cursor[side], block->buffer, XFS_BB_OWNER);
		block->buffer = NULL;
	}
	for (side = 0; side < 2; side++)
		if (cursor[side])
			xfs_btree_del_cursor(cursor[side], 0);
}

/*
 * The forks themselves, and what the inodes count of them.  The root in memory has the owner
 * in its header too.  Who kept the number by which a fork's changes are counted must not take
 * one fork for the other: both go on from the larger.
 */
static void swap_forks(struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	struct xfs_inode *ip[2] = { xfs_only_inode(exchange, 0), xfs_only_inode(exchange, 1) };
	unsigned int seq = max(ip[0]->i_df.if_seq, ip[1]->i_df.if_seq) + 1;
	int i;

	swap(ip[0]->i_df, ip[1]->i_df);
	for (i = 0; i < 2; i++) {
		struct xfs_ifork *fork = &ip[i]->i_df;
		bool has_tree = fork->if_format == XFS_DINODE_FMT_BTREE;

		WRITE_ONCE(fork->if_seq, seq);
		ip[i]->i_nblocks += xfs_only_range(exchange)->map[i]->come -
				    xfs_only_range(exchange)->map[i]->leave;
		if (has_tree)
			fork->if_broot->bb_u.l.bb_owner = cpu_to_be64(VFS_I(ip[i])->i_ino);
		xfs_trans_log_inode(tp, ip[i], XFS_ILOG_CORE |
				    (has_tree ? XFS_ILOG_DBROOT : XFS_ILOG_DEXT));
	}
}

/* After xfs_forks_prepare(); an error shuts the file system down. */
int xfs_forks_change(struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	int error = xfs_fork_rmaps_change(exchange, tp);

	if (error) {
		xfs_forks_release(exchange);
		return error;
	}
	/* With cursors of the trees as they were. */
	change_owners(exchange, tp);
	swap_forks(exchange, tp);
	return 0;
}
