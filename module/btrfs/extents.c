// SPDX-License-Identifier: GPL-2.0
/*
 * The file extents of a byte range.
 *
 * Whoever calls these holds the inode's lock, invalidate_lock and i_mmap_lock, all
 * of them for writing, and no ordered extent is pending in the range: then the
 * items change in nothing but the place of their data, which balance may move
 * until a transaction keeps it from doing so.
 */
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "extents.h"

/* Items that are inserted at once; a leaf of 16 KiB has room for 208 of them. */
#define INSERT_BATCH	128

/* Goes through the file extents of a range, one after the other. */
struct extent_walk {
	const struct file_range		*range;
	u64				start;	/* bytes in the file */
	u64				end;
	struct btrfs_trans_handle	*trans;	/* makes leaves writable, or NULL */
	struct btrfs_path		*path;
	struct btrfs_item		item;	/* where it is, in its leaf */
	bool				changing;	/* no signal ends it any more */
};

/* 0: the path is at @key.  1: at the place where it would be. */
static int search(struct extent_walk *walk, const struct btrfs_key *key)
{
	return btrfs_search_slot(walk->trans, walk->range->inode->root, key,
				 walk->path, 0, walk->trans ? 1 : 0);
}

static void read_key(const struct extent_walk *walk, struct btrfs_key *key)
{
	key->objectid = le64_to_cpu(walk->item.key.objectid);
	key->type = walk->item.key.type;
	key->offset = le64_to_cpu(walk->item.key.offset);
}

static bool is_file_extent(const struct extent_walk *walk)
{
	struct btrfs_key key;

	read_key(walk, &key);
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
	if (!is_file_extent(walk))
		return -ENOENT;

	read_key(walk, &key);
	btrfs_release_path(walk->path);
	ret = search(walk, &key);
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
static int find_start(struct extent_walk *walk)
{
	struct btrfs_key key = {
		.objectid	= btrfs_ino(walk->range->inode),
		.type		= BTRFS_EXTENT_DATA_KEY,
		.offset		= walk->start,
	};
	int ret;

	ret = search(walk, &key);
	if (ret > 0 && walk->path->slots[0] > 0) {
		walk->path->slots[0]--;
		btrfs_read_item(walk->path->nodes[0], walk->path->slots[0],
				&walk->item);
		if (!is_file_extent(walk))
			walk->path->slots[0]++;
	}
	return ret < 0 ? ret : 0;
}

static int start_walk(struct extent_walk *walk)
{
	walk->path = btrfs_alloc_path();
	return walk->path ? find_start(walk) : -ENOMEM;
}

static void end_walk(struct extent_walk *walk)
{
	btrfs_free_path(walk->path);
}

/* Reads the item into @extent and returns its end in the file, in bytes. */
static u64 read_extent(const struct extent_walk *walk, struct file_extent *extent)
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

/*
 * The next extent of the range.  1: there is one, and the path is at its item.
 * 0: there is no other one.
 */
static int next_extent(struct extent_walk *walk, struct file_extent *extent)
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
		if (!is_file_extent(walk) ||
		    le64_to_cpu(walk->item.key.offset) >= walk->end)
			return 0;

		end = read_extent(walk, extent);
		if (end <= max(walk->start, extent->offset))
			continue;
		if (walk->range->written_only && !is_written(extent))
			continue;
		clip_extent(walk, extent, end);
		return 1;
	}
}

static void count_leaf(const struct extent_walk *walk, struct extent_count *count)
{
	u64 leaf = walk->path->nodes[0]->start;

	if (leaf != count->last_leaf)
		count->leaves++;
	count->last_leaf = leaf;
}

static int count_extent(const struct extent_walk *walk,
			const struct file_extent *extent,
			struct extent_count *count)
{
	u64 bytenr = le64_to_cpu(extent->item.disk_bytenr);

	count_leaf(walk, count);
	if (extent->item.type == BTRFS_FILE_EXTENT_INLINE)
		count->has_inline = true;
	/* Of an extent in pieces, most lie side by side. */
	if (bytenr != count->last_extent)
		count->disk_bytes += le64_to_cpu(extent->item.disk_num_bytes);
	count->last_extent = bytenr;
	return ++count->extents > MAX_EXTENTS ? -E2BIG : 0;
}

/*
 * Counts what [@from, @to) of @range holds, in bytes from the range's start.
 * -E2BIG, -EINTR for a caller that is being killed, or an error of btrfs's own.
 */
