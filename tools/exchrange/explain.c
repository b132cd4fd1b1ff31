// SPDX-License-Identifier: GPL-2.0
/*
 * Which file is wrong, how, and what to do.  The call has failed; this and its like look
 * at the files as they are now, and do not guess from the number alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "explain.h"
#include "place.h"

/* --- where a file lies ----------------------------------------------------------- */

void drop_whereabouts(struct whereabouts *place)
{
	free(place->type);
	free(place->source);
	free(place->target);
}

struct search {
	int64_t			id;
	struct whereabouts	*place;
};

static int is_its_mount(const struct exchrange_mount *mount, void *argument)
{
	const struct search *search = argument;

	if (mount->id != search->id)
		return -1;
	search->place->type = strdup(mount->type);
	search->place->source = strdup(mount->source);
	search->place->target = strdup(mount->target);
	return 0;
}

struct whereabouts find_whereabouts(int fd)
{
	struct whereabouts place = { };
	struct search search = { exchrange_mount_of(fd), &place };

	if (search.id >= 0)
		exchrange_each_mount(is_its_mount, &search);
	return place;
}

/* --- a file that cannot be opened ------------------------------------------------ */

/* STATX_ATTR_* of what @path leads to; 0 where that cannot be told. */
uint64_t attributes_of(const char *path)
{
	struct statx st;

	return statx(AT_FDCWD, path, 0, 0, &st) ? 0 : st.stx_attributes;
}

static void explain_not_permitted(const char *path)
{
	uint64_t attributes = attributes_of(path);

	if (attributes & STATX_ATTR_VERITY)
		complain("%s: has fs-verity ('lsattr' shows V) and can never be written to again; write a new file and rename it over this one",
			 path);
	else if (attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND))
		complain("%s: is immutable or append-only; 'chattr -i -a' makes it an ordinary file",
			 path);
	else
		complain("%s: %s; a program that is asked about each access to it (fanotify) may have denied this one",
			 path, strerror(EPERM));
}

/* Whether @path is on one of the lines of /proc/swaps, where blanks are octal too. */
static bool is_swapped_to(const char *path)
{
	FILE *stream = fopen("/proc/swaps", "re");
	struct stat st, its;
	bool found = false;
	char line[PATH_MAX + 100];

	if (!stream || stat(path, &its))
		its.st_ino = 0;
	while (stream && !found && fgets(line, sizeof(line), stream)) {
		line[strcspn(line, " \t\n")] = '\0';
		exchrange_decode(line);
		found = stat(line, &st) == 0 && st.st_dev == its.st_dev &&
			st.st_ino == its.st_ino;
	}
	if (stream)
		fclose(stream);
	return found;
}

/* True, and said, where somebody holds @path. */
static bool explain_holder(const char *path)
{
	struct exchrange_query query = { .fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) };
	int device = exchrange_open();
	bool held;

	held = query.fd >= 0 && exchrange_query(device, &query) == 0 && query.holds;
	if (held && query.holder)
		complain("%s: is held by process %d ('exchrange hold'), and cannot be written to until that ends",
			 path, query.holder);
	else if (held)
		complain("%s: is held ('exchrange hold') by a process that is not seen from here, and cannot be written to until that ends",
			 path);
	if (query.fd >= 0)
		close(query.fd);
	if (device >= 0)
		close(device);
	return held;
}

static void explain_limit(const char *path)
{
	struct rlimit limit = { };

	getrlimit(RLIMIT_NOFILE, &limit);
	complain("%s: a process may have %llu files open, and has; name fewer at once, or raise that with 'ulimit -n'",
		 path, (unsigned long long)limit.rlim_cur);
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
		explain_not_permitted(path);
		break;
	case EWOULDBLOCK:
		complain("%s: somebody has a lease of it (Samba, an NFS server) and does not give it up",
			 path);
		break;
	case EMFILE:
		explain_limit(path);
		break;
	case ELOOP:
		complain("%s: its symbolic links lead to no end", path);
		break;
	case ETXTBSY:
		if (is_swapped_to(path))
			complain("%s: is a swap file in use; 'swapoff' ends that",
				 path);
		else if (!explain_holder(path))
			complain("%s: is a program that is running", path);
		break;
	case EROFS:
		complain("%s: is on a read-only file system, or in a read-only subvolume; make it writable ('mount -o remount,rw', 'btrfs property set SUBVOLUME ro false')",
			 path);
		break;
	default:
		complain("%s: %s", path, strerror(error));
	}
}

