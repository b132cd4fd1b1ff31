// SPDX-License-Identifier: GPL-2.0
/*
 * XFS back end: XFS's own ioctl, in Linux since 6.10, on file systems made with
 * exchange=1.
 *
 * What chain.c does not take is handed on with the caller's own pointer, since XFS takes its
 * arguments from user memory only.  This works because our structs begin with
 * XFS's.  XFS reads them again and gets file1 from the descriptor that it finds
 * then: a caller that changes them meanwhile exchanges, with its own rights,
 * something else than it said, which it could have asked XFS for itself.
 *
 * XFS locks, checks what depends on sizes, and sends the fsnotify events.
 */
#include <linux/fs.h>
#include <linux/fileattr.h>	/* needs fs.h before it */
#include <linux/bits.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/pagemap.h>
#include <linux/security.h>
#include <linux/uaccess.h>

#include "../compat.h"
#include "backend.h"
#include "trace.h"

/*
 * Numbers and layouts of XFS's ioctls, which the kernel's installed headers
 * leave out: see ioctl_xfs_exchange_range(2), ioctl_xfs_commit_range(2) and
 * ioctl_xfs_fsgeometry(2).  The static_asserts tie their sizes to ours.
 */
#define XFS_EXCHANGE_RANGE_SIZE	40
#define XFS_COMMIT_RANGE_SIZE	88
#define XFS_IOC_EXCHANGE_RANGE \
	_IOC(_IOC_WRITE, 'X', 129, XFS_EXCHANGE_RANGE_SIZE)
#define XFS_IOC_START_COMMIT	_IOC(_IOC_READ, 'X', 130, XFS_COMMIT_RANGE_SIZE)
#define XFS_IOC_COMMIT_RANGE	_IOC(_IOC_WRITE, 'X', 131, XFS_COMMIT_RANGE_SIZE)

static_assert(offsetof(struct exchrange_range, file2_fd) ==
	      XFS_EXCHANGE_RANGE_SIZE);
static_assert(offsetof(struct exchrange_commit, file2_fd) ==
	      XFS_COMMIT_RANGE_SIZE);

struct xfs_geometry {
	__u32	blocksize;	/* bytes */
	__u32	rtextsize;	/* blocks */
	__u32	unused1[21];
	__u32	flags;
	__u32	unused2[40];
};

#define XFS_IOC_FSGEOMETRY	_IOR('X', 126, struct xfs_geometry)
#define XFS_GEOMETRY_EXCHANGE	BIT(24)

static_assert(sizeof(struct xfs_geometry) == 256);

/* What vfs_ioctl() does, which 7.2 exports no more.  No locks held. */
static int call_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	long result = -ENOIOCTLCMD;

	if (file->f_op->unlocked_ioctl)
		result = file->f_op->unlocked_ioctl(file, cmd, arg);
	return result == -ENOIOCTLCMD ? -ENOTTY : result;
}

/*
 * Calls XFS as ioctl(2) would, security modules included.  No locks held;
 * -ENOTTY where this XFS does not know @cmd.
 */
static int xfs_ioctl(struct file *file, unsigned int cmd, void __user *argument)
{
	unsigned long arg = (unsigned long)argument;
	int error;

	error = security_file_ioctl(file, cmd, arg);
	if (error)
		return error;
	return call_ioctl(file, cmd, arg);
}

static unsigned int xfs_command(enum exchange_operation operation)
{
	switch (operation) {
	case EXCHANGE_OPERATION_START_COMMIT:
		return XFS_IOC_START_COMMIT;
	case EXCHANGE_OPERATION_COMMIT:
		return XFS_IOC_COMMIT_RANGE;
	case EXCHANGE_OPERATION_EXCHANGE:
		break;
	}
	return XFS_IOC_EXCHANGE_RANGE;
}

static int hand_on(const struct exchange_request *request)
{
	int error;

	error = call_ioctl(request->file2, xfs_command(request->operation),
			   (unsigned long)request->argument);
	return error == -ENOTTY ? -EOPNOTSUPP : error;
}

static int drop_range(const struct exchange_request *request, struct file *file,
		      u64 offset, struct exchange_pin_wait *wait)
{
	u64 length = request->flags & EXCHRANGE_TO_EOF ? MAX_LFS_FILESIZE - offset :
							 request->length;

	if (!length)
		return 0;
	return exchange_drop_pages(file->f_mapping, offset, offset + length - 1, wait);
}

/*
 * XFS truncates the page cache, which may lose bytes (see drop_pages.c): so the ranges leave it
 * before.  What comes back, is pinned by a device and dirtied by it, all before XFS has the
 * locks that go here, may still be lost.
 */
static int drop_both(const struct exchange_request *request)
{
	struct inode *inode1 = file_inode(request->file1);
	struct inode *inode2 = file_inode(request->file2);
	struct exchange_pin_wait wait = { };
	int error;

	if (request->flags & EXCHRANGE_DRY_RUN)
		return 0;
	lock_two_nondirectories(inode1, inode2);
	filemap_invalidate_lock_two(inode1->i_mapping, inode2->i_mapping);
	error = drop_range(request, request->file1, request->file1_offset, &wait) ?:
		drop_range(request, request->file2, request->file2_offset, &wait);
	filemap_invalidate_unlock_two(inode1->i_mapping, inode2->i_mapping);
	unlock_two_nondirectories(inode1, inode2);
	return error;
}

