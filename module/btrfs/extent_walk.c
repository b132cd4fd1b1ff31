// SPDX-License-Identifier: GPL-2.0
/*
 * Goes through the file extents of a byte range, in a file's subvolume tree.
 *
 * Whoever calls these holds the inode's lock, invalidate_lock and i_mmap_lock, all
 * of them for writing, and no ordered extent is pending in the range: then the
 * items change in nothing but the place of their data, which balance may move
 * until a transaction keeps it from doing so.
 */
#include <linux/sched/signal.h>

#include "extent_walk.h"

/* 0: the path is at @key.  1: at the place where it would be. */
int extent_walk_search(struct extent_walk *walk, const struct btrfs_key *key)
{
	return btrfs_search_slot(walk->trans, walk->range->inode->root, key,
				 walk->path, 0, walk->trans ? 1 : 0);
}

/* The key of the item that was read last. */
void extent_walk_key(const struct extent_walk *walk, struct btrfs_key *key)
{
	key->objectid = le64_to_cpu(walk->item.key.objectid);
	key->type = walk->item.key.type;
	key->offset = le64_to_cpu(walk->item.key.offset);
}

/* Whether the item that was read last is an extent of this file. */
bool extent_walk_at_extent(const struct extent_walk *walk)
{
	struct btrfs_key key;

	extent_walk_key(walk, &key);
	return key.objectid == btrfs_ino(walk->range->inode) &&
	       key.type == BTRFS_EXTENT_DATA_KEY;
}

/*
 * From the end of a leaf to the first item of the next one.  That is found
 * without making it writable, which is only right if it is one of ours.
 */
static int next_leaf(struct extent_walk *walk)
{
	struct btrfs_key key;
	int ret;

	ret = btrfs_next_old_leaf(walk->range->inode->root, walk->path, 0);
	if (ret)
		return ret < 0 ? ret : -ENOENT;
	btrfs_read_item(walk->path->nodes[0], walk->path->slots[0], &walk->item);
	if (!walk->trans)
		return 0;
	if (!extent_walk_at_extent(walk))
		return -ENOENT;

	extent_walk_key(walk, &key);
	btrfs_release_path(walk->path);
	ret = extent_walk_search(walk, &key);
	return ret > 0 ? -EUCLEAN : ret;
}

/* Reads the item that the path is at, in the next leaf if this one has ended. */
static int read_item(struct extent_walk *walk)
{
	if (walk->path->slots[0] >= btrfs_header_nritems(walk->path->nodes[0]))
		return next_leaf(walk);
	btrfs_read_item(walk->path->nodes[0], walk->path->slots[0], &walk->item);
	return 0;
}

/* To the item that the range's start lies in, or to the first one behind it. */
int extent_walk_find(struct extent_walk *walk)
{
	struct btrfs_key key = {
		.objectid	= btrfs_ino(walk->range->inode),
		.type		= BTRFS_EXTENT_DATA_KEY,
		.offset		= walk->start,
	};
	int ret;

	ret = extent_walk_search(walk, &key);
	if (ret > 0 && walk->path->slots[0] > 0) {
		walk->path->slots[0]--;
		btrfs_read_item(walk->path->nodes[0], walk->path->slots[0],
				&walk->item);
		if (!extent_walk_at_extent(walk))
			walk->path->slots[0]++;
	}
	return ret < 0 ? ret : 0;
}

/* To collect the extents later makes a leaf writable, whatever is taken of it. */
static void count_leaf(const struct extent_walk *walk)
{
	u64 leaf = walk->path->nodes[0]->start;
	struct extent_count *count = walk->count;

	while (count->height < BTRFS_MAX_LEVEL && walk->path->nodes[count->height])
		count->height++;
	if (leaf != count->last_leaf)
		count->leaves++;
	count->last_leaf = leaf;
}

/* -ENOMEM, or an error of btrfs's own.  extent_walk_end() follows, whatever it answers. */
int extent_walk_start(struct extent_walk *walk)
{
	int error;

	walk->path = btrfs_alloc_path();
	if (!walk->path)
		return -ENOMEM;
	error = extent_walk_find(walk);
	if (!error && walk->count)
		count_leaf(walk);
	return error;
}

void extent_walk_end(struct extent_walk *walk)
{
	btrfs_free_path(walk->path);
}

/* Reads the item into @extent, as it is in the tree, and returns its end in the file, in bytes. */
u64 extent_walk_read(const struct extent_walk *walk, struct file_extent *extent)
{
	struct btrfs_file_extent_item *item = &extent->item;
	u32 size = min_t(u32, le32_to_cpu(walk->item.size), sizeof(*item));
	u32 sectorsize = walk->range->inode->root->fs_info->sectorsize;
	u64 start = le64_to_cpu(walk->item.key.offset);

	memset(extent, 0, sizeof(*extent));
	btrfs_read_item_data(walk->path->nodes[0], &walk->item, item, size);
	extent->offset = start;
	if (item->type != BTRFS_FILE_EXTENT_INLINE)
		return start + le64_to_cpu(item->num_bytes);

	/* What follows the header is its data, not the rest of an item. */
	item->disk_bytenr = 0;
	item->disk_num_bytes = 0;
	return start + sectorsize;
}

/* Cuts what lies outside of the range off, and counts from the range's start. */
static void clip_extent(const struct extent_walk *walk,
			struct file_extent *extent, u64 end)
{
	struct btrfs_file_extent_item *item = &extent->item;
	u64 start = max(extent->offset, walk->start);

	if (item->type != BTRFS_FILE_EXTENT_INLINE) {
		if (item->disk_bytenr)
			le64_add_cpu(&item->offset, start - extent->offset);
		item->num_bytes = cpu_to_le64(min(end, walk->end) - start);
	}
	extent->offset = start - walk->range->start;
}

static bool is_written(const struct file_extent *extent)
{
	return extent->item.type == BTRFS_FILE_EXTENT_INLINE ||
	       (extent->item.type == BTRFS_FILE_EXTENT_REG &&
		extent->item.disk_bytenr);
}

/* -E2BIG where the item is one too many. */
static int count_item(const struct extent_walk *walk)
{
	if (!walk->count)
		return 0;
	count_leaf(walk);
	return ++walk->count->items > walk->count->limit ? -E2BIG : 0;
}

/*
 * The next extent of the range, clipped to it.  1: there is one, and the path is at its
 * item.  0: there is no other one.  -E2BIG where walk->count has a limit; -EINTR for a
 * caller that is being killed.
 */
int extent_walk_next(struct extent_walk *walk, struct file_extent *extent)
{
	u64 end;
	int ret;

	for (;; walk->path->slots[0]++) {
		cond_resched();
		if (!walk->changing && fatal_signal_pending(current))
			return -EINTR;
		ret = read_item(walk);
		if (ret)
			return ret == -ENOENT ? 0 : ret;
		if (!extent_walk_at_extent(walk) ||
		    le64_to_cpu(walk->item.key.offset) >= walk->end)
			return 0;

		end = extent_walk_read(walk, extent);
		if (end <= max(walk->start, extent->offset))
			continue;
		ret = count_item(walk);
		if (ret)
			return ret;
		if (walk->range->written_only && !is_written(extent))
			continue;
		clip_extent(walk, extent, end);
		return 1;
	}
}
