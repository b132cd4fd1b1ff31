// SPDX-License-Identifier: GPL-2.0
/*
 * EXCHRANGE_IOC_STAGE: what a staging file is, that it never gets a name, who gets one and for
 * which file, who pays for it, and that it gives nobody more than a write to the file.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/landlock.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

#define PARAMETER	"/sys/module/exchrange/parameters/staging_max_user"
#define MODULE		"/sys/module/exchrange"

static const struct file_spec plain = { SHAPE_PLAIN, 4 * BLOCK };

/* A descriptor, or an errno below zero. */
static int try_stage(int fd, unsigned int flags)
{
	struct exchrange_stage stage = { .fd = fd, .flags = flags };
	int ret = ioctl(device, EXCHRANGE_IOC_STAGE, &stage);

	return ret < 0 ? -errno : ret;
}

static int stage(int fd, unsigned int flags)
{
	int staging = try_stage(fd, flags);

	if (staging < 0)
		fail_msg("no staging file: %s", strerror(-staging));
	return staging;
}

static int exchange_whole(int file1, int file2)
{
	const struct exchrange_range range = {
		.file1_fd = file1, .file2_fd = file2, .flags = EXCHRANGE_TO_EOF,
	};

	return device_exchange(&range);
}

/* Puts a text into the staging file and exchanges it; 0 or an errno. */
static int save(int staging, int file, const char *text)
{
	ssize_t length = strlen(text);

	if (ftruncate(staging, 0) || pwrite(staging, text, length, 0) != length)
		return errno;
	return exchange_whole(staging, file);
}

static bool holds(int fd, const char *text)
{
	ssize_t length = strlen(text);
	char got[256];

	return pread(fd, got, sizeof(got), 0) == length && !memcmp(got, text, length);
}

static struct stat stat_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st;
}

static uint64_t mount_of(int fd)
{
	struct statx st;

	assert_int_equal(statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st), 0);
	return st.stx_mnt_id;
}

static struct fsxattr xattr_of(int fd)
{
	struct fsxattr xattr;

	assert_int_equal(ioctl(fd, FS_IOC_FSGETXATTR, &xattr), 0);
	return xattr;
}

/* --- what it is -------------------------------------------------------------------------- */

static void assert_like_the_file(int staging, int file)
{
	struct stat ours = stat_of(staging), its = stat_of(file);

	assert_int_equal(ours.st_nlink, 0);
	assert_int_equal(ours.st_mode, S_IFREG | 0600);
	assert_int_equal(ours.st_uid, its.st_uid);
	assert_int_equal(ours.st_gid, its.st_gid);
	assert_true(ours.st_dev == its.st_dev);
	assert_true(mount_of(staging) == mount_of(file));
	assert_int_equal(xattr_of(staging).fsx_projid, xattr_of(file).fsx_projid);
}

static void test_what_it_is(void **state)
{
	int file = make_file("file", plain, 1), staging = stage(file, 0);

	(void)state;
	assert_like_the_file(staging, file);
	assert_int_equal(stat_of(staging).st_size, 0);
	assert_int_equal(fcntl(staging, F_GETFL) & (O_ACCMODE | O_APPEND), O_RDWR);
	assert_int_equal(fcntl(staging, F_GETFD), FD_CLOEXEC);
	assert_int_equal(save(staging, file, "new\n"), 0);
	assert_true(holds(file, "new\n"));
	assert_int_equal(stat_of(staging).st_size, plain.size);
	/* Again, with what came back. */
	assert_int_equal(exchange_whole(staging, file), 0);
	assert_true(holds(staging, "new\n"));
	close(staging);
	close(file);
}

static void test_clone(void **state)
{
	int file = make_file("file", plain, 1), staging = stage(file, EXCHRANGE_STAGE_CLONE);
	struct picture its = take_picture(file), ours = take_picture(staging);

	(void)state;
	assert_like_the_file(staging, file);
	assert_true(same_bytes(&its, &ours));
	drop_picture(&its);
	drop_picture(&ours);
	close(staging);
	assert_int_equal(ftruncate(file, 0), 0);
	staging = stage(file, EXCHRANGE_STAGE_CLONE);
	assert_int_equal(stat_of(staging).st_size, 0);
	close(staging);
	close(file);
}

