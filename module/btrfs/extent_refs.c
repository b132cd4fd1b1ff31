// SPDX-License-Identifier: GPL-2.0
/*
 * The references of a file to the extents that it has on the disk: kept in memory by btrfs,
 * and sent on to the extent tree.
 */
#include <linux/sched/signal.h>

#include "extents.h"

static bool has_disk_extent(const struct file_extent *extent)
{
	return extent->item.type != BTRFS_FILE_EXTENT_INLINE &&
	       extent->item.disk_bytenr;
}

static void init_extent_ref(struct btrfs_ref *ref,
			    const struct inode_range *target,
			    const struct file_extent *extent, int action)
{
	btrfs_fill_data_ref(ref, action,
			    le64_to_cpu(extent->item.disk_bytenr),
			    le64_to_cpu(extent->item.disk_num_bytes),
			    btrfs_root_id(target->inode->root),
			    btrfs_ino(target->inode),
			    target->start + extent->offset -
			    le64_to_cpu(extent->item.offset));
}

/* Takes the references of the extents @first to @end - 1 back, or aborts. */
void undo_extent_refs(struct btrfs_trans_handle *trans,
		      const struct inode_range *target,
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
		cond_resched();
	}
	if (error)
		btrfs_abort_transaction(trans, error);
}

static int add_extent_ref(struct btrfs_trans_handle *trans,
			  const struct inode_range *target,
			  const struct file_extent *extent)
{
	struct btrfs_ref ref;

	if (!has_disk_extent(extent))
		return 0;
	init_extent_ref(&ref, target, extent, BTRFS_ADD_DELAYED_REF);
	return btrfs_inc_extent_ref(trans, &ref);
}

/*
 * Makes @target an owner of the extents @first to @end - 1 of @list.  Before their old
 * owner is dropped, so that an extent is never without one.  After an error the
 * references are as they were, or the transaction is aborted.  @killable: -EINTR for a
 * caller that is being killed.
 */
int add_extent_refs(struct btrfs_trans_handle *trans,
		    const struct inode_range *target,
		    const struct extent_list *list, u32 first, u32 end,
		    bool killable)
{
	int error = 0;
	u32 i;

	for (i = first; i < end; i++) {
		if (killable && fatal_signal_pending(current))
			error = -EINTR;
		else
			error = add_extent_ref(trans, target, &list->extents[i]);
		if (error)
			break;
		cond_resched();
	}
	if (error)
		undo_extent_refs(trans, target, list, first, i);
	return error;
}
