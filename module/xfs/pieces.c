// SPDX-License-Identifier: GPL-2.0
/*
 * The pieces of an exchange, from the block maps of both files in memory.
 *
 * Whoever calls these holds both inodes' IOLOCK, MMAPLOCK and ILOCK exclusively, in
 * a scope of memalloc_nofs_save().
 */
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "array.h"
#include "pieces.h"

#define FEW_PIECES	64

/* What a file has from some block on: a record or a part of it, or a hole. */
struct stretch {
	struct xfs_mapping	mapping;
	u64			length;
	u64			rest;	/* of the record, from there on */
	bool			delayed; /* a hole, so far */
};

static void read_stretch(struct xfs_inode *ip, u64 offset, u64 length,
			 struct stretch *stretch)
{
	struct xfs_iext_cursor cursor;
	struct xfs_bmbt_irec record;
	u64 skip;

	*stretch = (struct stretch) {
		.mapping.block	= HOLESTARTBLOCK,
		.length		= length,
	};
	if (!xfs_iext_lookup_extent(ip, &ip->i_df, offset, &cursor, &record))
		return;
	if (record.br_startoff > offset) {
		stretch->length = min(length, record.br_startoff - offset);
		return;
	}
	skip = offset - record.br_startoff;
	stretch->length = min(length, record.br_blockcount - skip);
	if (isnullstartblock(record.br_startblock)) {
		stretch->delayed = true;
		return;
	}
	stretch->rest = record.br_blockcount - skip;
	stretch->mapping = (struct xfs_mapping) {
		.block		= record.br_startblock + skip,
		.unwritten	= record.br_state == XFS_EXT_UNWRITTEN,
		.left		= skip > 0,
	};
}

/*
 * Between two steps of a long walk, also with ILOCKs: others run meanwhile.  -EINTR for a
 * caller who is being killed, before anything has changed.
 */
static int take_breath(void)
{
	cond_resched();
	return fatal_signal_pending(current) ? -EINTR : 0;
}

static int add_piece(struct xfs_pieces *pieces, const struct xfs_piece *piece,
		     u64 limit)
{
	struct xfs_piece *more;

	if (pieces->count == limit)
		return -E2BIG;
	more = xfs_make_room(pieces->piece, pieces->count, &pieces->room, sizeof(*more));
	if (!more)
		return -ENOMEM;
	pieces->piece = more;
	pieces->piece[pieces->count++] = *piece;
	return 0;
}

/* What file1 keeps with FILE1_WRITTEN. */
static bool is_kept(const struct xfs_pieces *pieces, const struct xfs_mapping *mapping)
{
	return pieces->written_only && (is_hole(mapping) || mapping->unwritten);
}

/* One that a list of pieces has no use for: nothing would change. */
static bool is_idle(const struct xfs_pieces *pieces, const struct xfs_mapping *old)
{
	/* Two holes, or blocks that both files share. */
	return is_kept(pieces, &old[0]) || old[0].block == old[1].block;
}

/*
 * What both files have from @done blocks behind the start of their ranges on.  -EAGAIN for
 * a delayed allocation: everything is flushed, but behind the end of a file XFS may leave
 * some.  Where file1 keeps what it has, file2 is not looked at: a staging file with a few
 * pages has large holes, and a database many extents there.
 */
static int read_piece(const struct xfs_pieces *pieces, u64 done,
		      struct xfs_piece *piece)
{
	struct stretch stretch[2];
	u64 length = pieces->length - done;
	int i;

	for (i = 0; i < 2; i++) {
		piece->offset[i] = pieces->start[i] + done;
		read_stretch(pieces->ip[i], piece->offset[i], length,
			     &stretch[i]);
		if (stretch[i].delayed && !pieces->skips_delayed)
			return -EAGAIN;
		length = stretch[i].length;
		piece->length = length;
		piece->old[i] = stretch[i].mapping;
		if (i == 0 && is_kept(pieces, &piece->old[0]))
			return 0;
	}
	for (i = 0; i < 2; i++)
		piece->old[i].right = stretch[i].rest > length;
	return 0;
}