/* Beside XFS's own ioctl. */
static void test_own_ioctl(void **state)
{
	int file, staging;
	struct exchrange_range range = { .flags = EXCHRANGE_TO_EOF };

	(void)state;
	if (!has_reference())
		skip();
	file = make_file("file", plain, 1);
	staging = stage(file, 0);
	assert_int_equal(pwrite(staging, "own\n", 4, 0), 4);
	range.file1_fd = staging;
	range.file2_fd = file;
	assert_int_equal(xfs_exchange(&range), 0);
	assert_true(holds(file, "own\n"));
	close(staging);
	close(file);
}

/* --- never a name ------------------------------------------------------------------------- */

/* Root may do all that there is. */
static void test_never_a_name(void **state)
{
	int file = make_file("file", plain, 1), staging = stage(file, 0), round;
	char link_path[64];

	(void)state;
	snprintf(link_path, sizeof(link_path), "/proc/self/fd/%d", staging);
	for (round = 0; round < 2; round++) {
		assert_int_equal(linkat(staging, "", AT_FDCWD, path_of("name"), AT_EMPTY_PATH), -1);
		assert_int_equal(errno, ENOENT);
		assert_int_equal(linkat(AT_FDCWD, link_path, AT_FDCWD, path_of("name"),
					AT_SYMLINK_FOLLOW), -1);
		assert_int_equal(errno, ENOENT);
		/* Nor when it has contents that were a file's. */
		assert_int_equal(save(staging, file, "new\n"), 0);
	}
	assert_int_equal(access(path_of("name"), F_OK), -1);
	close(staging);
	close(file);
}

/* Watchers of the directory do not hear of a file that comes or goes, and it does not change. */
static void test_directory_does_not_change(void **state)
{
	int file = make_file("file", plain, 1), staging;
	int watch = inotify_init1(IN_NONBLOCK);
	struct stat before, after;
	char events[4096];

	(void)state;
	assert_int_equal(stat(mount_point, &before), 0);
	assert_true(inotify_add_watch(watch, mount_point, IN_CREATE | IN_DELETE | IN_MOVE |
				      IN_ATTRIB | IN_CLOSE_WRITE) >= 0);
	staging = stage(file, 0);
	assert_true(read(watch, events, sizeof(events)) < 0);
	close(staging);
	assert_int_equal(stat(mount_point, &after), 0);
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim));
	assert_memory_equal(&before.st_ctim, &after.st_ctim, sizeof(before.st_ctim));
	close(watch);
	close(file);
}

/* --- for whom, and for which file --------------------------------------------------------- */

static int try_reserved(int fd, int i)
{
	struct exchrange_stage stage = { .fd = fd };

	stage.reserved[i] = 1;
	return ioctl(device, EXCHRANGE_IOC_STAGE, &stage) < 0 ? -errno : 0;
}

static void test_refused(void **state)
{
	int file = make_file("file", plain, 1);
	static const struct {
		int	flags;
		int	error;
	} opened[] = {
		{ O_RDONLY, EBADF }, { O_WRONLY, EBADF }, { O_RDWR | O_APPEND, EBADF },
		{ O_PATH, EBADF }, { O_DIRECTORY, EISDIR },
	};
	size_t i;
	int fd;

	(void)state;
	for (i = 0; i < COUNT(opened); i++) {
		fd = open_path(opened[i].flags & O_DIRECTORY ? mount_point : path_of("file"),
			       opened[i].flags);
		assert_int_equal(try_stage(fd, 0), -opened[i].error);
		close(fd);
	}
	assert_int_equal(try_stage(-1, 0), -EBADF);
	assert_int_equal(try_stage(device, 0), -EINVAL);
	fd = open_path("/dev/shm", O_TMPFILE | O_RDWR);
	assert_int_equal(try_stage(fd, 0), -EOPNOTSUPP);
	close(fd);
	assert_int_equal(try_stage(file, 2), -EINVAL);
	assert_int_equal(try_stage(file, 1u << 31), -EINVAL);
	for (i = 0; i < 3; i++)
		assert_int_equal(try_reserved(file, i), -EINVAL);
	close(file);
}