int count_extents(const struct file_range *range, u64 from, u64 to,
		  struct extent_count *count)
{
	struct extent_walk walk = {
		.range	= range,
		.start	= range->start + from,
		.end	= range->start + to,
	};
	struct file_extent extent;
	int ret;

	ret = start_walk(&walk);
	if (!ret)
		count_leaf(&walk, count);
	while (!ret) {
		ret = next_extent(&walk, &extent);
		if (ret <= 0)
			break;
		ret = count_extent(&walk, &extent, count);
		walk.path->slots[0]++;
	}
	end_walk(&walk);
	return ret;
}

/*
 * Makes the leaf with the first extent at or behind walk->start writable, in a
 * transaction of its own, and moves walk->start behind the leaf's last extent.  1:
 * there may be another leaf.
 */
static int cow_one_leaf(struct extent_walk *walk)
{
	struct btrfs_root *root = walk->range->inode->root;
	struct file_extent extent;
	struct btrfs_key key;
	int ret;

	ret = start_walk(walk) ?: next_extent(walk, &extent);
	if (ret <= 0)
		goto out;
	read_key(walk, &key);
	btrfs_release_path(walk->path);

	walk->trans = btrfs_start_transaction(root, 1);
	if (IS_ERR(walk->trans)) {
		ret = PTR_ERR(walk->trans);
		goto out;
	}
	ret = search(walk, &key);
	if (!ret) {
		walk->path->slots[0] =
			btrfs_header_nritems(walk->path->nodes[0]) - 1;
		btrfs_read_item(walk->path->nodes[0], walk->path->slots[0],
				&walk->item);
		ret = is_file_extent(walk);
		if (ret)
			walk->start = read_extent(walk, &extent);
	}
	btrfs_release_path(walk->path);
	btrfs_end_transaction(walk->trans);
out:
	end_walk(walk);
	walk->trans = NULL;
	return ret;
}

/*
 * Where balance is moving data, whoever makes a leaf writable points its extents to
 * their new places, but those of a file whose i_mmap_lock is taken for writing stay.
 * A file that is exchanged again and again would keep balance from ever coming to an
 * end: so this does it before that lock is taken, for [@start, @end) in bytes.  The
 * caller holds the inode's lock.  What fails here is balance's to do.
 */
void update_moved_extents(struct btrfs_inode *inode, u64 start, u64 end)
{
	const struct file_range range = { .inode = inode };
	struct extent_walk walk = {
		.range	= &range,
		.start	= start,
		.end	= end,
	};

	if (!READ_ONCE(inode->root->fs_info->reloc_ctl) ||
	    btrfs_root_readonly(inode->root))
		return;
	while (walk.start < walk.end && cow_one_leaf(&walk) > 0)
		;
}

/* Room for what was counted; the caller is charged for it.  -ENOMEM. */
int alloc_extent_list(struct extent_list *list, const struct extent_count *count,
		      const struct btrfs_fs_info *fs_info)
{
	list->capacity = count->extents;
	list->extents = kvmalloc_array(count->extents, sizeof(*list->extents),
				       GFP_KERNEL_ACCOUNT);
	if (!list->extents)
		return -ENOMEM;
	if (!count->has_inline)
		return 0;
	list->inline_item = kvmalloc(btrfs_leaf_data_size(fs_info),
				     GFP_KERNEL_ACCOUNT);
	return list->inline_item ? 0 : -ENOMEM;
}

void free_extent_list(struct extent_list *list)
{
	kvfree(list->extents);
	kvfree(list->inline_item);
}

static int keep_extent(const struct extent_walk *walk, struct extent_list *list,
		       const struct file_extent *extent)
{
	if (list->count == list->capacity)
		return -EUCLEAN;
	list->extents[list->count++] = *extent;
	if (extent->item.type != BTRFS_FILE_EXTENT_INLINE)
		return 0;

	if (!list->inline_item)
		return -EUCLEAN;
	list->inline_size = le32_to_cpu(walk->item.size);
	btrfs_read_item_data(walk->path->nodes[0], &walk->item,
			     list->inline_item, list->inline_size);
	return 0;
}

/*
 * Appends what [@from, @to) of @range holds to @list, which has room for it.
 *
 * With @trans, the leaves become writable on the way, within what the transaction
 * has reserved.  After that their extents stay where they are until it ends:
 * balance works on leaves that are older than the transaction.  Changes no
 * contents: the caller can still end the transaction without an abort.
 */
