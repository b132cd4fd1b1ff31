/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What an exchange of pairs of ranges comes to in the block maps of their files: a list of
 * pieces, each of which one record, or a part of one, or a hole, has on either side.
 */
#ifndef EXCHRANGE_XFS_PIECES_H
#define EXCHRANGE_XFS_PIECES_H

#include "../backend.h"
#include "private.h"

/* Blocks of the file system throughout.  Index 0 is file1's, 1 is file2's. */
struct xfs_mapping {
	u64	block;		/* on disk, or HOLESTARTBLOCK */
	bool	unwritten;
	/* When the turn of the piece comes: */
	bool	left, right;	/* the record that it is in goes on there */
	u8	joins;		/* neighbours' records, that the other's mapping joins here */
};

struct xfs_piece {
	u64			offset[2];
	u64			length;
	struct xfs_mapping	old[2];
	u32			range;	/* that it is of */
	u32			record[2]; /* in the maps' trees, from 1 on: map_records.c; or 0 */
	bool			cut;	/* file2 alone has it, and keeps it unwritten */
	bool			rmaps_in_place;	/* both sides', or neither's */
};

/*
 * The number of records of a map while the pieces change it, one after the other from the
 * start of the range on.  A rise begins where there are two more than at the lowest since
 * the last one, and ends where there are two less than at the highest: one record to and
 * fro is none.
 */
struct xfs_growth {
	s64	records;
	s64	turn;		/* the highest of this rise, or the lowest since the last */
	bool	rising;
	u64	rises;
	u64	risen;		/* records, of all rises together */
	u64	conversions;	/* from records in the inode to a tree */
};

/* A file, and how its map changes, at most, when all pieces change places. */
struct xfs_map {
	struct xfs_inode	*ip;
	bool			is_in_many;	/* ranges, which come in any order */
	struct xfs_btree_cur	*cursor;	/* in its tree, while it changes, or NULL */

	u64			leave, come;	/* blocks, of data mostly */
	u64			sides;		/* of pieces, that are in it */
	u64			replaced;	/* records, in place */
	u64			inserts;	/* records, beside them */
	u64			deletes;	/* likewise */
	struct xfs_growth	growth;
	u64			tree_blocks;	/* of the map now, at most */
	bool			joined;		/* some join a neighbour's */
	bool			is_unknown;	/* pieces have both sides in it */
	u64			long_records;	/* see count_long_records() */

	/* What the pieces are of, for xfs_pieces_are_stale(). */
	unsigned int		seq;		/* xfs_ifork::if_seq */
	u8			forkoff;	/* xfs_inode::i_forkoff */
};

/* A range of each of two files, or of one, that change places.  Index 0 is file1's. */
struct xfs_range {
	const struct exchange_request *request;
	struct xfs_map		*map[2];
	u64			start[2];
	u64			length;
	bool			written_only;	/* of file1 */
	u64			cut_from;	/* of file2: where its end will be */
	loff_t			old_size[2];	/* bytes, when all were locked */
	loff_t			new_size[2];	/* the same without TO_EOF */
	u64			first_piece;	/* of its pieces, */
	u64			piece_count;	/* which lie one behind the other */
	bool			deletes[2];	/* they may take records out of the map */
};

/* All ranges, and what there is to do. */
struct xfs_pieces {
	struct xfs_map		*maps;		/* in ascending order of the inodes' numbers */
	u32			map_count;
	struct xfs_range	*ranges;
	u32			range_count;
	const u32		*order;		/* of their sides: see xfs_ordered_range() */
	bool			skips_delayed;	/* a delayed allocation is as good as a hole */

	struct xfs_piece	*piece;
	u64			count, room;
	u64			rmaps_in_place;	/* pieces; before the look at the rmapbt, at most */
};

static inline struct xfs_map *xfs_map_of(const struct xfs_pieces *pieces,
					 const struct xfs_piece *piece, int side)
{
	return pieces->ranges[piece->range].map[side];
}