/* As an exchange of it would be. */
static void test_a_file_that_must_not_change(void **state)
{
	int file = make_file("file", plain, 1);

	(void)state;
	assert_int_equal(run("chattr +i %s", path_of("file")), 0);
	assert_int_equal(try_stage(file, 0), -EPERM);
	assert_int_equal(run("chattr -i +a %s", path_of("file")), 0);
	assert_int_equal(try_stage(file, 0), -EPERM);
	assert_int_equal(run("chattr -a %s", path_of("file")), 0);
	close(file);
	/* overlayfs has no swap files. */
	if (is_overlay())
		return;
	assert_int_equal(run("truncate -s 0 %s && { chattr +C %s; :; } 2>/dev/null"
			     " && dd if=/dev/zero of=%s bs=64k count=16 status=none && mkswap -q %s && swapon %s",
			     path_of("file"), path_of("file"), path_of("file"), path_of("file"),
			     path_of("file")), 0);
	file = open(path_of("file"), O_RDWR);
	/* Root cannot open one for writing where the kernel knows it for a swap file. */
	if (file >= 0)
		assert_int_equal(try_stage(file, 0), -ETXTBSY);
	assert_int_equal(run("swapoff %s && rm %s", path_of("file"), path_of("file")), 0);
	if (file >= 0)
		close(file);
}

/* What nobody may do with a file that is open, of an owner, in a directory that is closed. */
static int save_as_nobody(void *argument)
{
	int file = *(int *)argument, staging = try_stage(file, 0);
	unsigned int flags = FS_NODUMP_FL;
	struct fsxattr xattr;

	if (staging < 0)
		return -staging;
	if (save(staging, file, "nobody\n"))
		return 201;
	/* An owner's rights it has not. */
	if (!fchmod(staging, 04755) || errno != EPERM)
		return 202;
	/* Whatever the reason: the user may be one that the mount, or the namespace, does not know. */
	if (!fchown(staging, NOBODY, NOBODY))
		return 203;
	if (!ioctl(staging, FS_IOC_SETFLAGS, &flags) || (errno != EPERM && errno != EACCES))
		return 204;
	if (ioctl(staging, FS_IOC_FSGETXATTR, &xattr))
		return 205;
	xattr.fsx_projid = 7;
	if (!ioctl(staging, FS_IOC_FSSETXATTR, &xattr) || (errno != EPERM && errno != EACCES))
		return 206;
	return linkat(staging, "", AT_FDCWD, "/dev/shm/name", AT_EMPTY_PATH) ? 0 : 207;
}

/* A file in a folder that only root may look into, @prepare done to it; open, and for nobody. */
static int make_hidden(const char *prepare)
{
	int file;

	run("chattr -R -f -i -a %s; rm -rf %s", path_of("hidden"), path_of("hidden"));
	assert_int_equal(run("mkdir -m 700 %s && echo old >%s && chown 1000:1001 %s && chmod 666 %s",
			     path_of("hidden"), path_of("hidden/file"), path_of("hidden/file"),
			     path_of("hidden/file")), 0);
	file = open_path(path_of("hidden/file"), O_RDWR);
	assert_int_equal(run("cd %s && { %s\n}", path_of("hidden"), prepare), 0);
	return file;
}

static const struct place {
	const char	*name;
	const char	*prepare;
} places[] = {
	{ "no right to the directory", ":" },
	{ "an immutable directory", "chattr +i ." },
	{ "an immutable directory in another", "mkdir d && mv file d && chattr +i . d" },
	{ "without a name", "rm file" },
	{ "of a directory that is removed", "mkdir d && mv file d && rm -r d" },
	{ "a directory with set-gid", "chgrp 1234 . && chmod g+s ." },
	{ "a directory with default ACLs", "setfacl -d -m u:65534:rwx,g:7:rwx,m::rwx ." },
	{ "many names", "ln file name1; ln file name2" },
};

