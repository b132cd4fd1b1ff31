/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Arrays that grow while block maps are gone through.
 */
#ifndef EXCHRANGE_XFS_ARRAY_H
#define EXCHRANGE_XFS_ARRAY_H

#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

/*
 * Room for another element of @size bytes in @array, which has @count and room for *@room.
 * Returns the array, which may be another one then, or NULL: the old one is there still.
 */
static inline void *xfs_make_room(void *array, u64 count, u64 *room, size_t size)
{
	u64 new_room = max_t(u64, 16, 2 * *room);
	void *more;

	if (count < *room)
		return array;
	more = kvmalloc_array(new_room, size, GFP_KERNEL_ACCOUNT);
	if (!more)
		return NULL;
	if (count)
		memcpy(more, array, count * size);
	kvfree(array);
	*room = new_room;
	return more;
}

#endif /* EXCHRANGE_XFS_ARRAY_H */