/*
 * With FILE1_WRITTEN, a file2 that becomes shorter keeps what is behind its new end.  Of
 * that XFS expects nothing but preallocations: written blocks would come to light when
 * the file grows.  But never of blocks that another file may share: XFS takes it that
 * nobody shares unwritten ones, and writes them where they are.
 */
static int collect_cut(struct xfs_pieces *pieces, u64 limit)
{
	u64 end = pieces->start[1] + pieces->length;
	struct stretch stretch;
	u64 offset;
	int error;

	if (pieces->ip[1]->i_diflags2 & XFS_DIFLAG2_REFLINK)
		return 0;
	for (offset = pieces->cut_from; offset < end; offset += stretch.length) {
		struct xfs_piece piece = { .cut = true };

		error = take_breath();
		if (error)
			return error;
		read_stretch(pieces->ip[1], offset, end - offset, &stretch);
		if (stretch.delayed && !pieces->skips_delayed)
			return -EAGAIN;
		if (is_hole(&stretch.mapping) || stretch.mapping.unwritten)
			continue;
		piece.offset[1] = offset;
		piece.length = stretch.length;
		piece.old[1] = stretch.mapping;
		piece.old[1].right = stretch.rest > stretch.length;
		error = add_piece(pieces, &piece, limit);
		if (error)
			return error;
	}
	return 0;
}

static int collect(struct xfs_pieces *pieces, u64 limit)
{
	struct xfs_piece piece = { };
	u64 done;
	int error;

	for (done = 0; done < pieces->length; done += piece.length) {
		error = take_breath() ?: read_piece(pieces, done, &piece);
		if (!error && !is_idle(pieces, piece.old))
			error = add_piece(pieces, &piece, limit);
		if (error)
			return error;
	}
	return collect_cut(pieces, limit);
}

/* Whether XFS would make one record of @mapping, @length blocks long, and @next. */
static bool merges(const struct xfs_mapping *mapping, u64 length,
		   const struct xfs_mapping *next)
{
	return !is_hole(mapping) && !is_hole(next) &&
	       mapping->block + length == next->block &&
	       mapping->unwritten == next->unwritten;
}

/* Whether @piece begins in @side where the one before it ends. */
static bool ends_at(const struct xfs_piece *before, const struct xfs_piece *piece,
		    int side)
{
	return has_side(before, side) &&
	       before->offset[side] + before->length == piece->offset[side];
}

/*
 * What is before a piece in @side when its turn comes: the other's mapping where the
 * piece before it ends there, else what the file has.  @length: what of it is known.
 */
static void read_left(const struct xfs_pieces *pieces, u64 i, int side,
		      struct xfs_mapping *left, u64 *length)
{
	const struct xfs_piece *piece = &pieces->piece[i];
	u64 offset = piece->offset[side];
	struct stretch stretch;

	left->block = HOLESTARTBLOCK;
	*length = 1;
	if (i && ends_at(&piece[-1], piece, side)) {
		*left = new_mapping(&piece[-1], side);
		*length = piece[-1].length;
	} else if (offset) {
		read_stretch(pieces->ip[side], offset - 1, 1, &stretch);
		*left = stretch.mapping;
	}
}

/*
 * What of @side's records around a piece the pieces before it have changed, and whether the
 * other's mapping joins one of them.  Returns how many it joins.
 */
static int look_around(const struct xfs_pieces *pieces, u64 i, int side)
{
	struct xfs_piece *piece = &pieces->piece[i];
	const struct xfs_mapping new = new_mapping(piece, side);
	struct xfs_mapping left;
	struct stretch right;
	int joined;
	u64 length;

	read_left(pieces, i, side, &left, &length);
	read_stretch(pieces->ip[side], piece->offset[side] + piece->length, 1,
		     &right);
	joined = merges(&left, length, &new) +
		 merges(&new, piece->length, &right.mapping);
	piece->old[side].joins = joined > 0;
	if (i && ends_at(&piece[-1], piece, side))
		piece->old[side].left = merges(&left, length, &piece->old[side]);
	return joined;
}

/* As XFS does after each mapping that it takes out or puts in. */
static void change_format(struct xfs_growth *growth, s64 before, u64 room)
{
	if (before <= (s64)room && growth->records > (s64)room)
		growth->conversions++;
}