static void test_place(void **state)
{
	const struct place *place = *state;
	int file = make_hidden(place->prepare), staging, copy;

	assert_int_equal(as_nobody(save_as_nobody, &file), 0);
	assert_true(holds(file, "nobody\n"));
	staging = stage(file, 0);
	assert_like_the_file(staging, file);
	/* Twice through the same path, of the one that was made before. */
	copy = stage(staging, EXCHRANGE_STAGE_CLONE);
	assert_like_the_file(copy, staging);
	close(copy);
	close(staging);
	close(file);
	run("chattr -R -f -i %s", path_of("hidden"));
}

/* --- how data is stored, and who pays ------------------------------------------------------ */

/* lsattr(1) does not follow the links of /proc. */
#define FLAGS	"perl -e 'open(F, \"<\", shift) or die; $b = pack(\"L\", 0); ioctl(F, 0x80086601, $b) or die; printf(\"%x\\n\", unpack(\"L\", $b))' $f"

static const struct attribute {
	const char	*name;
	bool		of_btrfs;
	const char	*set;		/* of "file", empty, in a folder that is "." */
	const char	*show;		/* of $f */
} attributes[] = {
	{ "extent size", false, "xfs_io -c 'extsize 64k' file", "xfs_io -r -c extsize $f | sed 's/ .*//'" },
	{ "extent size of the directory alone", false,
	  "xfs_io -c 'extsize 64k' .; xfs_io -c 'extsize 0' file", "xfs_io -r -c extsize $f | sed 's/ .*//'" },
	{ "extent size of a copy", false, "xfs_io -c 'cowextsize 128k' file", "xfs_io -r -c cowextsize $f | sed 's/ .*//'" },
	{ "project", false, "xfs_io -c 'chproj 42' file", "xfs_io -r -c lsproj $f" },
	{ "project of the directory alone", false,
	  "xfs_io -c 'chproj 42' -c 'chattr +P' .", "xfs_io -r -c lsproj $f" },
	{ "synchronous", false, "chattr +S file", FLAGS },
	{ "synchronous directory", false, "chattr +S .", FLAGS },
	{ "without copies", true, "chattr +C file", FLAGS },
	{ "without copies, the directory", true, "chattr +C .", FLAGS },
	{ "compressed", true, "chattr +c file", FLAGS "; getfattr --only-values -n btrfs.compression $f" },
	{ "compressed with zstd", true, "btrfs property set file compression zstd",
	  FLAGS "; getfattr --only-values -n btrfs.compression $f" },
	{ "compressed, the directory with another", true,
	  "btrfs property set . compression lzo; btrfs property set file compression zstd",
	  FLAGS "; getfattr --only-values -n btrfs.compression $f" },
	{ "compressed directory", true, "chattr +c .", FLAGS "; getfattr -n btrfs.compression $f" },
	{ "not to be compressed", true, "chattr +m file", FLAGS },
};

static void test_attribute(void **state)
{
	const struct attribute *attribute = *state;
	int file, staging;

	if (attribute->of_btrfs != is_btrfs())
		skip();
	/* By ioctls that overlayfs does not have. */
	if (is_overlay() && (strstr(attribute->set, "cowextsize") || strstr(attribute->set, "btrfs property")))
		skip();
	assert_int_equal(run("rm -rf %s && mkdir -m 700 %s && cd %s && : >file && chown 1000 file && chmod 666 file && { %s\n} >/dev/null",
			     path_of("stored"), path_of("stored"), path_of("stored"),
			     attribute->set), 0);
	file = open_path(path_of("stored/file"), O_RDWR);
	assert_int_equal(as_nobody(save_as_nobody, &file), 0);
	staging = stage(file, 0);
	assert_int_equal(run("show() { %s\n}; f=/proc/%d/fd/%d; ours=$(show 2>/dev/null); f=/proc/%d/fd/%d; its=$(show 2>/dev/null);"
			     " echo \"'$ours', and the file '$its'\"; test -n \"$its\" && test \"$ours\" = \"$its\"",
			     attribute->show, getpid(), staging, getpid(), file), 0);
	close(staging);
	close(file);
}

