// SPDX-License-Identifier: GPL-2.0
/*
 * What an errno of the device means here: which file, what is wrong with it, and
 * what to do.  The call has failed; this looks at the files as they are now.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libmount/libmount.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"

/* Where a file lies: strings to free(), or NULL. */
struct place {
	char *type;	/* of the file system */
	char *source;	/* the device it is on */
	char *target;	/* where that is mounted */
};

static void free_place(struct place *place)
{
	free(place->type);
	free(place->source);
	free(place->target);
}

static char *copy(const char *text)
{
	return text ? strdup(text) : NULL;
}

static struct place find_place(int fd)
{
	struct place place = { };
	struct libmnt_table *table;
	struct libmnt_iter *iter;
	struct libmnt_fs *fs;
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) ||
	    !(st.stx_mask & STATX_MNT_ID))
		return place;

	table = mnt_new_table_from_file("/proc/self/mountinfo");
	iter = mnt_new_iter(MNT_ITER_FORWARD);
	while (table && iter && mnt_table_next_fs(table, iter, &fs) == 0) {
		if ((uint64_t)mnt_fs_get_id(fs) != st.stx_mnt_id)
			continue;
		place.type = copy(mnt_fs_get_fstype(fs));
		place.source = copy(mnt_fs_get_source(fs));
		place.target = copy(mnt_fs_get_target(fs));
		break;
	}
	mnt_free_iter(iter);
	mnt_unref_table(table);
	return place;
}

/* @path could not be opened, or is not what can be swapped. */
void explain_open(const char *path, int error)
{
	switch (error) {
	case ENOENT:
		complain("%s: no such file", path);
		break;
	case EISDIR:
		complain("%s: is a directory; name a file", path);
		break;
	case EINVAL:
	case ENXIO:
	case ENODEV:
		complain("%s: is not a regular file", path);
		break;
	case EACCES:
		complain("%s: permission denied; it takes the right to read and to write",
			 path);
		break;
	case EPERM:
		complain("%s: is immutable or append-only, and 'chattr -i -a' makes it an ordinary file; or a program that is asked about each access to it (fanotify) denied this one",
			 path);
		break;
	case ETXTBSY:
		complain("%s: is a swap file in use ('swapoff' ends that) or a program that is running",
			 path);
		break;
	case EROFS:
		complain("%s: is on a read-only file system, or in a read-only subvolume; make it writable ('mount -o remount,rw', 'btrfs property set SUBVOLUME ro false')",
			 path);
		break;
	default:
		complain("%s: %s", path, strerror(error));
	}
}

/* @done: what the file cannot be then. */
static void explain_no_device(const char *path, const char *done,
			      int device_error)
{
	if (device_error == ENOENT || device_error == ENXIO ||
	    device_error == ENODEV)
		complain("%s: cannot be %s without the module, and /dev/exchrange is not there; load it with 'modprobe exchrange'",
			 path, done);
	else
		complain("%s: cannot be %s without the module, and /dev/exchrange cannot be opened: %s",
			 path, done, strerror(device_error));
}

/* exchrange_query() found no back end for @path, open as @fd. */
void explain_no_backend(const char *path, int fd, uint32_t reason,
			int device_error)
{
	struct place place = find_place(fd);
	const char *type = place.type ? place.type : "this file system";
	const char *source = place.source ? place.source : "DEVICE";
	const char *target = place.target ? place.target : "MOUNTPOINT";

	/* The module could do what XFS alone cannot. */
	if (device_error && (reason == EXCHRANGE_REASON_XFS_FEATURE ||
			     reason == EXCHRANGE_REASON_XFS_KERNEL))
		reason = EXCHRANGE_REASON_NO_DEVICE;

	switch (reason) {
	case EXCHRANGE_REASON_NO_DEVICE:
		explain_no_device(path, "swapped", device_error);
		break;
	case EXCHRANGE_REASON_XFS_FEATURE:
		complain("%s: this XFS was made without 'exchange', and the module was built without its own way; 'apt-get install bpftool' and build it again for this kernel ('dmesg | grep exchrange' may say more), or turn it on with 'umount %s', 'xfs_admin -O exchange=1 %s' and mount it again (it must be unmounted, and kernels before 6.10 cannot mount it afterwards)",
			 path, target, source);
		break;
	case EXCHRANGE_REASON_XFS_KERNEL:
		complain("%s: this kernel's XFS cannot swap ranges, which takes Linux 6.10 or newer, and the module does not know this XFS well enough to do it alone ('dmesg | grep exchrange' may say more)",
			 path);
		break;
	case EXCHRANGE_REASON_BUILD:
		complain("%s: the module was built without its %s back end; 'apt-get install bpftool' and build it again",
			 path, type);
		break;
	case EXCHRANGE_REASON_BTF:
		complain("%s: the module was built for another %s than the one that is loaded; build it again for this kernel",
			 path, type);
		break;
	case EXCHRANGE_REASON_SYMBOL:
		complain("%s: the %s of this kernel lacks a function that the module needs; 'dmesg | grep exchrange' says which",
			 path, type);
		break;
	case EXCHRANGE_REASON_XFS_REALTIME:
		complain("%s: it is on the realtime device, whose files only XFS's own ioctl can swap; that takes an XFS made with '-i exchange=1'",
			 path);
		break;
	case EXCHRANGE_REASON_XFS_FORMAT:
		complain("%s: this XFS is of a format that the module does not know (an old one without checksums, or with features that are newer than the module); 'xfs_info %s' tells",
			 path, target);
		break;
	case EXCHRANGE_REASON_UNTESTED:
		complain("%s: the module was built without its %s back end, which has not been tested with this kernel; 'make UNTESTED=1' builds it all the same",
			 path, type);
		break;
	case EXCHRANGE_REASON_LOOKUP:
		complain("%s: the module finds no functions of %s in this kernel, which was built without kprobes or without kallsyms",
			 path, type);
		break;
	case EXCHRANGE_REASON_BTRFS_FORMAT:
		complain("%s: this btrfs has a feature that the module does not know (zoned, or one that is newer than the module); 'btrfs inspect-internal dump-super %s' tells",
			 path, source);
		break;
	default:
		complain("%s: there is no back end for %s (mounted on %s), only for XFS and btrfs",
			 path, type, target);
	}
	free_place(&place);
}