static inline struct xfs_inode *xfs_piece_inode(const struct xfs_pieces *pieces,
						const struct xfs_piece *piece, int side)
{
	return xfs_map_of(pieces, piece, side)->ip;
}

/*
 * The range of which one @side is in the place @i of all, of which there are two a range, when
 * those of each map come one after the other, in ascending order of their offsets.
 */
static inline const struct xfs_range *xfs_ordered_range(const struct xfs_pieces *pieces, u32 i,
							int *side)
{
	*side = pieces->order[i] & 1;
	return &pieces->ranges[pieces->order[i] / 2];
}

static inline bool xfs_is_one_file(const struct xfs_range *range)
{
	return range->map[0] == range->map[1];
}

/* Whether one of the files is, or was, a reflink. */
static inline bool xfs_has_clone(const struct xfs_pieces *pieces)
{
	u32 i;

	for (i = 0; i < pieces->map_count; i++)
		if (pieces->maps[i].ip->i_diflags2 & XFS_DIFLAG2_REFLINK)
			return true;
	return false;
}

/* Bytes that the inode has for its data fork. */
static inline u64 xfs_fork_bytes(const struct xfs_inode *ip)
{
	return ip->i_forkoff ? (u64)ip->i_forkoff << 3 :
	       ip->i_mount->m_sb.sb_inodesize - XFS_DINODE_V3_SIZE;
}

/* Records that fit into the inode itself; the root of a tree there has one less. */
static inline u64 xfs_inline_records(const struct xfs_inode *ip)
{
	return xfs_fork_bytes(ip) / XFS_BMBT_REC_SIZE;
}

static inline bool is_hole(const struct xfs_mapping *mapping)
{
	return mapping->block == HOLESTARTBLOCK;
}

static inline bool is_whole_record(const struct xfs_mapping *mapping)
{
	return !is_hole(mapping) && !mapping->left && !mapping->right;
}

/* What @side has for a piece afterwards. */
static inline struct xfs_mapping new_mapping(const struct xfs_piece *piece,
					     int side)
{
	struct xfs_mapping new = piece->old[piece->cut ? side : !side];

	new.unwritten |= piece->cut;
	return new;
}

/* What @side has for a piece before the exchange, or after it (@new). */
static inline struct xfs_bmbt_irec xfs_piece_record(const struct xfs_piece *piece, int side,
						    bool new)
{
	const struct xfs_mapping mapping = new ? new_mapping(piece, side) :
						 piece->old[side];

	return (struct xfs_bmbt_irec) {
		.br_startoff	= piece->offset[side],
		.br_startblock	= mapping.block,
		.br_blockcount	= piece->length,
		.br_state	= mapping.unwritten ? XFS_EXT_UNWRITTEN :
						      XFS_EXT_NORM,
	};
}

static inline bool has_side(const struct xfs_piece *piece, int side)
{
	return side == 1 || !piece->cut;
}

/* Blocks of @side, which a reverse mapping knows. */
static inline bool has_rmap(const struct xfs_piece *piece, int side)
{
	return has_side(piece, side) && !is_hole(&piece->old[side]);
}

/* @side has a record there, and has another in its place afterwards. */
static inline bool is_replaced(const struct xfs_piece *piece, int side)
{
	const struct xfs_mapping new = new_mapping(piece, side);

	return is_whole_record(&piece->old[side]) && !piece->old[side].joins &&
	       !is_hole(&new);
}

int xfs_read_maps(const struct xfs_pieces *pieces);
int xfs_collect_pieces(struct xfs_pieces *pieces, u64 limit);
void xfs_remember_maps(struct xfs_pieces *pieces);
bool xfs_pieces_are_stale(const struct xfs_pieces *pieces);
void xfs_forget_pieces(struct xfs_pieces *pieces);

#endif /* EXCHRANGE_XFS_PIECES_H */
