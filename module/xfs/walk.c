// SPDX-License-Identifier: GPL-2.0
/*
 * From one record of a tree to another, with a cursor of XFS's that is in the tree already.
 *
 * An exchange looks for each of its records more than once, and that is most of what it does.
 * xfs_btree_lookup() calls a function for each key that it compares, and reads what the cursor
 * had on its way down before.  All that is looked for here differs in the first part of its key
 * from all others beside it: an offset in a file, or a block of one owner.  So that is compared
 * alone, and a block is read only if the cursor is in another one.
 *
 * Blocks are read by XFS, which checks what comes from the disk.  Where a cursor is in no
 * transaction they are locked by themselves: a transaction looks through all blocks that it has,
 * for each that it reads.  Nobody changes the tree meanwhile: the caller has locked what it
 * belongs to (ILOCK, or the header of the AG).
 */
#include <linux/minmax.h>

#include "walk.h"

#define BMBT_KEY_SIZE	8
#define BMBT_PTR_SIZE	8
#define RMAP_KEY_SIZE	40	/* the lower and the upper */
#define RMAP_PTR_SIZE	4
#define OFFSET_SHIFT	9	/* of a bmbt's record, in its first word, below a flag */

/* The tree that a cursor is in. */
struct tree {
	struct xfs_btree_cur	*cursor;
	const struct xfs_inode	*ip;	/* of a block map, or NULL */
	xfs_agnumber_t		agno;	/* of an rmapbt */
	bool			wait;	/* for a block that is locked */
};

static unsigned int count_of(const struct xfs_btree_block *block)
{
	return be16_to_cpu(block->bb_numrecs);
}

/* The first part of a key, or of a leaf's record. */
static u64 first_of(const struct tree *tree, const void *entry, unsigned int level)
{
	u64 word;

	if (!tree->ip)
		return be32_to_cpup(entry);
	word = be64_to_cpup(entry);
	return level ? word : (word & GENMASK_ULL(62, 0)) >> OFFSET_SHIFT;
}

static size_t header_of(const struct tree *tree)
{
	return tree->ip ? XFS_LONG_BLOCK_HEADER : XFS_SHORT_BLOCK_HEADER;
}

static size_t entry_size(const struct tree *tree, unsigned int level)
{
	if (tree->ip)
		return level ? BMBT_KEY_SIZE : XFS_BMBT_REC_SIZE;
	return level ? RMAP_KEY_SIZE : XFS_RMAP_REC_SIZE;
}

/* Which entry is the last that begins at @first or before it, from 1 on; 0 where none does. */
static unsigned int find_entry(const struct tree *tree, const struct xfs_btree_block *block,
			       unsigned int level, u64 first)
{
	const void *entries = (const void *)block + header_of(tree);
	unsigned int below = 0, above = count_of(block) + 1;
	size_t size = entry_size(tree, level);

	while (above - below > 1) {
		unsigned int middle = (below + above) / 2;

		if (first_of(tree, entries + (middle - 1) * size, level) <= first)
			below = middle;
		else
			above = middle;
	}
	return below;
}

/* Keys that a block above the leaves has room for: the pointers are behind them. */
static unsigned int key_room(const struct tree *tree, unsigned int level)
{
	const struct xfs_mount *mp = tree->cursor->bc_mp;

	if (!tree->ip)
		return mp->m_rmap_mxr[1];
	if (level + 1 < tree->cursor->bc_nlevels)
		return mp->m_bmap_dmxr[1];
	return (tree->ip->i_df.if_broot_bytes - XFS_LONG_BLOCK_HEADER) /
	       (BMBT_KEY_SIZE + BMBT_PTR_SIZE);
}

/* Where the block below the entry @which is. */
static xfs_daddr_t place_below(const struct tree *tree, const struct xfs_btree_block *block,
			       unsigned int level, unsigned int which)
{
	const struct xfs_mount *mp = tree->cursor->bc_mp;
	const void *pointers = (const void *)block + header_of(tree) +
			       key_room(tree, level) * entry_size(tree, level);

	if (tree->ip)
		return xfs_place_of(mp, be64_to_cpup((const __be64 *)pointers + which - 1));
	return xfs_place_in_ag(mp, tree->agno,
			       be32_to_cpup((const __be32 *)pointers + which - 1));
}

