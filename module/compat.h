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
#include <linux/fsnotify_backend.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/mnt_idmapping.h>
#include <linux/sched/signal.h>
#include <linux/security.h>
/* What fs.h has had before 6.3. */
#ifdef HAVE_FILELOCK_H
#include <linux/filelock.h>
#endif
/* Batches of folios: the header's name in 7.3, and in older ones. */
#ifdef HAVE_FOLIO_BATCH_H
#include <linux/folio_batch.h>
#else
#include <linux/pagevec.h>
#endif
/* hex2bin() moved here, and kernel.h includes it no more since 7.2. */
#ifdef HAVE_HEX_H
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

/*
 * What ftruncate(2) asks security modules with: of the open file since 6.2, of its path
 * before.  Kbuild looks.
 */
#ifdef HAVE_SECURITY_FILE_TRUNCATE
#define compat_truncate_hook		security_file_truncate
#define compat_truncate_subject(file)	(file)
#ifdef CONFIG_SECURITY
#define COMPAT_HAS_TRUNCATE_HOOK
#endif
#else
#define compat_truncate_hook		security_path_truncate
#define compat_truncate_subject(file)	(&(file)->f_path)
#ifdef CONFIG_SECURITY_PATH
#define COMPAT_HAS_TRUNCATE_HOOK
#endif
#endif

/* Since 6.19 an inode's state is read by a function alone. */
static inline unsigned int compat_inode_state(struct inode *inode)
{
#ifdef HAVE_INODE_STATE_READ_ONCE
	return inode_state_read_once(inode);
#else
	return READ_ONCE(inode->i_state);
#endif
}

/* An inode's times have functions since 6.7, and some of them in older kernels; Kbuild looks. */
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

/*
 * Cuts *@count at what @file may have from @pos on, in bytes: the file system's maximum and
 * the caller's limit.  -EFBIG where that is nothing, with SIGXFSZ for the limit.  The kernel
 * exports it since 6.10; Kbuild looks.
 */
static inline int compat_write_check_limits(struct file *file, loff_t pos, loff_t *count)
{
#ifdef HAVE_GENERIC_WRITE_CHECK_LIMITS
	return generic_write_check_limits(file, pos, count);
#else
	u64 limit = rlimit(RLIMIT_FSIZE);
	u64 most = file_inode(file)->i_sb->s_maxbytes;

	if (!(file->f_flags & O_LARGEFILE))
		most = min_t(u64, most, MAX_NON_LFS);
	if (pos >= limit)
		send_sig(SIGXFSZ, current, 0);
	most = min(most, limit);
	if (pos >= most)
		return -EFBIG;
	*count = min_t(u64, *count, most - pos);
	return 0;
#endif
}

/* The attributes of a file have this name since 6.17; Kbuild looks. */
#ifndef HAVE_FILE_KATTR
#define file_kattr	fileattr
#endif

/*
 * Owners as the file system has them, whatever the mount makes of them: an idmap since 6.3, a
 * user namespace before.  Kbuild looks.
 */
#ifdef HAVE_VFS_IDMAP
#define compat_no_idmap		(&nop_mnt_idmap)
#else
#define compat_no_idmap		(&init_user_ns)
#endif

/* kernel_tmpfile_open() has this name since 6.5; Kbuild looks. */
#ifndef HAVE_KERNEL_TMPFILE_OPEN
#define kernel_tmpfile_open	vfs_tmpfile_open
#endif

/*
 * Direct I/O pins the pages that it transfers to since 6.5.  Before, it has references to them,
 * as anybody may.  Kbuild looks.
 */
#ifdef HAVE_BIO_PAGE_PINNED
#define COMPAT_TRANSFERS_PIN
#endif

/* For locks that are taken where inodes are evicted; newer kernels take none there. */
#ifndef FSNOTIFY_GROUP_NOFS
#define FSNOTIFY_GROUP_NOFS	0
#endif

#endif /* EXCHRANGE_COMPAT_H */