#define HALF_MIB	(512 * 1024)

/* Writes to @fd, and to the disk, until an error, or 32 MiB are written. */
static int fill(int fd, unsigned int *half_mib)
{
	static char bytes[HALF_MIB];
	off_t at = 0;
	ssize_t count;
	int error = 0;

	while (!error && at < 64 * HALF_MIB) {
		count = pwrite(fd, bytes, sizeof(bytes), at);
		if (count < 0 || fsync(fd))
			error = errno;
		else
			at += count;
	}
	*half_mib = at / HALF_MIB;
	return error;
}

static int fill_file(void *argument)
{
	unsigned int amount;
	int error = fill(*(int *)argument, &amount);

	/* XFS has ENOSPC for a project. */
	return error == EDQUOT || error == ENOSPC ? (int)amount : 99;
}

/* 100 and an errno, or how much was written; nobody's, whose own quota is another one. */
static int fill_staging(void *argument)
{
	int staging = try_stage(*(int *)argument, 0);

	return staging < 0 ? 100 - staging : fill_file(&staging);
}

static const struct quota {
	const char	*name;
	bool		of_btrfs;
	const char	*options;	/* of the mount */
	const char	*limit;		/* 4 MiB of what "file" is charged to */
} quotas[] = {
	{ "the owner's", false, "uquota", "xfs_quota -x -c 'limit bhard=4m 1000' ." },
	{ "the group's", false, "gquota", "xfs_quota -x -c 'limit -g bhard=4m 1001' ." },
	{ "the group's, in a directory with set-gid", false, "gquota",
	  "chgrp 1234 d && chmod g+s d && xfs_quota -x -c 'limit -g bhard=4m 1001' ." },
	{ "the project's", false, "pquota", "xfs_io -c 'chproj 42' d/file && xfs_quota -x -c 'limit -p bhard=4m 42' ." },
	{ "the project's, of the directory", false, "pquota",
	  "xfs_io -c 'chproj 42' -c 'chattr +P' d && xfs_io -c 'chproj 42' d/file && xfs_quota -x -c 'limit -p bhard=4m 42' ." },
	{ "the subvolume's", true, "defaults", "btrfs quota enable . && btrfs qgroup limit 4m sub" },
	{ "the subvolume's, without a name", true, "defaults",
	  "btrfs quota enable . && btrfs qgroup limit 4m sub && rm sub/d/file" },
	{ "the subvolume's, of a directory that is removed", true, "defaults",
	  "btrfs quota enable . && btrfs qgroup limit 4m sub && rm -r sub/d" },
};

/* As much as a write to the file would get, and what it takes comes back. */
static void test_quota(void **state)
{
	const struct quota *quota = *state;
	int file, amount;

	if (quota->of_btrfs != is_btrfs())
		skip();
	enter_scratch(kind->mkfs, quota->options);
	assert_int_equal(run("cd " SCRATCH " && { ! test %d = 1 || { btrfs subvolume create sub >/dev/null && ln -s sub/d d; }; }"
			     " && mkdir -m 700 $(readlink d || echo d) && : >d/file && chown 1000:1001 d/file && chmod 666 d/file",
			     quota->of_btrfs), 0);
	file = open_path(path_of("d/file"), O_RDWR);
	assert_int_equal(run("cd " SCRATCH " && { %s\n} >/dev/null", quota->limit), 0);
	amount = as_nobody(fill_staging, &file);
	assert_uint_in_range(amount, 4, 8);
	sync();
	/* That it is gone the file system may find a little later. */
	run("sync; { btrfs quota rescan -w " SCRATCH "; btrfs filesystem sync " SCRATCH "; } >/dev/null 2>&1; sleep 0.5");
	assert_uint_in_range(as_nobody(fill_file, &file), 4, 8);
	close(file);
	leave_scratch();
}