/*
 * What XFS does when is not told: for who watches the files, they change all the time of
 * the call; but not of a wait until the file system is not frozen any more.
 */
static int hand_on_watched(struct exchange_vector *vector)
{
	const struct exchange_request *request = &vector->requests[0];
	int error;

	file_start_write(request->file2);
	exchange_watch_begin(vector);
	error = drop_both(request);
	file_end_write(request->file2);
	if (!error)
		error = hand_on(request);
	exchange_watch_end(vector, !error);
	return error;
}

/*
 * XFS leaves the size on disk as it is without TO_EOF.  It may be the one from before a
 * write that has not been written back: then a range may end behind it, and after a crash
 * nobody would find what came there.  With the last page the size goes to the disk.
 */
static int write_end(struct file *file)
{
	loff_t size = i_size_read(file_inode(file));

	return size ? filemap_write_and_wait_range(file->f_mapping, size - 1,
						   size - 1) : 0;
}

/*
 * Without a lock; the answers are XFS's.  @bound: XFS's private functions may be called.  Then
 * most files are exchanged by what XFS's ioctl does below its locks: see chain.c.
 */
int xfs_own_submit(struct exchange_vector *vector, bool bound)
{
	const struct exchange_request *request = &vector->requests[0];
	int error;

	trace_exchrange_backend(request, EXCHRANGE_BACKEND_XFS);
	error = security_file_ioctl(request->file2,
				    xfs_command(request->operation),
				    (unsigned long)request->argument);
	if (error)
		return error;
	if (request->operation == EXCHANGE_OPERATION_START_COMMIT)
		return hand_on(request);
	/* XFS itself asks for the writes alone, and truncates append-only files. */
	error = exchange_check_rights(vector);
	if (error)
		return error;
	if (bound && xfs_chain_takes(request)) {
		error = xfs_chain_submit(vector);
		/* An empty file can become a realtime one until it is locked. */
		if (error != -EOPNOTSUPP)
			return error;
	}
	/* The pair of a vector is not in user memory as XFS has it. */
	if (!request->argument)
		return -EOPNOTSUPP;
	if (!(request->flags & EXCHRANGE_TO_EOF))
		return write_end(request->file1) ?:
		       write_end(request->file2) ?:
		       hand_on_watched(vector);
	return xfs_keep_tails(vector, hand_on_watched);
}

/*
 * Asks XFS for @geometry, where its functions are not bound.  XFS answers into user
 * memory only and the caller's struct is too small for it, so a page of the caller's
 * address space is borrowed, by the caller's limits: -ENOMEM, or -EAGAIN where all is
 * locked.  A caller that writes to it, forks or maps something else there meanwhile harms
 * itself alone.
 */
static int read_geometry(struct file *file, struct xfs_geometry *geometry)
{
	unsigned long page;
	int error;

	page = vm_mmap(NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, 0);
	if (IS_ERR_VALUE(page))
		return page;

	error = xfs_ioctl(file, XFS_IOC_FSGEOMETRY, (void __user *)page);
	if (!error &&
	    copy_from_user(geometry, (void __user *)page, sizeof(*geometry)))
		error = -EFAULT;
	/* The page may be written to, so there was none. */
	if (error == -EFAULT)
		error = -ENOMEM;

	/* Fails for a caller that is being killed: the page goes with it. */
	vm_munmap(page, PAGE_SIZE);
	return error;
}

/* Blocks are exchanged by the realtime extent where the file has those. */
static u32 file_alignment(struct file *file, const struct xfs_geometry *geometry)
{
	struct file_kattr attributes = { };

	if (!vfs_fileattr_get(file_dentry(file), &attributes) &&
	    attributes.fsx_xflags & FS_XFLAG_REALTIME)
		return geometry->blocksize * geometry->rtextsize;
	return geometry->blocksize;
}

/* Why @file's XFS does not exchange: it is told apart by what it knows. */
static u32 missing_reason(struct file *file)
{
	/* Nobody can map the end of memory: EFAULT from who knows the call. */
	void __user *nowhere = (void __user *)ULONG_MAX;

	if (xfs_ioctl(file, XFS_IOC_EXCHANGE_RANGE, nowhere) == -ENOTTY)
		return EXCHRANGE_REASON_XFS_KERNEL;
	return EXCHRANGE_REASON_XFS_FEATURE;
}

/*
 * An answer for a file that XFS's own ioctl exchanges by @alignment bytes; @reason: why XFS's
 * functions are not bound, which TO_EOF needs.
 */
void xfs_own_describe(struct exchrange_query *query, u32 alignment, u32 reason)
{
	query->backend = EXCHRANGE_BACKEND_XFS;
	query->alignment = alignment;
	query->flags = EXCHRANGE_DSYNC | EXCHRANGE_DRY_RUN |
		       EXCHRANGE_FILE1_WRITTEN;
	query->reason = reason;
	if (reason == EXCHRANGE_REASON_NONE)
		query->flags |= EXCHRANGE_TO_EOF;
}

/* Asks XFS itself, where its functions are not bound for this @reason. */
int xfs_own_query(struct file *file, struct exchrange_query *query, u32 reason)
{
	struct xfs_geometry geometry;
	int error;

	error = read_geometry(file, &geometry);
	if (error)
		return error;
	if (geometry.flags & XFS_GEOMETRY_EXCHANGE)
		xfs_own_describe(query, file_alignment(file, &geometry), reason);
	else
		query->reason = missing_reason(file);
	return 0;
}