/* A module without XFS's private functions, for this reason: see uapi.md. */
static void explain_no_to_eof(const char *path, uint32_t reason)
{
	const char *remedy = "'apt-get install bpftool' and build it again for this kernel";

	if (reason == EXCHRANGE_REASON_UNTESTED)
		remedy = "it has not been tested with this kernel, and 'make UNTESTED=1' builds all of it";
	complain("%s: files of unequal length cannot be swapped safely on XFS by this build of the module, a crash could cut the longer one; %s ('dmesg | grep exchrange' may say more)",
		 path, remedy);
}

/* True, and said, where one of the two files has no back end for this swap. */
static bool explain_backends(const struct swap *swap)
{
	const char *paths[] = { swap->path1, swap->path2 };
	int fds[] = { swap->range.file1_fd, swap->range.file2_fd };
	int i;

	for (i = 0; i < 2; i++) {
		struct exchrange_query query = { .fd = fds[i] };

		if (exchrange_query(swap->device, &query))
			continue;
		if (query.backend == EXCHRANGE_BACKEND_NONE) {
			explain_no_backend(paths[i], fds[i], query.reason,
					   swap->device_error);
			return true;
		}
		if (swap->range.flags & ~query.flags & EXCHRANGE_TO_EOF) {
			explain_no_to_eof(paths[i], query.reason);
			return true;
		}
	}
	return false;
}

/*
 * The path of the file that alone makes the file system answer @error: a dry run
 * of nothing with itself tells.  "one of the files" where neither does.
 */
static const char *culprit(const struct swap *swap, int error)
{
	const char *paths[] = { swap->path1, swap->path2 };
	int fds[] = { swap->range.file1_fd, swap->range.file2_fd };
	int i;

	for (i = 0; i < 2; i++) {
		struct exchrange_range nothing = {
			.file1_fd	= fds[i],
			.file2_fd	= fds[i],
			.flags		= EXCHRANGE_DRY_RUN,
		};

		if (exchrange_exchange(swap->device, &nothing) &&
		    errno == error)
			return paths[i];
	}
	return "one of the files";
}

/* One side of a swap, for the checks of its range. */
struct side {
	const char *path;
	uint64_t offset;
	uint64_t size;
	int number;	/* of --offset1 and --offset2 */
};

static bool explain_side(const struct side *side, uint64_t length, bool to_eof,
			 uint32_t alignment)
{
	if (side->offset > side->size) {
		complain("%s: --offset%d %" PRIu64 " is past its end; it has %" PRIu64 " bytes",
			 side->path, side->number, side->offset, side->size);
		return true;
	}
	if (!to_eof && length > side->size - side->offset) {
		complain("%s: --length %" PRIu64 " from byte %" PRIu64 " goes past its end; it has %" PRIu64 " bytes (without --length, all to the ends of both files is swapped)",
			 side->path, length, side->offset, side->size);
		return true;
	}
	if (alignment && side->offset % alignment) {
		complain("%s: --offset%d %" PRIu64 " is not a multiple of %u, the unit of this file system",
			 side->path, side->number, side->offset, alignment);
		return true;
	}
	return false;
}