static void grow(struct xfs_growth *growth, int records, u64 room)
{
	s64 before = growth->records;

	growth->records += records;
	change_format(growth, before, room);
	if (growth->rising && growth->records > growth->turn) {
		growth->risen += growth->records - growth->turn;
		growth->turn = growth->records;
	} else if (growth->rising && growth->turn - growth->records >= 2) {
		growth->rising = false;
		growth->turn = growth->records;
	} else if (!growth->rising && growth->records < growth->turn) {
		growth->turn = growth->records;
	} else if (!growth->rising && growth->records - growth->turn >= 2) {
		growth->rising = true;
		growth->rises++;
		growth->risen += growth->records - growth->turn;
		growth->turn = growth->records;
	}
}

/*
 * How the map of @side changes by a piece that does not replace a record: the old mapping
 * is taken out, then the other's, which joins @joined neighbours, put in.
 */
static void count_changes(struct xfs_pieces *pieces,
			  const struct xfs_piece *piece, int side, int joined)
{
	const struct xfs_mapping *old = &piece->old[side];
	const struct xfs_mapping new = new_mapping(piece, side);
	/* What is left on both sides of the old mapping is a record more. */
	bool cuts = !is_hole(old) && old->left && old->right;
	u64 room = xfs_inline_records(pieces->ip[side]);
	struct xfs_growth *growth = &pieces->growth[side];

	grow(growth, cuts - is_whole_record(old), room);
	if (!is_hole(&new))
		grow(growth, 1 - joined, room);
	pieces->inserts[side] += cuts + (!is_hole(&new) && !old->joins);
	pieces->deletes[side] += is_whole_record(old) + old->joins;
	pieces->joined[side] |= old->joins;
}

/* Whether the reverse mappings may change in place, as far as the files know: see rmap.c. */
static bool may_change_rmaps(const struct xfs_pieces *pieces,
			     const struct xfs_piece *piece)
{
	return xfs_has_rmapbt(pieces->ip[0]->i_mount) && !piece->cut &&
	       is_replaced(piece, 0) && is_replaced(piece, 1) &&
	       !((pieces->ip[0]->i_diflags2 | pieces->ip[1]->i_diflags2) &
		 XFS_DIFLAG2_REFLINK);
}

static void count_piece(struct xfs_pieces *pieces, struct xfs_piece *piece,
			const int *joined)
{
	int i;

	piece->rmaps_in_place = may_change_rmaps(pieces, piece);
	pieces->rmaps_in_place += piece->rmaps_in_place;

	for (i = 0; i < 2; i++) {
		if (!has_side(piece, i))
			continue;
		if (!is_hole(&piece->old[i]) && !piece->cut)
			pieces->blocks[i] += piece->length;
		if (is_replaced(piece, i))
			pieces->replaced[i]++;
		else
			count_changes(pieces, piece, i, joined[i]);
	}
}

/*
 * Where the pieces are of one file, those of one range change the other's neighbours:
 * nothing is known of them, and a piece may add and take away all that it can.
 */
static void count_in_one_file(struct xfs_pieces *pieces)
{
	u64 i;
	int side;

	for (i = 0; i < pieces->count; i++)
		for (side = 0; side < 2; side++) {
			pieces->piece[i].old[side].left = true;
			pieces->piece[i].old[side].right = true;
			if (!is_hole(&pieces->piece[i].old[side]))
				pieces->blocks[side] += pieces->piece[i].length;
		}
	for (side = 0; side < 2; side++) {
		u64 most = 4 * pieces->count;

		pieces->inserts[side] = most;
		pieces->deletes[side] = most;
		pieces->growth[side].risen = most;
		pieces->growth[side].rises = most;
		pieces->growth[side].conversions = most;
	}
}

/*
 * Two records that could join stay two if both together have more blocks than one can: so
 * many of these there may be in the range, and one at each end of it.  So many records more
 * or less there may be at any time.
 */
