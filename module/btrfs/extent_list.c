// SPDX-License-Identifier: GPL-2.0
/*
 * The file extents of a byte range, counted and read.
 *
 * Whoever calls these holds the inode's lock, invalidate_lock and i_mmap_lock, all
 * of them for writing, and no ordered extent is pending in the range: then the
 * items change in nothing but the place of their data, which balance may move
 * until a transaction keeps it from doing so.
 */
#include <linux/slab.h>

#include "extent_walk.h"

/* What is done with each file extent of a walk.  Not 0 ends it. */
typedef int visit_function(const struct extent_walk *walk, const struct file_extent *extent,
			   void *context);

static int visit_extents(struct extent_walk *walk, visit_function *visit, void *context)
{
	struct file_extent extent;
	int ret;

	ret = extent_walk_start(walk);
	while (!ret) {
		ret = extent_walk_next(walk, &extent);
		if (ret <= 0)
			break;
		ret = visit(walk, &extent, context);
		walk->path->slots[0]++;
	}
	extent_walk_end(walk);
	return ret;
}

static int count_extent(const struct extent_walk *walk, const struct file_extent *extent,
			void *context)
{
	u64 bytenr = le64_to_cpu(extent->item.disk_bytenr);
	struct extent_count *count = context;

	count->extents++;
	if (extent->item.type == BTRFS_FILE_EXTENT_INLINE)
		count->has_inline = true;
	/* Of an extent in pieces, most lie side by side. */
	if (bytenr != count->last_extent)
		count->disk_bytes += le64_to_cpu(extent->item.disk_num_bytes);
	count->last_extent = bytenr;
	return 0;
}

/*
 * Counts what [@from, @to) of @range holds, in bytes from the range's start, up to
 * @count->limit.  -E2BIG, -EINTR for a caller that is being killed, or an error of btrfs's
 * own.
 */
int count_extents(const struct inode_range *range, u64 from, u64 to,
		  struct extent_count *count)
{
	struct extent_walk walk = {
		.range	= range,
		.start	= range->start + from,
		.end	= range->start + to,
		.count	= count,
	};

	return visit_extents(&walk, count_extent, count);
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

static int keep_extent(const struct extent_walk *walk, const struct file_extent *extent,
		       void *context)
{
	struct extent_list *list = context;

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
		    const struct inode_range *range, u64 from, u64 to,
		    struct extent_list *list)
{
	struct extent_walk walk = {
		.range	= range,
		.start	= range->start + from,
		.end	= range->start + to,
		.trans	= trans,
	};

	return visit_extents(&walk, keep_extent, list);
}