/* --- no back end ----------------------------------------------------------------- */

/* Nothing else than the device is missing, as in containers and services. */
static bool is_loaded(void)
{
	return access("/sys/module/exchrange", F_OK) == 0;
}

const char *how_to_get_the_device(int device_error)
{
	if (device_error == EPERM || device_error == EACCES)
		return "'--device /dev/exchrange' lets a container open it, 'DeviceAllow=/dev/exchrange rw' a service";
	if (is_loaded())
		return "'--device /dev/exchrange' brings it into a container, 'PrivateDevices=no' into a service";
	return "load it with 'modprobe exchrange', and in a container name it with '--device /dev/exchrange'";
}

/* @done: what the file cannot be then. */
void explain_no_device(const char *path, const char *done,
			      int device_error)
{
	bool missing = device_error == ENOENT || device_error == ENXIO ||
		       device_error == ENODEV;

	if (missing && is_loaded())
		complain("%s: cannot be %s here: the module is loaded, and /dev/exchrange is not there; %s",
			 path, done, how_to_get_the_device(device_error));
	else if (device_error == EPERM || device_error == EACCES)
		complain("%s: cannot be %s here: /dev/exchrange may not be opened; %s",
			 path, done, how_to_get_the_device(device_error));
	else if (missing)
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
	struct whereabouts place = find_whereabouts(fd);
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
	case EXCHRANGE_REASON_OVERLAY_UPPER:
		complain("%s: is on an overlay whose upper layer is on a file system that has no back end; put 'upperdir' on XFS or btrfs ('findmnt -no OPTIONS %s' tells where it is)",
			 path, target);
		break;
	case EXCHRANGE_REASON_OVERLAY_READ_ONLY:
		complain("%s: is on an overlay without an upper layer, where no file can be changed", path);
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
	drop_whereabouts(&place);
}

/* A module without XFS's private functions, for this reason: see uapi.md. */
void explain_no_to_eof(const char *path, uint32_t reason)
{
	const char *remedy = "'apt-get install bpftool' and build it again for this kernel";

	if (reason == EXCHRANGE_REASON_UNTESTED)
		remedy = "it has not been tested with this kernel, and 'make UNTESTED=1' builds all of it";
	complain("%s: files of unequal length cannot be swapped safely on XFS by this build of the module, a crash could cut the longer one; %s ('dmesg | grep exchrange' may say more)",
		 path, remedy);
}

/* What all calls that give a descriptor have in common; true, and said, where it was that. */
static bool explain_call(const char *path, int fd, int device, int error, const char *what)
{
	struct exchrange_query query = { .fd = fd };

	switch (error) {
	case EOPNOTSUPP:
		if (exchrange_query(device, &query))
			return false;
		explain_no_backend(path, fd, query.reason, 0);
		return true;
	case ENOTTY:
		complain("%s: the module that is loaded is too old for %s; 'modprobe -r exchrange' and 'modprobe exchrange' load the one that is installed",
			 path, what);
		return true;
	case EMFILE:
		explain_limit(path);
		return true;
	}
	return false;
}

/* exchrange_watch_open() failed for @path, open as @fd. */
void explain_watch(const char *path, int fd, int device, int device_error,
		   int error)
{
	if (device < 0)
		explain_no_device(path, "watched", device_error);
	else if (explain_call(path, fd, device, error, "watches"))
		return;
	else if (error == ENOSPC)
		complain("%s: you have as many watches as a user may have; root can raise that in /sys/module/exchrange/parameters/watches_max_user",
			 path);
	else
		complain("%s: cannot be watched: %s", path, strerror(error));
}

/* exchrange_hold() failed for @path, open as @fd. */
void explain_hold(const char *path, int fd, int device, int device_error, int error)
{
	if (device < 0)
		explain_no_device(path, "held", device_error);
	else if (explain_call(path, fd, device, error, "holds"))
		return;
	else if (error == ETXTBSY && !is_swapped_to(path))
		complain("%s: somebody has it open for writing; 'fuser -v' or 'lsof' tells who", path);
	else if (error == EACCES || error == EPERM || error == EROFS)
		complain("%s: only who may write to a file may hold it: %s", path, strerror(error));
	else if (error == EUSERS)
		complain("%s: you have as many holds as a user may have; root can raise that in /sys/module/exchrange/parameters/holds_max_user",
			 path);
	else
		complain("%s: cannot be held: %s", path, strerror(error));
}
