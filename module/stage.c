// SPDX-License-Identifier: GPL-2.0
/*
 * Staging files: one without a name, on the mount of a file that the caller may read and write,
 * to be exchanged with it.  For who has no right to a directory there, or sees none.
 *
 * The file system makes it, as for O_TMPFILE with O_EXCL, in the directory of the file.  The
 * caller's rights to that are not asked for, so this must give nobody anything that a write to
 * the file does not give:
 *
 *  - Space.  Owner, group and project are the file's, and so is its subvolume on btrfs.  What
 *    is written to it is charged to whom a write to the file is charged to, within the same
 *    quotas; limits of a process (RLIMIT_FSIZE) are those of its own writes.
 *  - An inode more, which a write does not take: staged.c counts them, for each user.
 *  - A file in a place where the caller may make none.  It has no name, and never gets one:
 *    I_LINKABLE is not set, so that link(2) answers ENOENT whoever asks, and its directory does
 *    not change.  It is gone with its last descriptor, or by log recovery.
 *  - The contents of others.  It is empty, or a reflink of the file, which the caller may read.
 *  - An owner's rights.  Where the owner is another user, the caller may not chmod(2) it, or do
 *    anything else that takes an owner.  Mode 0600 and no name keep others out, and it is not
 *    executable.  Where the caller owns the file, it is no more than any file of the caller's.
 *  - The kernel's rights.  Its credentials make the file and set its attributes, which are
 *    all copied, and go before the caller gets it: what the caller has is opened by its own,
 *    which security modules are asked about, and counted as an open file.  The label is the one
 *    that a file of the caller's would get in that directory.
 *  - Knowledge.  /proc/self/fd shows of it the path of the directory, as it does of the file.
 *
 * All that decides how data is stored is the file's too, whatever new files in that directory get:
 * else the file system might refuse to exchange the two, or would store it in another way
 * afterwards.
 */
#include <linux/fs.h>
#include <linux/fileattr.h>	/* needs fs.h before it */
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/mount.h>
#include <linux/sched/task.h>
#include <linux/security.h>
#include <linux/stat.h>
#include <linux/xattr.h>

#include "compat.h"
#include "exchange.h"
#include "overlay/overlay.h"

#define STAGING_MODE	(S_IFREG | 0600)

/* Attributes that decide how data is stored, of XFS's kind and of btrfs's. */
#define STORAGE_XFLAGS	(FS_XFLAG_REALTIME | FS_XFLAG_EXTSIZE | FS_XFLAG_COWEXTSIZE | \
			 FS_XFLAG_SYNC)
#define STORAGE_FLAGS	(FS_NOCOW_FL | FS_COMPR_FL | FS_NOCOMP_FL | FS_SYNC_FL)
#define COMPRESSION	"btrfs.compression"
#define MAX_COMPRESSION	16	/* bytes of its value */

/* --- where ----------------------------------------------------------------------------- */

/*
 * The directory of @file, removed or not; what is above it, where nothing can be made in it; the
 * root of the file system where the file was opened by a handle and no directory of it is known.
 * dput() it.
 */
static struct dentry *find_parent(const struct file *file)
{
	struct dentry *dentry = file->f_path.dentry, *parent, *next;

	if (IS_ROOT(dentry))
		return dget(dentry->d_sb->s_root);
	parent = dget_parent(dentry);
	while (IS_IMMUTABLE(d_inode(parent)) && !IS_ROOT(parent)) {
		next = dget_parent(parent);
		dput(parent);
		parent = next;
	}
	return parent;
}

/* -EXDEV where they are of two subvolumes, whose quotas are two. */
static int check_subvolume(const struct path *parent, const struct file *file)
{
	struct kstat its, ours;
	int error;

	/* Device numbers there are those of layers, and folders have another one. */
	if (exchange_is_on_overlay(file))
		return 0;
	error = vfs_getattr_nosec(&file->f_path, &its, STATX_TYPE, AT_STATX_DONT_SYNC) ?:
		vfs_getattr_nosec(parent, &ours, STATX_TYPE, AT_STATX_DONT_SYNC);
	if (error)
		return error;
	return its.dev == ours.dev ? 0 : -EXDEV;
}