/* An inode of the owner's. */
static void test_inode_quota(void **state)
{
	int file, staging;

	(void)state;
	if (is_btrfs())
		skip();
	enter_scratch(kind->mkfs, "uquota");
	assert_int_equal(run("cd " SCRATCH " && : >file && chown 1000 file && xfs_quota -x -c 'limit ihard=2 1000' ."), 0);
	file = open_path(path_of("file"), O_RDWR);
	staging = stage(file, 0);
	assert_int_equal(try_stage(file, 0), -EDQUOT);
	close(staging);
	run("sync; sleep 0.5");
	close(stage(file, 0));
	close(file);
	leave_scratch();
}

static int pass_the_limit(void *argument)
{
	const struct rlimit limit = { BLOCK, BLOCK };
	int file = *(int *)argument, staging;

	if (setrlimit(RLIMIT_FSIZE, &limit) || signal(SIGXFSZ, SIG_IGN) == SIG_ERR)
		return 1;
	staging = try_stage(file, 0);
	if (staging < 0)
		return 2;
	if (pwrite(staging, "x", 1, BLOCK) >= 0 || errno != EFBIG)
		return 3;
	staging = try_stage(file, EXCHRANGE_STAGE_CLONE);
	return staging == -EFBIG || staging == -EINVAL ? 0 : 4;
}

static void test_file_size_limit(void **state)
{
	int file = make_file("file", plain, 1);

	(void)state;
	assert_int_equal(as_nobody(pass_the_limit, &file), 0);
	close(file);
}

static void test_clone_where_blocks_are_not_shared(void **state)
{
	int file;

	(void)state;
	if (is_btrfs())
		skip();
	enter_scratch("mkfs.xfs -q -f $XFS_MKFS -m reflink=0,rmapbt=0", "defaults");
	file = make_file("file", plain, 1);
	assert_int_equal(try_stage(file, EXCHRANGE_STAGE_CLONE), -EOPNOTSUPP);
	close(stage(file, 0));
	close(file);
	leave_scratch();
}

/* --- mounts and users ----------------------------------------------------------------------- */

static int save_in_a_user_namespace(void *argument)
{
	if (unshare(CLONE_NEWUSER))
		return 210;
	return save_as_nobody(argument);
}

/* Where the owner is nobody that is known. */
static void test_user_namespace(void **state)
{
	int file = make_hidden(":");

	(void)state;
	assert_int_equal(as_nobody(save_in_a_user_namespace, &file), 0);
	assert_true(holds(file, "nobody\n"));
	close(file);
}

/* Mounted by itself; read-only where the directory is; the owner another one through the mount. */
static const struct mounting {
	const char	*name;
	const char	*mount;		/* of "hidden/file" on "mounted", both in the current folder */
} mountings[] = {
	{ "by itself", "mount --bind hidden/file mounted" },
	{ "by itself, the directory read-only", "mount --bind hidden hidden && mount --bind hidden/file mounted && mount -o remount,bind,ro hidden" },
	{ "by itself, nosuid, nodev and noexec", "mount --bind hidden/file mounted && mount -o remount,bind,nosuid,nodev,noexec mounted" },
	{ "with other owners", "rm mounted && mkdir mounted && mount --bind -o 'X-mount.idmap=u:0:0:1 u:1000:3000:1 g:0:0:1 g:1001:3001:1' hidden mounted" },
};

