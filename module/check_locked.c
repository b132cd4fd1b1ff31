// SPDX-License-Identifier: GPL-2.0
/*
 * Rules that depend on the files' inodes, for the back ends that exchange by themselves,
 * in the order of XFS's own ioctl.
 */
#include <linux/align.h>
#include <linux/minmax.h>

#include "compat.h"
#include "exchange.h"

/* Within the limits of both files: -EFBIG, with SIGXFSZ, or -EINVAL. */
static int check_limits(const struct exchange_request *request)
{
	loff_t allowed = request->length;
	int error;

	error = compat_write_check_limits(request->file2,
					  request->file2_offset, &allowed) ?:
		compat_write_check_limits(request->file1,
					  request->file1_offset, &allowed);
	if (error)
		return error;
	return allowed == request->length ? 0 : -EINVAL;
}

/*
 * Whole units change places.  A part of one is the last unit of both files, or of
 * one, with the other ending before it.
 */
static int check_units(const struct exchange_request *request, u32 alignment)
{
	struct inode *inode1 = file_inode(request->file1);
	struct inode *inode2 = file_inode(request->file2);
	u64 end1 = request->file1_offset + request->length;
	u64 end2 = request->file2_offset + request->length;

	if (!IS_ALIGNED(request->length, alignment) &&
	    (end1 < i_size_read(inode1) || end2 < i_size_read(inode2)))
		return -EINVAL;
	if (inode1 != inode2)
		return 0;
	/* To the end of one file, two ranges overlap, or one of them is empty. */
	if (request->flags & EXCHRANGE_TO_EOF && request->length)
		return -EINVAL;
	if (ALIGN(end1, alignment) > request->file2_offset &&
	    ALIGN(end2, alignment) > request->file1_offset)
		return -EINVAL;
	return 0;
}

static int check_request(struct exchange_request *request, u32 alignment)
{
	struct inode *inode1 = file_inode(request->file1);
	struct inode *inode2 = file_inode(request->file2);
	u64 size1 = i_size_read(inode1), size2 = i_size_read(inode2);
	u64 offset1 = request->file1_offset, offset2 = request->file2_offset;

	if (IS_IMMUTABLE(inode1) || IS_IMMUTABLE(inode2) ||
	    IS_APPEND(inode1) || IS_APPEND(inode2))
		return -EPERM;
	if (IS_SWAPFILE(inode1) || IS_SWAPFILE(inode2))
		return -ETXTBSY;

	if (offset1 > size1 || offset2 > size2)
		return -EINVAL;
	if (request->flags & EXCHRANGE_TO_EOF)
		request->length = max(size1 - offset1, size2 - offset2);
	else if (offset1 + request->length > size1 ||
		 offset2 + request->length > size2)
		return -EINVAL;

	if (!IS_ALIGNED(offset1, alignment) || !IS_ALIGNED(offset2, alignment))
		return -EINVAL;
	return exchange_check_range(offset1, request->length) ?:
	       exchange_check_range(offset2, request->length) ?:
	       check_limits(request) ?: check_units(request, alignment);
}

/*
 * Checks what depends on the inodes of @vector, for a back end that exchanges by itself, in
 * multiples of @alignment bytes.  The caller holds the locks of all inodes.  With TO_EOF,
 * sets length so that it reaches the end of the longer tail.
 */
int exchange_check_locked(struct exchange_vector *vector, u32 alignment)
{
	int error = 0;
	u32 i;

	for (i = 0; i < vector->count && !error; i++) {
		error = check_request(&vector->requests[i], alignment);
		if (!error && i == vector->overlap)
			error = -EINVAL;
		if (error)
			vector->refused = i;
	}
	return error;
}
