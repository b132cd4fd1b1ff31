// SPDX-License-Identifier: GPL-2.0
/*
 * The reverse mappings of two data forks that change places.
 *
 * Each record of the rmapbts that one of the files has, of its data or of the blocks of
 * its map, gets the other file as its owner, and stays what it is otherwise: place, length,
 * offset, flags.  So whether two records beside each other continue each other is after the
 * exchange as before, and no look at neighbours is needed (rmap.c needs one, since there
 * the offsets change too, and of some records only).  The attribute forks' records stay; their
 * flags keep them apart.
 *
 * That is so where no block has several owners: neither file is, or was, a reflink.
 */
#include <linux/sched/signal.h>
#include <linux/sort.h>

#include "array.h"
#include "forks.h"
#include "rmap.h"

/* Blocks side by side of one file; of its map where they have no offset. */
struct xfs_fork_rmap {
	u64	block;
	u64	offset;
	u32	length;
	u8	side;
	bool	unwritten;
	bool	of_tree;
};

static int add(struct xfs_exchange *exchange, const struct xfs_fork_rmap *rmap)
{
	struct xfs_forks *forks = &exchange->forks;
	struct xfs_fork_rmap *rmaps;

	/* Each takes the bytes of its record of the log at least. */
	if (forks->rmap_count >= exchange->reservation.log_limit / XFS_RMAP_REC_SIZE)
		return -E2BIG;
	rmaps = xfs_make_room(forks->rmaps, forks->rmap_count, &forks->rmap_room,
			      sizeof(*rmaps));
	if (!rmaps)
		return -ENOMEM;
	forks->rmaps = rmaps;
	forks->rmaps[forks->rmap_count++] = *rmap;
	return 0;
}

/* -ENOMEM, -E2BIG. */
int xfs_fork_rmaps_add(struct xfs_exchange *exchange, int side,
		       const struct xfs_bmbt_irec *record)
{
	return add(exchange, &(struct xfs_fork_rmap) {
		.block		= record->br_startblock,
		.offset		= record->br_startoff,
		.length		= record->br_blockcount,
		.side		= side,
		.unwritten	= record->br_state == XFS_EXT_UNWRITTEN,
	});
}

int xfs_fork_rmaps_add_tree(struct xfs_exchange *exchange, int side, u64 block)
{
	return add(exchange, &(struct xfs_fork_rmap) {
		.block		= block,
		.length		= 1,
		.side		= side,
		.of_tree	= true,
	});
}

static int compare(const void *a, const void *b)
{
	u64 x = ((const struct xfs_fork_rmap *)a)->block;
	u64 y = ((const struct xfs_fork_rmap *)b)->block;

	return (x > y) - (x < y);
}

/* In the order of the trees.  It takes a second for a million: no lock that others wait for. */
void xfs_fork_rmaps_sort(struct xfs_exchange *exchange)
{
	struct xfs_forks *forks = &exchange->forks;

	if (forks->rmap_count)
		sort(forks->rmaps, forks->rmap_count, sizeof(*forks->rmaps), compare, NULL);
}

/* --- in a transaction ------------------------------------------------------------- */

/* The record that has @rmap, as it is before the exchange: it may have more around it. */
static bool has_all(const struct xfs_mount *mp, const struct xfs_rmap_irec *record,
		    const struct xfs_fork_rmap *rmap, u64 owner)
{
	unsigned int flags = (rmap->of_tree ? XFS_RMAP_BMBT_BLOCK : 0) |
			     (rmap->unwritten ? XFS_RMAP_UNWRITTEN : 0);
	u64 block = xfs_block_in_ag(mp, rmap->block);
	u64 before = block - record->rm_startblock;

	return record->rm_owner == owner && record->rm_flags == flags &&
	       record->rm_startblock <= block &&
	       before + rmap->length <= record->rm_blockcount &&
	       (rmap->of_tree || record->rm_offset + before == rmap->offset);
}

/* Puts the walk's cursor on the record of @rmap, @owner's; *found tells whether it is there. */
static int look_up(struct xfs_rmap_walk *walk, const struct xfs_fork_rmap *rmap, u64 owner,
		   struct xfs_rmap_irec *record, bool *found)
{
	const struct xfs_mount *mp = walk->exchange->mp;
	xfs_agblock_t block = xfs_block_in_ag(mp, rmap->block);
	int error, any = 0;

	if (walk->cursor->bc_levels[0].bp) {
		error = xfs_walk_rmaps(walk->cursor, walk->agno, block, NULL);
		any = !error && xfs_rmap_read(walk->cursor, record);
	} else {
		error = xfs_rmap_lookup_le(walk->cursor, block, owner, rmap->offset,
					   rmap->of_tree ? XFS_RMAP_BMBT_BLOCK : 0,
					   record, &any);
	}
	*found = !error && any && has_all(mp, record, rmap, owner);
	return error;
}

/* Once for each record: a block map may have several where the rmapbt has one. */
static int visit(struct xfs_rmap_walk *walk, const struct xfs_fork_rmap *rmap, bool change,
		 u64 *done_to)
{
	const u64 owner = VFS_I(xfs_only_inode(walk->exchange, rmap->side))->i_ino;
	struct xfs_rmap_irec record;
	bool found = false;
	int error;

	if (rmap->block < *done_to)
		return 0;
	error = look_up(walk, rmap, owner, &record, &found);
	if (error)
		return error;
	if (!found || walk->listened_to)
		return change ? -EUCLEAN : -EOPNOTSUPP;
	*done_to = rmap->block - xfs_block_in_ag(walk->exchange->mp, rmap->block) +
		   record.rm_startblock + record.rm_blockcount;
	if (!change) {
		xfs_measure_record(&walk->measure, walk->cursor);
		return fatal_signal_pending(current) ? -EINTR : 0;
	}
	record.rm_owner = VFS_I(xfs_only_inode(walk->exchange, !rmap->side))->i_ino;
	return xfs_rmap_update(walk, &record);
}

/* Locks the AGs' headers in ascending order, if they are not locked yet. */
static int visit_all(struct xfs_exchange *exchange, struct xfs_trans *tp, bool change,
		     u64 *log_bytes)
{
	const struct xfs_forks *forks = &exchange->forks;
	struct xfs_rmap_walk walk = { .exchange = exchange, .tp = tp };
	u64 i, done_to = 0;
	int error = 0;

	for (i = 0; i < forks->rmap_count && !error; i++) {
		const struct xfs_fork_rmap *rmap = &forks->rmaps[i];

		cond_resched();
		error = xfs_rmap_enter_ag(&walk, xfs_ag_of(exchange->mp, rmap->block)) ?:
			visit(&walk, rmap, change, &done_to);
	}
	xfs_rmap_leave_ag(&walk, error);
	*log_bytes = walk.measure.bytes;
	return error;
}

/*
 * Looks whether all records are there, and locks their AGs until the transaction ends.
 * *@log_bytes: of the log, that changing them takes.  -EOPNOTSUPP where one is not, or where
 * online repair listens; -EINTR; errors of I/O.
 */
int xfs_fork_rmaps_check(struct xfs_exchange *exchange, struct xfs_trans *tp, u64 *log_bytes)
{
	return visit_all(exchange, tp, false, log_bytes);
}

int xfs_fork_rmaps_change(struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	u64 log_bytes;

	return visit_all(exchange, tp, true, &log_bytes);
}