/* Two ranges of one file share a byte. */
static bool is_overlap(const struct side *side1, const struct side *side2,
		       uint64_t length)
{
	uint64_t distance = side1->offset > side2->offset ?
			    side1->offset - side2->offset :
			    side2->offset - side1->offset;

	return distance < length;
}

/* The ranges as the file system sees them: sizes and units as they are now. */
static void explain_ranges(const struct swap *swap)
{
	const struct exchrange_range *range = &swap->range;
	struct exchrange_query query = { .fd = range->file2_fd };
	bool to_eof = range->flags & EXCHRANGE_TO_EOF;
	struct stat st1, st2;
	struct side side1 = { swap->path1, range->file1_offset, 0, 1 };
	struct side side2 = { swap->path2, range->file2_offset, 0, 2 };

	if (fstat(range->file1_fd, &st1) || fstat(range->file2_fd, &st2))
		return complain("%s: %s", swap->path1, strerror(errno));
	side1.size = st1.st_size;
	side2.size = st2.st_size;
	/* Without the unit the message is poorer, and still right. */
	if (exchrange_query(swap->device, &query))
		query.alignment = 0;
	if (explain_side(&side1, range->length, to_eof, query.alignment) ||
	    explain_side(&side2, range->length, to_eof, query.alignment))
		return;

	if (st1.st_dev == st2.st_dev && st1.st_ino == st2.st_ino &&
	    (to_eof || is_overlap(&side1, &side2, range->length)))
		return complain("%s and %s are one file, and the two ranges overlap",
				swap->path1, swap->path2);
	if (!to_eof && query.alignment && range->length % query.alignment)
		return complain("--length %" PRIu64 " is not a multiple of %u, the unit of this file system, and does not end at the end of both files",
				(uint64_t)range->length, query.alignment);
	if (query.backend == EXCHRANGE_BACKEND_BTRFS)
		return complain("%s and %s: one of them has checksums and the other has none ('lsattr' shows C); copy one with 'cp --reflink=never' to a new file that is like the other",
				swap->path1, swap->path2);
	complain("%s and %s: the file system does not swap these ranges with each other",
		 swap->path1, swap->path2);
}

static void explain_mounts(const struct swap *swap)
{
	struct place place1 = find_place(swap->range.file1_fd);
	struct place place2 = find_place(swap->range.file2_fd);

	complain("%s (on %s) and %s (on %s) are not on the same mount; copy one of them next to the other first",
		 swap->path1, place1.target ? place1.target : "one mount",
		 swap->path2, place2.target ? place2.target : "another");
	free_place(&place1);
	free_place(&place2);
}

/* An O_DIRECT read into a mapping has not ended; or file2 has changed. */
static void explain_busy(const struct swap *swap)
{
	if (swap->commit)
		complain("%s: has changed since start-commit, or a device is writing to a mapping of it; nothing was swapped",
			 swap->path2);
	else
		complain("%s or %s: a device is writing to a mapping of it; nothing was swapped, try again when that has ended",
			 swap->path1, swap->path2);
}

/* A swap failed with @error: says why, and what to do. */
void explain_swap(const struct swap *swap, int error)
{
	switch (error) {
	case EINVAL:
		explain_ranges(swap);
		break;
	case EXDEV:
		explain_mounts(swap);
		break;
	case EOPNOTSUPP:
		if (!explain_backends(swap))
			complain("%s: the file system does not support this swap",
				 swap->path2);
		break;
	case EPERM:
	case ETXTBSY:
	case EROFS:
		explain_open(culprit(swap, error), error);
		break;
	case EACCES:
		complain("%s and %s: a security module does not let you read, write or truncate one of them (Landlock: LANDLOCK_ACCESS_FS_TRUNCATE)",
			 swap->path1, swap->path2);
		break;
	case EFBIG:
		complain("%s: the swap would pass the file size limit; raise it with 'ulimit -f'",
			 swap->path2);
		break;
	case ENOSPC:
		complain("%s: no space left on its file system for the swap's metadata; free some",
			 swap->path2);
		break;
	case EDQUOT:
		complain("%s: the swap would exceed the quota of its owner or of %s's; free some space or raise the limit",
			 swap->path2, swap->path1);
		break;
	case EIO:
		complain("%s and %s: I/O error; look at both before you try again, for the swap may have been finished after all",
			 swap->path1, swap->path2);
		break;
	case EBUSY:
		explain_busy(swap);
		break;
	case E2BIG:
		complain("%s: the files have more extents than one transaction can hold; swap smaller ranges, or defragment them",
			 swap->path2);
		break;
	default:
		complain("%s and %s: %s", swap->path1, swap->path2,
			 strerror(error));
	}
}

