// SPDX-License-Identifier: GPL-2.0
/*
 * Rules that hold on every file system, in the order of XFS's own ioctl, so that
 * an exchange with two of these faults gets the same answer from both.
 */
#include <linux/overflow.h>

#include "exchange.h"

/* Regular files only: -EISDIR, or -EINVAL for anything else.  No locks. */
int exchange_check_regular(const struct inode *inode)
{
	if (S_ISDIR(inode->i_mode))
		return -EISDIR;
	if (!S_ISREG(inode->i_mode))
		return -EINVAL;
	return 0;
}

static int check_types(const struct inode *inode1, const struct inode *inode2)
{
	/* A directory decides, whichever of the two it is. */
	if (S_ISDIR(inode1->i_mode) || S_ISDIR(inode2->i_mode))
		return -EISDIR;
	return exchange_check_regular(inode1) ?: exchange_check_regular(inode2);
}

/* Open for reading and writing, and not for appending: -EBADF.  No locks. */
int exchange_check_access(const struct file *file)
{
	const fmode_t needed = FMODE_READ | FMODE_WRITE;

	if ((file->f_mode & needed) != needed || file->f_flags & O_APPEND)
		return -EBADF;
	return 0;
}

/* A range ends within loff_t.  With TO_EOF the file's size is its end. */
int exchange_check_range(u64 offset, u64 length)
{
	u64 end;

	if (check_add_overflow(offset, length, &end) || end > LLONG_MAX)
		return -EINVAL;
	return 0;
}

/*
 * Checks what is known of @request without a lock.  -EXDEV, -EISDIR, -EINVAL
 * or -EBADF, and nothing has happened.
 */
int exchange_check_request(const struct exchange_request *request)
{
	u64 length = request->flags & EXCHRANGE_TO_EOF ? 0 : request->length;
	int error;

	if (request->operation == EXCHANGE_OPERATION_START_COMMIT)
		return exchange_check_regular(file_inode(request->file2));

	if (request->file1->f_path.mnt != request->file2->f_path.mnt)
		return -EXDEV;

	error = check_types(file_inode(request->file1),
			    file_inode(request->file2));
	if (error)
		return error;

	error = exchange_check_access(request->file1) ?:
		exchange_check_access(request->file2);
	if (error)
		return error;

	return exchange_check_range(request->file1_offset, length) ?:
	       exchange_check_range(request->file2_offset, length);
}