static xfs_daddr_t place_of_block(const struct tree *tree, const struct xfs_buf *buffer)
{
	const struct xfs_btree_block *block = buffer->b_addr;

	return be64_to_cpu(tree->ip ? block->bb_u.l.bb_blkno : block->bb_u.s.bb_blkno);
}

/*
 * Reads and locks a block of the tree that @cursor is in, for the cursor's transaction if it has
 * one.  -EAGAIN where it is locked, unless it is to @wait.
 */
int xfs_walk_read(const struct xfs_btree_cur *cursor, xfs_daddr_t place, bool wait,
		  struct xfs_buf **block)
{
	struct xfs_mount *mp = cursor->bc_mp;
	struct xfs_buf_map map = {
		.bm_bn	= place,
		.bm_len	= 1 << mp->m_blkbb_log,
	};

	return xfs_trans_read_buf_map(mp, cursor->bc_tp, mp->m_ddev_targp, &map, 1,
				      wait ? 0 : XBF_TRYLOCK, block,
				      cursor->bc_ops->buf_ops);
}

/* The cursor may have one that a transaction has taken over: it is not the cursor's any more. */
static void release(struct xfs_btree_cur *cursor, unsigned int level)
{
	struct xfs_buf *buffer = cursor->bc_levels[level].bp;

	if (buffer && buffer->b_transp == cursor->bc_tp)
		xfs_trans_brelse(cursor->bc_tp, buffer);
	cursor->bc_levels[level].bp = NULL;
}

static int enter(const struct tree *tree, unsigned int level, xfs_daddr_t place)
{
	struct xfs_btree_cur *cursor = tree->cursor;
	struct xfs_buf *buffer = cursor->bc_levels[level].bp;
	int error;

	if (buffer && place_of_block(tree, buffer) == place)
		return 0;
	release(cursor, level);
	error = xfs_walk_read(cursor, place, tree->wait, &buffer);
	if (error)
		return error;
	cursor->bc_levels[level].bp = buffer;
	cursor->bc_levels[level].ra = 0;
	return 0;
}

/* Errors leave the cursor in a part of the blocks: to be tried again, or to xfs_walk_end(). */
static int walk(const struct tree *tree, u64 first, xfs_daddr_t *busy)
{
	struct xfs_btree_cur *cursor = tree->cursor;
	unsigned int level, which;
	int error;

	for (level = cursor->bc_nlevels - 1; ; level--) {
		const struct xfs_buf *buffer = cursor->bc_levels[level].bp;
		const struct xfs_btree_block *block = buffer ? buffer->b_addr :
							       tree->ip->i_df.if_broot;

		which = find_entry(tree, block, level, first);
		if (!level)
			break;
		which = max(which, 1u);
		cursor->bc_levels[level].ptr = which;
		*busy = place_below(tree, block, level, which);
		error = enter(tree, level - 1, *busy);
		if (error)
			return error;
	}
	cursor->bc_levels[0].ptr = which;
	return 0;
}

/*
 * Puts @cursor, which is somewhere in the tree of @ip's block map, on the last record that
 * begins at @offset or before it; in front of the first one where there is none.
 */
int xfs_walk_map(struct xfs_btree_cur *cursor, const struct xfs_inode *ip, u64 offset)
{
	const struct tree tree = { .cursor = cursor, .ip = ip, .wait = true };
	xfs_daddr_t busy;

	return walk(&tree, offset, &busy);
}

/*
 * The same in an rmapbt, for the records of blocks.  It waits for no block but where @busy is
 * NULL: -EAGAIN, and *@busy is the place of the one that is locked.
 */
int xfs_walk_rmaps(struct xfs_btree_cur *cursor, xfs_agnumber_t agno, xfs_agblock_t block,
		   xfs_daddr_t *busy)
{
	const struct tree tree = { .cursor = cursor, .agno = agno, .wait = !busy };
	xfs_daddr_t ignored;

	return walk(&tree, block, busy ?: &ignored);
}

/* Drops the cursor's blocks, but for those that a transaction has taken over, and itself. */
void xfs_walk_end(struct xfs_btree_cur *cursor)
{
	unsigned int level;

	for (level = 0; level < cursor->bc_nlevels; level++)
		release(cursor, level);
	xfs_btree_del_cursor(cursor, 0);
}
