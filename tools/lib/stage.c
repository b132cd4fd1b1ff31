// SPDX-License-Identifier: MIT
/*
 * Staging files, which have no name: the space of one that is not needed comes back by
 * itself, whatever ends the program or the machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "place.h"
#include "stage.h"

#define STAGING_FLAGS	(O_TMPFILE | O_RDWR | O_CLOEXEC)

/*
 * What decides how the contents are stored, and who pays for them, is the file's.
 * All of it is as good as can be had: what keeps the two from being exchanged, the
 * commit tells.
 */
static void copy_attributes(int from, int to)
{
	const int inode_flags = FS_NOCOW_FL | FS_COMPR_FL | FS_NOCOMP_FL;
	const unsigned int xflags = FS_XFLAG_REALTIME | FS_XFLAG_EXTSIZE;
	struct fsxattr ours, its;
	int our_flags, its_flags;
	char algorithm[32];
	struct stat st;
	ssize_t length;
	int ret = 0;

	/* Only root may give files away: else the caller pays. */
	if (fstat(from, &st) == 0 &&
	    (st.st_uid != geteuid() || st.st_gid != getegid()))
		ret = fchown(to, st.st_uid, st.st_gid);

	if (ioctl(from, FS_IOC_FSGETXATTR, &its) == 0 &&
	    ioctl(to, FS_IOC_FSGETXATTR, &ours) == 0 &&
	    ((its.fsx_xflags ^ ours.fsx_xflags) & xflags ||
	     its.fsx_extsize != ours.fsx_extsize ||
	     its.fsx_projid != ours.fsx_projid)) {
		ours.fsx_xflags = (ours.fsx_xflags & ~xflags) |
				  (its.fsx_xflags & xflags);
		ours.fsx_extsize = its.fsx_extsize;
		ours.fsx_projid = its.fsx_projid;
		ioctl(to, FS_IOC_FSSETXATTR, &ours);
	}

	if (ioctl(from, FS_IOC_GETFLAGS, &its_flags) == 0 &&
	    ioctl(to, FS_IOC_GETFLAGS, &our_flags) == 0 &&
	    (its_flags ^ our_flags) & inode_flags) {
		our_flags = (our_flags & ~inode_flags) | (its_flags & inode_flags);
		ioctl(to, FS_IOC_SETFLAGS, &our_flags);
	}
	length = fgetxattr(from, "btrfs.compression", algorithm,
			   sizeof(algorithm));
	if (length > 0)
		ret = fsetxattr(to, "btrfs.compression", algorithm, length, 0);
	(void)ret;
}

int exchrange_stage_for_file(int dir, int file)
{
	int staging = openat(dir, ".", STAGING_FLAGS | O_EXCL, 0600);

	if (staging >= 0)
		copy_attributes(file, staging);
	return staging;
}

/* Group, default ACL and project come from the directory, as for every file there. */
int exchrange_stage_for_name(int dir, mode_t mode)
{
	return openat(dir, ".", STAGING_FLAGS, mode);
}

/* The real one: another directory of that name could lead to another file. */
static int open_proc(void)
{
	int proc = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;

	if (proc < 0 || (fstatfs(proc, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC))
		return proc;
	exchrange_close(proc);
	errno = ENOENT;
	return -1;
}

/*
 * By the descriptor alone for root, and since Linux 6.10 for who has opened it; else by
 * /proc, which may be absent.
 */
int exchrange_name_staging(int staging, int dir, const char *name)
{
	char number[16];
	int proc, ret;

	if (linkat(staging, "", dir, name, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno != ENOENT && errno != EPERM)
		return -1;
	proc = open_proc();
	if (proc < 0)
		return -1;
	snprintf(number, sizeof(number), "%d", staging);
	ret = linkat(proc, number, dir, name, AT_SYMLINK_FOLLOW);
	exchrange_close(proc);
	return ret;
}
