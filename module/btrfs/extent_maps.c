// SPDX-License-Identifier: GPL-2.0
/*
 * The extent maps of what was exchanged: dropped, or new ones made.
 *
 * An fsync that is not a full one writes what has a map on the inode's list of modified ones,
 * and looks at nothing else: what it costs does not grow with the file.
 */
#include "exchange.h"

/* Data whose map says no more than where it lies. */
static bool is_plain(const struct file_extent *extent)
{
	const struct btrfs_file_extent_item *item = &extent->item;

	return item->type == BTRFS_FILE_EXTENT_REG && item->disk_bytenr &&
	       !item->compression && !item->encryption && !item->other_encoding &&
	       item->ram_bytes == item->disk_num_bytes;
}

static u64 extent_end(const struct file_extent *extent, u32 sectorsize)
{
	return extent->offset + (extent->item.type == BTRFS_FILE_EXTENT_INLINE ?
				 sectorsize : le64_to_cpu(extent->item.num_bytes));
}

/*
 * Whether the extents that @side gets leave no gap before @end, in bytes from the range's
 * start.  With FILE1_WRITTEN only what is written moves, and there is none.
 */
bool btrfs_pair_fills(const struct btrfs_pair *pair, int side, u64 end)
{
	const struct extent_list *list = &pair->list[!side];
	u32 sectorsize = pair->range[side].inode->root->fs_info->sectorsize;
	u64 filled = 0;
	u32 i;

	if (pair->range[0].written_only)
		return true;
	for (i = 0; i < list->count && filled < end; i++) {
		if (list->extents[i].offset > filled)
			return false;
		filled = extent_end(&list->extents[i], sectorsize);
	}
	return filled >= end;
}

/* Whether maps can say all that @side gets: plain data, and no size changes. */
bool btrfs_pair_can_map(const struct btrfs_pair *pair, int side)
{
	const struct extent_list *list = &pair->list[!side];
	u32 i;

	if (pair->request->flags & EXCHRANGE_TO_EOF ||
	    !btrfs_pair_fills(pair, side, pair->range[side].length))
		return false;
	for (i = 0; i < list->count; i++)
		if (!is_plain(&list->extents[i]))
			return false;
	return true;
}

static int map_extent(const struct inode_range *range, const struct file_extent *extent,
		      u64 transid)
{
	const struct btrfs_file_extent_item *item = &extent->item;
	struct extent_map *map = btrfs_alloc_extent_map();
	int error;

	if (!map)
		return -ENOMEM;
	btrfs_fill_extent_map(map, range->start + extent->offset,
			      le64_to_cpu(item->num_bytes),
			      le64_to_cpu(item->disk_bytenr),
			      le64_to_cpu(item->disk_num_bytes),
			      le64_to_cpu(item->offset));
	map->generation = transid;
	error = btrfs_replace_extent_map_range(range->inode, map, true);
	btrfs_free_extent_map(map);
	return error;
}

/*
 * Makes the maps of what @side has got, where btrfs_pair_can_map().  Those of what did not
 * move stay: they may not have been logged.  -ENOMEM: there may be none.
 */
int btrfs_pair_map(const struct btrfs_pair *pair, int side, u64 transid)
{
	const struct extent_list *list = &pair->list[!side];
	int error = 0;
	u32 i;

	for (i = 0; i < list->count && !error; i++)
		error = map_extent(&pair->range[side], &list->extents[i], transid);
	return error;
}

/* Forgets what @side had: it has something else. */
void btrfs_pair_drop_maps(const struct btrfs_pair *pair, int side)
{
	const struct inode_range *range = &pair->range[side];

	btrfs_drop_extent_map_range(range->inode, range->start,
				    range->start + range->length - 1, false);
}