static void test_mount(void **state)
{
	const struct mounting *mounting = *state;
	int file, staging;
	struct stat st;

	/* overlayfs has no such mounts. */
	if (is_overlay() && strstr(mounting->mount, "idmap"))
		skip();
	close(make_hidden(":"));
	assert_int_equal(run("cd %s && umount -q mounted; rm -rf mounted; : >mounted && { %s\n}", mount_point,
			     mounting->mount), 0);
	file = open_path(path_of("mounted"), O_PATH);
	st = stat_of(file);
	close(file);
	file = open_path(path_of(S_ISDIR(st.st_mode) ? "mounted/file" : "mounted"), O_RDWR);
	assert_int_equal(as_nobody(save_as_nobody, &file), 0);
	staging = stage(file, 0);
	assert_like_the_file(staging, file);
	assert_int_equal(save(staging, file, "mounted\n"), 0);
	close(staging);
	close(file);
	assert_int_equal(run("cd %s && umount mounted; umount -q hidden; grep -qx mounted hidden/file && test \"$(stat -c '%%u %%g' hidden/file)\" = '1000 1001'"
			     " && rm -rf mounted", mount_point), 0);
}

struct sandbox {
	int		file;
	const char	*path;		/* what may be read and written, with all that is below it */
};

static int stage_in_sandbox(void *argument)
{
	const struct sandbox *sandbox = argument;
	const struct landlock_ruleset_attr attributes = {
		.handled_access_fs = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE,
	};
	struct landlock_path_beneath_attr rule = {
		.allowed_access	= attributes.handled_access_fs,
		.parent_fd	= open(sandbox->path, O_PATH | O_CLOEXEC),
	};
	int ruleset = syscall(SYS_landlock_create_ruleset, &attributes,
			      sizeof(attributes.handled_access_fs), 0);

	if (ruleset < 0 ||
	    syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    syscall(SYS_landlock_restrict_self, ruleset, 0))
		return 200;
	return save_as_nobody(&(int){ sandbox->file });
}

/* To them it is a new file in that directory. */
static void test_security_modules(void **state)
{
	struct sandbox sandbox = { make_file("file", plain, 1), path_of("file") };

	(void)state;
	assert_int_equal(run("chown 1000 %s && chmod 666 %s", path_of("file"), path_of("file")), 0);
	assert_int_equal(as_nobody(stage_in_sandbox, &sandbox), EACCES);
	sandbox.path = mount_point;
	assert_int_equal(as_nobody(stage_in_sandbox, &sandbox), 0);
	assert_true(holds(sandbox.file, "nobody\n"));
	close(sandbox.file);
}

/* --- limits --------------------------------------------------------------------------------- */

/* How many more the caller gets at a time, and the errno of the next one, times 10. */
static int count_more(void *argument)
{
	int file = *(int *)argument, staging, count = 0;

	while ((staging = try_stage(file, 0)) >= 0)
		count++;
	return staging == -EUSERS ? count : 200;
}

/* However many descriptors and mappings have it. */
static int count_of_one(void *argument)
{
	int file = *(int *)argument, staging = try_stage(file, 0), more;
	void *mapping;

	if (dup(staging) < 0)
		return 201;
	mapping = mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, staging, 0);
	if (mapping == MAP_FAILED)
		return 202;
	close(staging);
	more = count_more(argument);
	return more;
}

static void test_limit_of_each_user(void **state)
{
	int file = make_file("file", plain, 1), mine[3], i;

	(void)state;
	assert_int_equal(run("grep -qx 1024 " PARAMETER " && echo 5 >" PARAMETER), 0);
	/* Those of a process that has ended come back. */
	assert_int_equal(as_nobody(count_more, &file), 5);
	assert_int_equal(as_nobody(count_more, &file), 5);
	assert_int_equal(as_nobody(count_of_one, &file), 4);
	for (i = 0; i < 3; i++)
		mine[i] = stage(file, 0);
	assert_int_equal(as_nobody(count_more, &file), 5);
	assert_int_equal(as_root(count_more, &file), 2);
	close(mine[0]);
	assert_int_equal(as_root(count_more, &file), 3);
	assert_int_equal(run("echo 0 >" PARAMETER), 0);
	assert_int_equal(try_stage(file, 0), -EUSERS);
	for (i = 1; i < 3; i++)
		close(mine[i]);
	close(file);
}

