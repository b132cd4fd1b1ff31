// SPDX-License-Identifier: GPL-2.0
/*
 * The pieces of an exchange, from the block maps of its files in memory.
 *
 * Whoever calls these holds all inodes' IOLOCK, MMAPLOCK and ILOCK exclusively, in
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
static bool is_kept(const struct xfs_range *range, const struct xfs_mapping *mapping)
{
	return range->written_only && (is_hole(mapping) || mapping->unwritten);
}

/* One that a list of pieces has no use for: nothing would change. */
static bool is_idle(const struct xfs_range *range, const struct xfs_mapping *old)
{
	/* Two holes, or blocks that both files share. */
	return is_kept(range, &old[0]) || old[0].block == old[1].block;
}

/*
 * What both files have from @done blocks behind the start of their ranges on.  -EAGAIN for
 * a delayed allocation: everything is flushed, but behind the end of a file XFS may leave
 * some.  Where file1 keeps what it has, file2 is not looked at: a staging file with a few
 * pages has large holes, and a database many extents there.
 */
static int read_piece(const struct xfs_pieces *pieces, const struct xfs_range *range,
		      u64 done, struct xfs_piece *piece)
{
	struct stretch stretch[2];
	u64 length = range->length - done;
	int i;

	for (i = 0; i < 2; i++) {
		piece->offset[i] = range->start[i] + done;
		read_stretch(range->map[i]->ip, piece->offset[i], length,
			     &stretch[i]);
		if (stretch[i].delayed && !pieces->skips_delayed)
			return -EAGAIN;
		length = stretch[i].length;
		piece->length = length;
		piece->old[i] = stretch[i].mapping;
		if (i == 0 && is_kept(range, &piece->old[0]))
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
static int collect_cut(struct xfs_pieces *pieces, const struct xfs_range *range, u64 limit)
{
	u64 end = range->start[1] + range->length;
	struct xfs_inode *ip = range->map[1]->ip;
	struct stretch stretch;
	u64 offset;
	int error;

	if (ip->i_diflags2 & XFS_DIFLAG2_REFLINK)
		return 0;
	for (offset = range->cut_from; offset < end; offset += stretch.length) {
		struct xfs_piece piece = {
			.range	= range - pieces->ranges,
			.cut	= true,
		};

		error = take_breath();
		if (error)
			return error;
		read_stretch(ip, offset, end - offset, &stretch);
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

static int collect_range(struct xfs_pieces *pieces, struct xfs_range *range, u64 limit)
{
	struct xfs_piece piece = { .range = range - pieces->ranges };
	u64 done;
	int error;

	range->first_piece = pieces->count;
	range->deletes[0] = false;
	range->deletes[1] = false;
	for (done = 0; done < range->length; done += piece.length) {
		error = take_breath() ?: read_piece(pieces, range, done, &piece);
		if (!error && !is_idle(range, piece.old))
			error = add_piece(pieces, &piece, limit);
		if (error)
			return error;
	}
	error = collect_cut(pieces, range, limit);
	range->piece_count = pieces->count - range->first_piece;
	return error;
}

static int collect(struct xfs_pieces *pieces, u64 limit)
{
	int error = 0;
	u32 i;

	for (i = 0; i < pieces->range_count && !error; i++)
		error = collect_range(pieces, &pieces->ranges[i], limit);
	return error;
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

/* A piece beside another in a file, which has changed when the other's turn comes. */
struct changed {
	const struct xfs_piece	*piece;	/* NULL: there is no such one */
	int			side;
};

/*
 * What is before a piece in @side when its turn comes: what came there where that has changed,
 * else what the file has.  @length: what of it is known.
 */
static void read_left(const struct xfs_pieces *pieces, const struct xfs_piece *piece, int side,
		      const struct changed *before, struct xfs_mapping *left, u64 *length)
{
	u64 offset = piece->offset[side];
	struct stretch stretch;

	left->block = HOLESTARTBLOCK;
	*length = 1;
	if (before->piece) {
		*left = new_mapping(before->piece, before->side);
		*length = before->piece->length;
	} else if (offset) {
		read_stretch(xfs_piece_inode(pieces, piece, side), offset - 1, 1, &stretch);
		*left = stretch.mapping;
	}
}

/* And what is behind it. */
static void read_right(const struct xfs_pieces *pieces, const struct xfs_piece *piece,
		       int side, const struct changed *behind, struct xfs_mapping *right)
{
	struct stretch stretch;

	if (behind->piece) {
		*right = new_mapping(behind->piece, behind->side);
		return;
	}
	read_stretch(xfs_piece_inode(pieces, piece, side),
		     piece->offset[side] + piece->length, 1, &stretch);
	*right = stretch.mapping;
}

/*
 * What of @side's records around a piece the pieces @before and @behind it have changed, and
 * how many of them the other's mapping joins.
 */
static void look_around(const struct xfs_pieces *pieces, struct xfs_piece *piece, int side,
			const struct changed *before, const struct changed *behind)
{
	const struct xfs_mapping new = new_mapping(piece, side);
	struct xfs_mapping *old = &piece->old[side];
	struct xfs_mapping left, right;
	u64 length;

	read_left(pieces, piece, side, before, &left, &length);
	read_right(pieces, piece, side, behind, &right);
	old->joins = merges(&left, length, &new) + merges(&new, piece->length, &right);
	if (before->piece)
		old->left = merges(&left, length, old);
	if (behind->piece)
		old->right = merges(old, piece->length, &right);
}

/* Of the pieces of one range, in their order, those before have changed. */
static void look_around_in_range(const struct xfs_pieces *pieces, u64 i)
{
	static const struct changed none;
	struct xfs_piece *piece = &pieces->piece[i];
	int side;

	for (side = 0; side < 2; side++) {
		struct changed before = { .side = side };

		if (!has_side(piece, side))
			continue;
		if (i && ends_at(&piece[-1], piece, side))
			before.piece = &piece[-1];
		look_around(pieces, piece, side, &before, &none);
	}
}

/* A side of a piece, by its place in its file. */
struct place {
	const struct xfs_map	*map;
	u64			offset, end;
	u64			piece;
	int			side;
};

/* @beside, if it touches @place and changes before it. */
static struct changed changed_before(const struct xfs_pieces *pieces,
				     const struct place *place, const struct place *beside)
{
	bool touches = beside->map == place->map &&
		       (beside->end == place->offset || place->end == beside->offset);

	return (struct changed) {
		.piece	= touches && beside->piece < place->piece ?
			  &pieces->piece[beside->piece] : NULL,
		.side	= beside->side,
	};
}

static u64 list_places(const struct xfs_pieces *pieces, struct place *places)
{
	u64 i, count = 0;
	u32 j;
	int side;

	for (j = 0; j < 2 * pieces->range_count; j++) {
		const struct xfs_range *range = xfs_ordered_range(pieces, j, &side);

		for (i = range->first_piece; i < range->first_piece + range->piece_count; i++) {
			const struct xfs_piece *piece = &pieces->piece[i];

			if (has_side(piece, side))
				places[count++] = (struct place) {
					.map	= range->map[side],
					.offset	= piece->offset[side],
					.end	= piece->offset[side] + piece->length,
					.piece	= i,
					.side	= side,
				};
		}
	}
	return count;
}

/*
 * The same for all pieces of many ranges, of which any may be beside any other in a file: in
 * the order of their places there.
 */
static int look_around_everywhere(const struct xfs_pieces *pieces)
{
	const struct place nowhere = { };
	struct place *places;
	u64 i, count;
	int error = 0;

	places = kvmalloc_array(2 * pieces->count, sizeof(*places), GFP_KERNEL_ACCOUNT);
	if (!places)
		return -ENOMEM;
	count = list_places(pieces, places);
	for (i = 0; i < count && !error; i++) {
		const struct place *place = &places[i];
		struct changed before, behind;

		before = changed_before(pieces, place, i ? &place[-1] : &nowhere);
		behind = changed_before(pieces, place,
					i + 1 < count ? &place[1] : &nowhere);
		look_around(pieces, &pieces->piece[place->piece], place->side,
			    &before, &behind);
		error = take_breath();
	}
	kvfree(places);
	return error;
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
 * is taken out, then the other's, which may join neighbours, put in.
 */
static void count_changes(struct xfs_range *range, const struct xfs_piece *piece, int side)
{
	struct xfs_map *map = range->map[side];
	const struct xfs_mapping *old = &piece->old[side];
	const struct xfs_mapping new = new_mapping(piece, side);
	/* What is left on both sides of the old mapping is a record more. */
	bool cuts = !is_hole(old) && old->left && old->right;
	u64 room = xfs_inline_records(map->ip);

	grow(&map->growth, cuts - is_whole_record(old), room);
	if (!is_hole(&new))
		grow(&map->growth, 1 - old->joins, room);
	map->inserts += cuts + (!is_hole(&new) && !old->joins);
	map->deletes += is_whole_record(old) + !!old->joins;
	range->deletes[side] |= is_whole_record(old) || old->joins;
	map->joined |= old->joins;
}

/* Whether the reverse mappings may change in place, as far as the files know: see rmap.c. */
static bool may_change_rmaps(const struct xfs_pieces *pieces,
			     const struct xfs_piece *piece)
{
	const struct xfs_inode *ip1 = xfs_piece_inode(pieces, piece, 0);
	const struct xfs_inode *ip2 = xfs_piece_inode(pieces, piece, 1);

	return xfs_has_rmapbt(ip1->i_mount) && !piece->cut &&
	       is_replaced(piece, 0) && is_replaced(piece, 1) &&
	       !((ip1->i_diflags2 | ip2->i_diflags2) & XFS_DIFLAG2_REFLINK);
}

static void count_blocks(struct xfs_pieces *pieces, const struct xfs_piece *piece)
{
	int side;

	for (side = 0; side < 2; side++) {
		if (!has_side(piece, side))
			continue;
		xfs_map_of(pieces, piece, side)->sides++;
		if (is_hole(&piece->old[side]) || piece->cut)
			continue;
		xfs_map_of(pieces, piece, side)->leave += piece->length;
		xfs_map_of(pieces, piece, !side)->come += piece->length;
	}
}

/*
 * Where both sides of a piece are in one file, one changes the other's neighbours: nothing is
 * known of them, and the piece may add and take away all that it can.
 */
static void count_in_one_file(struct xfs_range *range, struct xfs_piece *piece)
{
	struct xfs_map *map = range->map[0];
	const u64 most = 4;
	int side;

	for (side = 0; side < 2; side++) {
		range->deletes[side] = true;
		piece->old[side].left = true;
		piece->old[side].right = true;
	}
	map->is_unknown = true;
	map->inserts += most;
	map->deletes += most;
	map->growth.risen += most;
	map->growth.rises += most;
}

static void count_piece(struct xfs_pieces *pieces, struct xfs_piece *piece)
{
	struct xfs_range *range = &pieces->ranges[piece->range];
	int side;

	count_blocks(pieces, piece);
	if (xfs_is_one_file(range)) {
		count_in_one_file(range, piece);
		return;
	}
	piece->rmaps_in_place = may_change_rmaps(pieces, piece);
	pieces->rmaps_in_place += piece->rmaps_in_place;

	for (side = 0; side < 2; side++) {
		if (!has_side(piece, side))
			continue;
		if (is_replaced(piece, side))
			range->map[side]->replaced++;
		else
			count_changes(range, piece, side);
	}
}

static u64 count_all_blocks(const struct xfs_pieces *pieces)
{
	u64 blocks = 0;
	u32 i;

	for (i = 0; i < pieces->map_count; i++)
		blocks += pieces->maps[i].ip->i_nblocks;
	return blocks;
}

/* Whether two records that could join may together have more blocks than one can. */
static bool may_be_too_long(const struct xfs_pieces *pieces)
{
	return count_all_blocks(pieces) > XFS_MAX_BMBT_EXTLEN;
}

/*
 * Two records that could join stay two if both together have more blocks than one can: so
 * many of these there may be in the ranges, and one at each end of each.  So many records
 * more or less there may be at any time.
 */
static void count_long_records(const struct xfs_pieces *pieces, struct xfs_map *map)
{
	if (!map->joined || !may_be_too_long(pieces))
		return;
	map->inserts += map->long_records;
	map->growth.risen += map->long_records;
	map->growth.rises += map->long_records;
	/* Where one more or less decides is not known. */
	map->growth.conversions = 1 + min(map->inserts, map->deletes);
}

/*
 * What is put in fills blocks wherever it is, and what is taken out may join two that were
 * one, wherever that is: where the ranges of a map come in any order, the number of its
 * records does not tell.  Each time that they go into a tree again, one was put in.
 */
static void count_in_any_order(struct xfs_map *map)
{
	map->growth.risen = max(map->growth.risen, map->inserts);
	map->growth.rises = max(map->growth.rises, map->deletes);
}

static void begin_map(struct xfs_map *map)
{
	map->growth.records = map->ip->i_df.if_nextents;
	map->growth.turn = map->growth.records;
}

/*
 * Where it is not known when records come and go, each that comes may be the one that no longer
 * fits into the inode; but none is where even without all that go there are too many.
 */
static u64 count_unknown_conversions(const struct xfs_pieces *pieces, const struct xfs_map *map)
{
	u64 room = xfs_inline_records(map->ip);
	u64 go = map->deletes + (may_be_too_long(pieces) ? map->long_records : 0);

	return map->ip->i_df.if_nextents > room + go ? 0 : map->inserts;
}

static void end_map(const struct xfs_pieces *pieces, struct xfs_map *map)
{
	count_long_records(pieces, map);
	if (map->is_in_many)
		count_in_any_order(map);
	if (map->is_unknown)
		map->growth.conversions = count_unknown_conversions(pieces, map);
}

static void begin_ranges(const struct xfs_pieces *pieces)
{
	u32 i;
	int side;

	for (i = 0; i < pieces->range_count; i++)
		for (side = 0; side < 2; side++) {
			const struct xfs_range *range = &pieces->ranges[i];

			range->map[side]->long_records +=
				4 * (div64_u64(range->length, XFS_MAX_BMBT_EXTLEN) + 1);
		}
}

static int classify(struct xfs_pieces *pieces)
{
	bool many = pieces->range_count > 1;
	int error = 0;
	u64 i;

	begin_ranges(pieces);
	for (i = 0; i < pieces->map_count; i++)
		begin_map(&pieces->maps[i]);
	if (many)
		error = look_around_everywhere(pieces);
	for (i = 0; i < pieces->count && !error; i++) {
		error = take_breath();
		if (!many && !error)
			look_around_in_range(pieces, i);
		count_piece(pieces, &pieces->piece[i]);
	}
	for (i = 0; i < pieces->map_count; i++)
		end_map(pieces, &pieces->maps[i]);
	return error;
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

/*
 * Worth it where there are many pieces, and some do more than to replace a record: else what
 * the number of records says will do.
 */
static int look_at_trees(struct xfs_pieces *pieces)
{
	int error = 0;
	u32 i;

	for (i = 0; i < pieces->map_count && !error; i++) {
		struct xfs_map *map = &pieces->maps[i];

		map->tree_blocks = U64_MAX;
		if (pieces->count > FEW_PIECES && map->replaced < map->sides)
			error = count_tree_blocks(map->ip, &map->tree_blocks);
	}
	return error;
}

/* What the maps are now, for xfs_pieces_are_stale(). */
void xfs_remember_maps(struct xfs_pieces *pieces)
{
	u32 i;

	for (i = 0; i < pieces->map_count; i++) {
		struct xfs_map *map = &pieces->maps[i];

		map->seq = READ_ONCE(map->ip->i_df.if_seq);
		map->forkoff = map->ip->i_forkoff;
	}
}

/* Reads the maps from the disk, where they are not in memory. */
int xfs_read_maps(const struct xfs_pieces *pieces)
{
	int error = 0;
	u32 i;

	for (i = 0; i < pieces->map_count && !error; i++)
		error = xfs_iread_extents(NULL, pieces->maps[i].ip, XFS_DATA_FORK);
	return error;
}

/*
 * Fills @pieces, whose ranges are set and the rest is as xfs_forget_pieces() leaves it.  -E2BIG:
 * there are more than @limit.  -EAGAIN: a file has a delayed allocation there.  -EINTR: the
 * caller is being killed.  Errors of reading a map from disk.  xfs_forget_pieces() even then.
 */
int xfs_collect_pieces(struct xfs_pieces *pieces, u64 limit)
{
	int error;

	error = xfs_read_maps(pieces);
	if (error)
		return error;
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
	u32 i;

	for (i = 0; i < pieces->map_count; i++) {
		const struct xfs_map *map = &pieces->maps[i];

		if (map->seq != READ_ONCE(map->ip->i_df.if_seq) ||
		    map->forkoff != map->ip->i_forkoff)
			return true;
	}
	return false;
}

/* Of the same ranges, nothing is known. */
void xfs_forget_pieces(struct xfs_pieces *pieces)
{
	u32 i;

	kvfree(pieces->piece);
	pieces->piece = NULL;
	pieces->count = 0;
	pieces->room = 0;
	pieces->rmaps_in_place = 0;
	for (i = 0; i < pieces->map_count; i++)
		pieces->maps[i] = (struct xfs_map) {
			.ip		= pieces->maps[i].ip,
			.is_in_many	= pieces->maps[i].is_in_many,
		};
}