int collect_extents(struct btrfs_trans_handle *trans,
		    const struct file_range *range, u64 from, u64 to,
		    struct extent_list *list)
{
	struct extent_walk walk = {
		.range	= range,
		.start	= range->start + from,
		.end	= range->start + to,
		.trans	= trans,
	};
	struct file_extent extent;
	int ret;

	ret = start_walk(&walk);
	while (!ret) {
		ret = next_extent(&walk, &extent);
		if (ret <= 0)
			break;
		ret = keep_extent(&walk, list, &extent);
		walk.path->slots[0]++;
	}
	end_walk(&walk);
	return ret;
}

static bool has_disk_extent(const struct file_extent *extent)
{
	return extent->item.type != BTRFS_FILE_EXTENT_INLINE &&
	       extent->item.disk_bytenr;
}

static void init_extent_ref(struct btrfs_ref *ref,
			    const struct file_range *target,
			    const struct file_extent *extent, int action)
{
	u64 root_id = btrfs_root_id(target->inode->root);

	*ref = (struct btrfs_ref) {
		.action		= action,
		.bytenr		= le64_to_cpu(extent->item.disk_bytenr),
		.num_bytes	= le64_to_cpu(extent->item.disk_num_bytes),
		.owning_root	= root_id,
		.ref_root	= root_id,
	};
	/* The file offset at which the whole extent would begin. */
	btrfs_init_data_ref(ref, btrfs_ino(target->inode),
			    target->start + extent->offset -
			    le64_to_cpu(extent->item.offset), 0, false);
}

/* Takes the references of the extents @first to @end - 1 back, or aborts. */
void undo_extent_refs(struct btrfs_trans_handle *trans,
		      const struct file_range *target,
		      const struct extent_list *list, u32 first, u32 end)
{
	struct btrfs_ref ref;
	int error = 0;

	for (; first < end && !error; first++) {
		if (!has_disk_extent(&list->extents[first]))
			continue;
		init_extent_ref(&ref, target, &list->extents[first],
				BTRFS_DROP_DELAYED_REF);
		error = btrfs_free_extent(trans, &ref);
	}
	if (error)
		btrfs_abort_transaction(trans, error);
}

/*
 * Makes @target an owner of the extents @first to @end - 1 of @list.  Before their old
 * owner is dropped, so that an extent is never without one.  After an error the
 * references are as they were, or the transaction is aborted.
 */
int add_extent_refs(struct btrfs_trans_handle *trans,
		    const struct file_range *target,
		    const struct extent_list *list, u32 first, u32 end)
{
	struct btrfs_ref ref;
	int error;
	u32 i;

	for (i = first; i < end; i++) {
		if (!has_disk_extent(&list->extents[i]))
			continue;
		init_extent_ref(&ref, target, &list->extents[i],
				BTRFS_ADD_DELAYED_REF);
		error = btrfs_inc_extent_ref(trans, &ref);
		if (error) {
			undo_extent_refs(trans, target, list, first, i);
			return error;
		}
		cond_resched();
	}
	return 0;
}

/* Items on their way into a leaf. */
struct item_batch {
	struct btrfs_key	keys[INSERT_BATCH];
	u32			sizes[INSERT_BATCH];
};

/* All that putting extents into a file takes of memory.  -ENOMEM. */
int alloc_extent_writer(struct extent_writer *writer)
{
	writer->batch = kmalloc(sizeof(*writer->batch), GFP_KERNEL);
	writer->path = btrfs_alloc_path();
	return writer->batch && writer->path ? 0 : -ENOMEM;
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
		       const struct file_range *target,
		       const struct extent_list *list, u32 first, u32 end)
{
	u32 room = btrfs_leaf_data_size(target->inode->root->fs_info);
	u32 i;

	items->keys = batch->keys;
	items->data_sizes = batch->sizes;
	items->total_data_size = 0;
	items->nr = 0;
	for (i = first; i < end && items->nr < INSERT_BATCH; i++) {
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
		const void *data = list->inline_item;

		item = list->extents[first + i].item;
		if (item.type != BTRFS_FILE_EXTENT_INLINE) {
			/* By this btrfs knows that the extent is new here. */
			item.generation = cpu_to_le64(trans->transid);
			data = &item;
		}
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
		   struct extent_writer *writer, const struct file_range *target,
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
	       const struct file_range *target, u64 from, u64 to)
{
	const struct file_range range = {
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

		ret = find_start(&walk) ?: next_extent(&walk, &extent);
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