/* --- by whom --------------------------------------------------------------------------- */

/* The label that security modules give to what the caller makes in @parent. */
static int take_label(struct cred *cred, struct dentry *parent)
{
	static const struct qstr name = QSTR_INIT("/", 1);
	struct dentry *child = d_alloc(parent, &name);
	int error;

	if (!child)
		return -ENOMEM;
	error = security_dentry_create_files_as(child, STAGING_MODE,
						&child->d_name, current_cred(), cred);
	dput(child);
	return error;
}

/* Those of the kernel, with which new files are the owner's of @inode.  put_cred() them. */
static struct cred *make_cred(const struct inode *inode, struct dentry *parent)
{
	struct cred *cred = prepare_kernel_cred(&init_task);
	int error;

	if (!cred)
		return ERR_PTR(-ENOMEM);
	cred->fsuid = inode->i_uid;
	cred->fsgid = inode->i_gid;
	error = take_label(cred, parent);
	if (error) {
		put_cred(cred);
		return ERR_PTR(error);
	}
	return cred;
}

/* --- what it is like --------------------------------------------------------------------- */

/* What a directory with set-gid, or a mount with grpid, has given it. */
static int set_group(struct dentry *staging, kgid_t gid)
{
	struct iattr attributes = { .ia_valid = ATTR_GID, .ia_gid = gid };
	struct inode *inode = d_inode(staging);
	int error;

	if (gid_eq(inode->i_gid, gid))
		return 0;
	inode_lock(inode);
	error = notify_change(compat_no_idmap, staging, &attributes, NULL);
	inode_unlock(inode);
	return error;
}

/* Of XFS's kind: with the project, and sizes of extents in bytes. */
static int set_xflags(struct dentry *staging, const struct file_kattr *its,
		      const struct file_kattr *ours)
{
	u32 xflags = (ours->fsx_xflags & ~STORAGE_XFLAGS) | (its->fsx_xflags & STORAGE_XFLAGS);
	struct file_kattr new = { };

	if (xflags == ours->fsx_xflags && its->fsx_extsize == ours->fsx_extsize &&
	    its->fsx_cowextsize == ours->fsx_cowextsize &&
	    its->fsx_projid == ours->fsx_projid)
		return 0;
	fileattr_fill_xflags(&new, xflags);
	new.fsx_extsize = its->fsx_extsize;
	new.fsx_cowextsize = its->fsx_cowextsize;
	new.fsx_projid = its->fsx_projid;
	return vfs_fileattr_set(compat_no_idmap, staging, &new);
}

static int set_flags(struct dentry *staging, const struct file_kattr *its,
		     const struct file_kattr *ours)
{
	u32 flags = (ours->flags & ~STORAGE_FLAGS) | (its->flags & STORAGE_FLAGS);
	struct file_kattr new = { };

	if (flags == ours->flags)
		return 0;
	fileattr_fill_flags(&new, flags);
	return vfs_fileattr_set(compat_no_idmap, staging, &new);
}

/* Which one, of files that are compressed. */
static int set_compression(struct dentry *file, struct dentry *staging)
{
	char its[MAX_COMPRESSION], ours[MAX_COMPRESSION];
	ssize_t its_length, our_length;

	its_length = vfs_getxattr(compat_no_idmap, file, COMPRESSION, its, sizeof(its));
	if (its_length <= 0)
		return its_length == -ENODATA ? 0 : its_length;
	our_length = vfs_getxattr(compat_no_idmap, staging, COMPRESSION, ours, sizeof(ours));
	if (our_length == its_length && !memcmp(its, ours, its_length))
		return 0;
	return vfs_setxattr(compat_no_idmap, staging, COMPRESSION, its, its_length, 0);
}