static void count_long_records(struct xfs_pieces *pieces, int side)
{
	u64 blocks = pieces->ip[0]->i_nblocks + pieces->ip[1]->i_nblocks;
	u64 records = 4 * (div64_u64(pieces->length, XFS_MAX_BMBT_EXTLEN) + 1);

	if (!pieces->joined[side] || blocks <= XFS_MAX_BMBT_EXTLEN)
		return;
	pieces->inserts[side] += records;
	pieces->growth[side].risen += records;
	pieces->growth[side].rises += records;
	/* Where one more or less decides is not known. */
	pieces->growth[side].conversions = 1 + min(pieces->inserts[side],
						   pieces->deletes[side]);
}

static int classify(struct xfs_pieces *pieces)
{
	u64 i;
	int side, error;

	for (side = 0; side < 2; side++) {
		pieces->growth[side].records = pieces->ip[side]->i_df.if_nextents;
		pieces->growth[side].turn = pieces->growth[side].records;
	}
	if (pieces->one_file) {
		count_in_one_file(pieces);
		return 0;
	}
	for (i = 0; i < pieces->count; i++) {
		int joined[2] = { };

		error = take_breath();
		if (error)
			return error;
		for (side = 0; side < 2; side++)
			if (has_side(&pieces->piece[i], side))
				joined[side] = look_around(pieces, i, side);
		count_piece(pieces, &pieces->piece[i], joined);
	}
	for (side = 0; side < 2; side++)
		count_long_records(pieces, side);
	return 0;
}

/*
 * Blocks of a map's tree: those of the file that its records have not.  An attribute fork's
 * are among them.  The records are in memory.
 */
static int count_tree_blocks(struct xfs_inode *ip, u64 *blocks)
{
	struct xfs_iext_cursor cursor;
	struct xfs_bmbt_irec record;
	u64 offset = 0;
	int error;

	*blocks = ip->i_nblocks;
	while (xfs_iext_lookup_extent(ip, &ip->i_df, offset, &cursor, &record)) {
		error = take_breath();
		if (error)
			return error;
		if (!isnullstartblock(record.br_startblock))
			*blocks -= min(*blocks, record.br_blockcount);
		offset = record.br_startoff + record.br_blockcount;
	}
	return 0;
}

/* Worth it where there are many pieces: else what the number of records says will do. */
static int look_at_trees(struct xfs_pieces *pieces)
{
	int i, error = 0;

	for (i = 0; i < 2 && !error; i++) {
		pieces->tree_blocks[i] = U64_MAX;
		if (pieces->count > FEW_PIECES)
			error = count_tree_blocks(pieces->ip[i], &pieces->tree_blocks[i]);
	}
	return error;
}

/* What the maps are now, for xfs_pieces_are_stale(). */
void xfs_remember_maps(struct xfs_pieces *pieces)
{
	int i;

	for (i = 0; i < 2; i++) {
		pieces->seq[i] = READ_ONCE(pieces->ip[i]->i_df.if_seq);
		pieces->forkoff[i] = pieces->ip[i]->i_forkoff;
	}
}

/*
 * Fills @pieces, whose members up to cut_from are set and the rest is zero.  -E2BIG: there
 * are more than @limit.  -EAGAIN: a file has a delayed allocation there.  -EINTR: the caller
 * is being killed.  Errors of reading a map from disk.  xfs_free_pieces() even then.
 */
int xfs_collect_pieces(struct xfs_pieces *pieces, u64 limit)
{
	int i, error;

	for (i = 0; i < 2; i++) {
		error = xfs_iread_extents(NULL, pieces->ip[i], XFS_DATA_FORK);
		if (error)
			return error;
	}
	pieces->one_file = pieces->ip[0] == pieces->ip[1];
	error = collect(pieces, limit);
	if (!error)
		error = classify(pieces) ?: look_at_trees(pieces);
	xfs_remember_maps(pieces);
	return error;
}

/*
 * Whether a map, or the room for it in the inode, has changed since.  With the same
 * locks, after they were let go of.
 */
bool xfs_pieces_are_stale(const struct xfs_pieces *pieces)
{
	int i;

	for (i = 0; i < 2; i++)
		if (pieces->seq[i] != READ_ONCE(pieces->ip[i]->i_df.if_seq) ||
		    pieces->forkoff[i] != pieces->ip[i]->i_forkoff)
			return true;
	return false;
}

void xfs_free_pieces(struct xfs_pieces *pieces)
{
	kvfree(pieces->piece);
	pieces->piece = NULL;
}
