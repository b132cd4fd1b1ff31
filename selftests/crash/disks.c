// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <linux/btrfs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "common.h"
#include "disks.h"

/* Sectors; as kind->mkfs_small makes it. */
#define FS_SECTORS	(300 * 2048)

/* How far $SCRATCH_DEV1 has been brought. */
static size_t brought;

static void write_through(int fd)
{
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

void load_disks(void)
{
	assert_int_equal(run("modprobe brd rd_nr=2 rd_size=524288 && "
			     "modprobe dm-snapshot && modprobe dm-log-writes && "
			     "mkdir -p " CRASH_MOUNT), 0);
}

/* What is written to it goes to a RAM disk, by chunks of 8 sectors, for this boot. */
static void make_snapshot(const char *name, const char *memory)
{
	assert_int_equal(run("dmsetup create exchrange-%s --table "
			     "\"0 %d snapshot $SCRATCH_DEV1 %s N 8\"",
			     name, FS_SECTORS, memory), 0);
}

static const char *mount_options(void)
{
	/* A discard of what a crash point still needs would be one more choice. */
	return is_btrfs() ? "nodiscard" : "";
}

void start_recording(void)
{
	brought = 0;
	make_snapshot("work", "/dev/ram0");
	assert_int_equal(run("dmsetup create exchrange-log --table \"0 %d "
			     "log-writes /dev/mapper/exchrange-work $SCRATCH_DEV2\"",
			     FS_SECTORS), 0);
	assert_int_equal(mount("/dev/mapper/exchrange-log", CRASH_MOUNT,
			       kind->name, 0, mount_options()), 0);
}

void mark(const char *format, ...)
{
	char text[64];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	assert_int_equal(run("dmsetup message exchrange-log 0 mark %s", text), 0);
}

void stop_recording(void)
{
	unmount();
	assert_int_equal(run("dmsetup remove --retry exchrange-log && "
			     "dmsetup remove --retry exchrange-work"), 0);
}

void make_point(const struct log *log, struct crash_point point)
{
	const size_t flushed = flushed_before(log, point.end);
	int fd;

	assert_true(flushed >= brought);
	if (flushed > brought) {
		fd = open_path(getenv("SCRATCH_DEV1"), O_WRONLY);
		replay(log, brought, (struct crash_point) { flushed, 0 }, fd);
		write_through(fd);
		brought = flushed;
	}
	make_snapshot("point", "/dev/ram1");
	fd = open_path(POINT_DISK, O_WRONLY);
	replay(log, flushed, point, fd);
	write_through(fd);
}

void drop_point(void)
{
	assert_int_equal(run("dmsetup remove --retry exchrange-point"), 0);
}

/* btrfs remembers the disks that it has seen, and takes an older one for a mistake. */
static void forget_disks(void)
{
	struct btrfs_ioctl_vol_args all = { 0 };
	int fd;

	if (!is_btrfs())
		return;
	fd = open_path("/dev/btrfs-control", O_RDWR);
	ioctl(fd, BTRFS_IOC_FORGET_DEV, &all);
	close(fd);
}

int mount_point_disk(void)
{
	forget_disks();
	return mount(POINT_DISK, CRASH_MOUNT, kind->name, 0, mount_options()) ?
	       errno : 0;
}

void unmount(void)
{
	assert_int_equal(umount(CRASH_MOUNT), 0);
	forget_disks();
}