/* With the kernel's credentials, and write access to the mount. */
static int set_attributes(struct dentry *file, struct dentry *staging, kgid_t gid)
{
	struct file_kattr its = { }, ours = { };
	int error;

	error = set_group(staging, gid) ?:
		vfs_fileattr_get(file, &its) ?:
		vfs_fileattr_get(staging, &ours);
	if (error)
		return error;
	if (its.fsx_valid)
		return set_xflags(staging, &its, &ours);
	error = set_flags(staging, &its, &ours);
	if (!error && its.flags & FS_COMPR_FL)
		error = set_compression(file, staging);
	return error;
}

/* --- making it --------------------------------------------------------------------------- */

/*
 * A staging file for @file, opened for the kernel.  With write access to the mount.  On error
 * there is none.
 */
static struct file *make_by_kernel(struct file *file, const struct path *parent,
				   const struct cred *cred)
{
	struct file *made;
	int error;

	/* For reading, so that no watcher hears of a close after writing. */
	made = kernel_tmpfile_open(compat_no_idmap, parent, STAGING_MODE,
				   O_RDONLY | O_EXCL | O_LARGEFILE, cred);
	if (IS_ERR(made))
		return made;
	error = set_attributes(file->f_path.dentry, made->f_path.dentry, cred->fsgid);
	if (error) {
		fput(made);
		return ERR_PTR(error);
	}
	return made;
}

static struct file *make_in(struct file *file, const struct path *parent)
{
	const struct cred *caller;
	struct file *made;
	struct cred *cred;
	int error;

	cred = make_cred(file_inode(file), parent->dentry);
	if (IS_ERR(cred))
		return ERR_CAST(cred);
	error = mnt_want_write_file(file);
	if (error) {
		made = ERR_PTR(error);
	} else {
		caller = override_creds(cred);
		made = make_by_kernel(file, parent, cred);
		revert_creds(caller);
		mnt_drop_write_file(file);
	}
	put_cred(cred);
	return made;
}

static struct file *make(struct file *file)
{
	struct path parent = { .mnt = file->f_path.mnt, .dentry = find_parent(file) };
	struct file *made;
	int error;

	error = check_subvolume(&parent, file);
	made = error ? ERR_PTR(error) : make_in(file, &parent);
	dput(parent.dentry);
	return made;
}

/* The caller's own, of the file that was @made. */
static struct file *open_again(struct file *file, struct file *made, u32 flags)
{
	struct file *staging;
	loff_t length = 0;
	int error;

	error = exchange_staged_add(file_inode(made));
	if (error)
		return ERR_PTR(error);
	staging = dentry_open(&made->f_path, O_RDWR | (file->f_flags & O_LARGEFILE),
			      current_cred());
	if (IS_ERR(staging))
		return staging;
	if (flags & EXCHRANGE_STAGE_CLONE)
		length = vfs_clone_file_range(file, 0, staging, 0, 0, 0);
	if (length < 0) {
		fput(staging);
		return ERR_PTR(length);
	}
	return staging;
}

static int check(struct file *file)
{
	return exchange_check_regular(file_inode(file)) ?:
	       exchange_check_access(file) ?:
	       exchange_check_backend(file) ?:
	       exchange_check_write(file);
}

/*
 * A descriptor of a new staging file for @file, whose reference the caller holds.
 * @flags: EXCHRANGE_STAGE_*, all known.  Takes no lock of its own, may sleep.  The errors are in
 * the header of the device; after one there is no file.
 */
int exchange_stage(struct file *file, u32 flags)
{
	struct file *made, *staging;
	int fd, error;

	error = check(file);
	if (error)
		return error;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;

	made = make(file);
	staging = made;
	if (!IS_ERR(made)) {
		staging = open_again(file, made, flags);
		fput(made);
	}
	if (IS_ERR(staging)) {
		put_unused_fd(fd);
		return PTR_ERR(staging);
	}
	fd_install(fd, staging);
	return fd;
}