static int restore_limit(void **state)
{
	(void)state;
	return run("echo 1024 >" PARAMETER);
}

static int stage_without_descriptors(void *argument)
{
	const struct rlimit none = { 0, 0 };

	if (setrlimit(RLIMIT_NOFILE, &none))
		return 1;
	return try_stage(*(int *)argument, 0) == -EMFILE ? 0 : 2;
}

static void test_no_descriptor_left(void **state)
{
	int file = make_file("file", plain, 1);

	(void)state;
	assert_int_equal(as_nobody(stage_without_descriptors, &file), 0);
	close(file);
}

/* They are files of the file system's, which stay what they are. */
static void test_the_module_goes(void **state)
{
	int file = make_file("file", plain, 1), staging = stage(file, 0), other = stage(file, 0);

	(void)state;
	close(device);
	assert_int_equal(run("rmmod exchrange"), 0);
	assert_int_equal(pwrite(staging, "kept\n", 5, 0), 5);
	assert_true(holds(staging, "kept\n"));
	close(other);
	assert_int_equal(run("modprobe exchrange"), 0);
	device = exchrange_open();
	assert_true(device >= 0);
	assert_int_equal(exchange_whole(staging, file), 0);
	assert_true(holds(file, "kept\n"));
	close(staging);
	close(stage(file, 0));
	close(file);
}

/* Its mount is busy as long as it is there, and nothing of it is left then. */
static void test_nothing_is_left(void **state)
{
	int file, staging, i;

	(void)state;
	enter_scratch(kind->mkfs, "defaults");
	file = make_file("file", plain, 1);
	for (i = 0; i < 50; i++) {
		staging = stage(file, i % 2 ? EXCHRANGE_STAGE_CLONE : 0);
		assert_int_equal(pwrite(staging, "x", 1, i * BLOCK), 1);
		if (i % 3 == 0)
			assert_int_equal(exchange_whole(staging, file), 0);
		if (i)
			close(staging);
	}
	close(staging);
	close(file);
	assert_int_equal(umount(mount_point), -1);
	assert_int_equal(errno, EBUSY);
	/* The first one, which was not closed. */
	for (i = 3; i < 256; i++)
		if (i != device && fcntl(i, F_GETFD) >= 0 && stat_of(i).st_nlink == 0 &&
		    S_ISREG(stat_of(i).st_mode))
			close(i);
	leave_scratch();
}

static struct any_row rows[COUNT(places) + COUNT(attributes) + COUNT(quotas) + COUNT(mountings)];

int main(int argc, char **argv)
{
	static const struct CMUnitTest others[] = {
		cmocka_unit_test(test_what_it_is),
		cmocka_unit_test(test_clone),
		cmocka_unit_test(test_own_ioctl),
		cmocka_unit_test(test_never_a_name),
		cmocka_unit_test(test_directory_does_not_change),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_a_file_that_must_not_change),
		cmocka_unit_test(test_inode_quota),
		cmocka_unit_test(test_file_size_limit),
		cmocka_unit_test(test_clone_where_blocks_are_not_shared),
		cmocka_unit_test(test_user_namespace),
		cmocka_unit_test(test_security_modules),
		cmocka_unit_test_teardown(test_limit_of_each_user, restore_limit),
		cmocka_unit_test(test_no_descriptor_left),
		cmocka_unit_test(test_the_module_goes),
		cmocka_unit_test(test_nothing_is_left),
	};
	static const struct table table = {
		.group		= "staging",
		.rows		= rows,
		.row_size	= sizeof(rows[0]),
		.row_count	= COUNT(rows),
		.test		= test_any_row,
		.others		= others,
		.other_count	= COUNT(others),
	};
	struct any_row *end = rows;

	end = ADD_ROWS(end, places, test_place);
	end = ADD_ROWS(end, attributes, test_attribute);
	end = ADD_ROWS(end, quotas, test_quota);
	ADD_ROWS(end, mountings, test_mount);
	start(argc, argv);
	umask(0);
	return run_table(&table);
}
