/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel's public API has under other names, or not at all, in older kernels:
 * the code speaks the newest.  Kbuild looks into the headers; a version number would
 * not tell, since distributions carry changes back.
 */
#ifndef EXCHRANGE_COMPAT_H
#define EXCHRANGE_COMPAT_H

#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>

/* Before in linux/fs.h. */
#if __has_include(<linux/filelock.h>)
#include <linux/filelock.h>
#endif

/* Before in linux/kernel.h. */
#if __has_include(<linux/hex.h>)
#include <linux/hex.h>
#endif

/* Since 6.12 struct fd is opaque. */
#ifndef fd_file
#define fd_file(fd)	((fd).file)
#endif

/* Since 6.3 the flags of a mapping are written by functions alone. */
static inline void compat_vm_flags_mod(struct vm_area_struct *vma,
				       unsigned long set, unsigned long clear)
{
#ifdef HAVE_VM_FLAGS_MOD
	vm_flags_mod(vma, set, clear);
#else
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
#endif
}

/* Since 6.7 the times of an inode are read and written by functions alone. */
#ifndef HAVE_INODE_GET_MTIME
static inline struct timespec64 inode_get_mtime(const struct inode *inode)
{
	return inode->i_mtime;
}

static inline struct timespec64 inode_set_mtime_to_ts(struct inode *inode,
						      struct timespec64 time)
{
	inode->i_mtime = time;
	return time;
}
#endif

/* The same of ctime, which some older kernels got from a newer one. */
#ifndef HAVE_INODE_GET_CTIME
static inline struct timespec64 inode_get_ctime(const struct inode *inode)
{
	return inode->i_ctime;
}

static inline struct timespec64 inode_set_ctime_current(struct inode *inode)
{
	inode->i_ctime = current_time(inode);
	return inode->i_ctime;
}
#endif

/* struct file_kattr until 6.17. */
#ifndef HAVE_FILE_KATTR
#define file_kattr fileattr
#endif

/*
 * Exported since 6.10.  Cuts *@count, in bytes from @pos on, to what RLIMIT_FSIZE and the
 * file system allow; -EFBIG, the first with SIGXFSZ, where that is nothing.
 */
#ifndef HAVE_GENERIC_WRITE_CHECK_LIMITS
static inline int compat_write_check_limits(struct file *file, loff_t pos, loff_t *count)
{
	const struct inode *inode = file->f_mapping->host;
	loff_t largest = file->f_flags & O_LARGEFILE ? inode->i_sb->s_maxbytes : MAX_NON_LFS;
	unsigned long limit = rlimit(RLIMIT_FSIZE);

	if (limit != RLIM_INFINITY) {
		if (pos >= (loff_t)limit) {
			send_sig(SIGXFSZ, current, 0);
			return -EFBIG;
		}
		*count = min_t(loff_t, *count, limit - pos);
	}
	if (pos >= largest)
		return -EFBIG;
	*count = min(*count, largest - pos);
	return 0;
}
#define generic_write_check_limits compat_write_check_limits
#endif

#endif /* EXCHRANGE_COMPAT_H */
