// SPDX-License-Identifier: GPL-2.0
/*
 * Puts file extents into a file's subvolume tree, as many items at once as go into a leaf.
 *
 * Whoever calls these holds the inode's lock, invalidate_lock and i_mmap_lock, all
 * of them for writing, and aborts the transaction after an error.
 */
#include <linux/sched.h>
#include <linux/slab.h>

#include "extent_walk.h"

/* Items that are inserted at once; a leaf of 16 KiB has room for 208 of them. */
#define INSERT_BATCH	128

/* Items on their way into a leaf. */
struct item_batch {
	u32			room;
	u32			sizes[INSERT_BATCH];
	struct btrfs_key	keys[];
};

/* All that putting so many extents at once into a file takes of memory.  -ENOMEM. */
int alloc_extent_writer(struct extent_writer *writer, u64 extents)
{
	u32 room = clamp_t(u64, extents, 1, INSERT_BATCH);

	writer->batch = kmalloc(struct_size(writer->batch, keys, room), GFP_KERNEL);
	writer->path = btrfs_alloc_path();
	if (!writer->batch || !writer->path)
		return -ENOMEM;
	writer->batch->room = room;
	return 0;
}

void free_extent_writer(struct extent_writer *writer)
{
	btrfs_free_path(writer->path);
	kfree(writer->batch);
}

static u32 item_size(const struct extent_list *list, u32 i)
{
	return list->extents[i].item.type == BTRFS_FILE_EXTENT_INLINE ?
	       list->inline_size : sizeof(list->extents[i].item);
}

/* As many of @list from @first on as go into a leaf at once. */
static void fill_batch(struct item_batch *batch, struct btrfs_item_batch *items,
		       const struct inode_range *target,
		       const struct extent_list *list, u32 first, u32 end)
{
	u32 room = btrfs_leaf_data_size(target->inode->root->fs_info);
	u32 i;

	items->keys = batch->keys;
	items->data_sizes = batch->sizes;
	items->total_data_size = 0;
	items->nr = 0;
	for (i = first; i < end && items->nr < batch->room; i++) {
		u32 size = item_size(list, i);

		if (size + sizeof(struct btrfs_item) > room)
			break;
		room -= size + sizeof(struct btrfs_item);
		batch->keys[items->nr] = (struct btrfs_key) {
			.objectid	= btrfs_ino(target->inode),
			.type		= BTRFS_EXTENT_DATA_KEY,
			.offset		= target->start + list->extents[i].offset,
		};
		batch->sizes[items->nr] = size;
		items->total_data_size += size;
		items->nr++;
	}
}

static void write_items(struct btrfs_trans_handle *trans,
			const struct btrfs_path *path,
			const struct extent_list *list, u32 first, u32 count)
{
	struct extent_buffer *leaf = path->nodes[0];
	struct btrfs_file_extent_item item;
	u32 i;

	for (i = 0; i < count; i++) {
		struct btrfs_file_extent_item *data = list->inline_item;

		item = list->extents[first + i].item;
		if (item.type != BTRFS_FILE_EXTENT_INLINE)
			data = &item;
		/* By this btrfs knows that the extent is new here. */
		data->generation = cpu_to_le64(trans->transid);
		btrfs_write_item_data(leaf, path->slots[0] + i, data);
	}
	btrfs_mark_buffer_dirty(trans, leaf);
}

/*
 * Puts the extents @first to @end - 1 of @list into @target, which has none between
 * the start of the first and the end of the last.  Their references were added
 * before.  The caller aborts after an error.
 */
int insert_extents(struct btrfs_trans_handle *trans,
		   struct extent_writer *writer, const struct inode_range *target,
		   const struct extent_list *list, u32 first, u32 end)
{
	struct btrfs_item_batch items;
	int error;

	while (first < end) {
		fill_batch(writer->batch, &items, target, list, first, end);
		error = btrfs_insert_empty_items(trans, target->inode->root,
						 writer->path, &items);
		if (error)
			return error;
		write_items(trans, writer->path, list, first, items.nr);
		first += items.nr;
		btrfs_release_path(writer->path);
		cond_resched();
	}
	return 0;
}

/*
 * Puts a hole's item wherever [@from, @to) of @target has no extent, in bytes from its
 * start.  The caller aborts after an error.
 */
int fill_holes(struct btrfs_trans_handle *trans, struct extent_writer *writer,
	       const struct inode_range *target, u64 from, u64 to)
{
	const struct inode_range range = {
		.inode	= target->inode,
		.start	= target->start,
	};
	struct file_extent extent;
	u64 end;
	int ret, error;

	while (from < to) {
		struct extent_walk walk = {
			.range	= &range,
			.start	= range.start + from,
			.end	= range.start + to,
			.path	= writer->path,
			.changing = true,
		};

		ret = extent_walk_find(&walk) ?: extent_walk_next(&walk, &extent);
		btrfs_release_path(walk.path);
		if (ret < 0)
			return ret;
		end = ret > 0 ? extent.offset : to;
		if (end > from) {
			error = btrfs_insert_hole_extent(trans, range.inode->root,
							 btrfs_ino(range.inode),
							 range.start + from,
							 end - from);
			if (error)
				return error;
		}
		from = ret > 0 ? end + le64_to_cpu(extent.item.num_bytes) : to;
	}
	return 0;
}