/* Why there could be no update, as far as QUERY knows. */
static void explain_update_unsupported(const struct target *target)
{
	struct exchrange_query query = {
		.fd = open(target->path, O_RDONLY | O_CLOEXEC | O_NOCTTY |
			   O_NONBLOCK),
	};

	if (query.fd < 0 || exchrange_query(target->device, &query)) {
		complain("%s: its file system has no unnamed files (O_TMPFILE); --fallback=rename makes 'write' replace the file the old way",
			 target->path);
	} else if (query.backend == EXCHRANGE_BACKEND_NONE) {
		explain_no_backend(target->path, query.fd, query.reason,
				   target->device_error);
		if (target->can_rename && !target->device_error)
			complain("%s: --fallback=rename would replace it the old way",
				 target->path);
	} else {
		explain_no_to_eof(target->path, query.reason);
	}
	if (query.fd >= 0)
		close(query.fd);
}

/* The file may be read and written, so it is its directory that may not be. */
static void explain_update_access(const struct target *target)
{
	if (target->staging)
		complain("%s: no right to make a staging file there; --staging takes a directory that you may write to",
			 target->staging);
	else if (access(target->path, R_OK | W_OK) == 0)
		complain("%s: no right to make a staging file in its directory; name another one of the same mount with --staging",
			 target->path);
	else if (access(target->path, F_OK) == 0)
		explain_open(target->path, EACCES);
	else
		complain("%s: permission denied; making it takes the right to write to its directory",
			 target->path);
}

/* A file that is to be made takes its directory. */
static void explain_update_missing(const struct target *target, int error)
{
	const char *path = target->path, *slash = strrchr(path, '/');
	int length = slash ? (int)(slash + 1 - path) : 1;
	char *directory = strndup(slash ? path : ".", length);

	if (target->staging && access(path, F_OK) == 0)
		complain("%s: no such directory; --staging takes one on the mount of %s",
			 target->staging, path);
	else if (error == ENOENT && directory && access(directory, F_OK))
		complain("%s: no such directory; make %s first", path, directory);
	else
		explain_open(path, error);
	free(directory);
}

/* An update failed with @error: says why, and what to do. */
void explain_update(const struct target *target, int error)
{
	const char *path = target->path;
	struct stat st;

	switch (error) {
	case EOPNOTSUPP:
		explain_update_unsupported(target);
		break;
	case EACCES:
		explain_update_access(target);
		break;
	case EXDEV:
		if (target->staging)
			complain("%s: is not on the same mount as %s; --staging takes a directory that is",
				 target->staging, path);
		else
			complain("%s: is mounted by itself, and no other mount shows it with its directory; write it from where that is seen, or mount the directory instead",
				 path);
		break;
	case ENOENT:
	case ENOTDIR:
		explain_update_missing(target, error);
		break;
	case EBUSY:
		complain("%s: has changed meanwhile, or a device is writing to a mapping of it; nothing was written",
			 path);
		break;
	case EAGAIN:
		complain("%s: changes all the time; end what writes to it first",
			 path);
		break;
	case ELOOP:
		complain("%s: is a symbolic link, or there are too many; without --no-follow one is followed",
			 path);
		break;
	case ENOSPC:
		complain("%s: no space left on its file system; free some", path);
		break;
	case EDQUOT:
		complain("%s: it would exceed a quota; free some space or raise the limit",
			 path);
		break;
	case EFBIG:
		complain("%s: it would pass the file size limit; raise it with 'ulimit -f'",
			 path);
		break;
	case EIO:
		complain("%s: I/O error; look at the file before you try again, for it may have been written after all",
			 path);
		break;
	case EINVAL:
		if (stat(path, &st) || !S_ISREG(st.st_mode))
			explain_open(path, error);
		else
			complain("%s: cannot be exchanged with a file that is made now; on btrfs one has checksums and the other has none (mount option 'nodatasum')",
				 path);
		break;
	default:
		explain_open(path, error);
	}
}

/* exchrange_watch_open() failed for @path, open as @fd. */
void explain_watch(const char *path, int fd, int device, int device_error,
		   int error)
{
	struct exchrange_query query = { .fd = fd };

	if (device < 0) {
		explain_no_device(path, "watched", device_error);
		return;
	}
	switch (error) {
	case EOPNOTSUPP:
		if (exchrange_query(device, &query) == 0) {
			explain_no_backend(path, fd, query.reason, 0);
			return;
		}
		break;
	case ENOTTY:
		complain("%s: the module that is loaded is too old for watches; 'modprobe -r exchrange' and 'modprobe exchrange' load the one that is installed",
			 path);
		return;
	case ENOSPC:
		complain("%s: you have as many watches as a user may have; root can raise that in /sys/module/exchrange/parameters/watches_max_user",
			 path);
		return;
	}
	complain("%s: cannot be watched: %s", path, strerror(error));
}
