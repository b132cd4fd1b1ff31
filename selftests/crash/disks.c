// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <ftw.h>
#include <linux/btrfs.h>
#include <linux/dm-ioctl.h>
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

char point_disk[32];

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

static const char *mount_options(void)
{
	/* A discard of what a crash point still needs would be one more choice. */
	return is_btrfs() ? "nodiscard" : "";
}

/*
 * What is done for each crash point and each exchange: a dmsetup each time would take a
 * third of all the time.
 */
struct dm_call {
	struct dm_ioctl			head;
	union {
		struct {
			struct dm_target_spec	target;
			char			parameters[128];
		};
		struct {
			struct dm_target_msg	message;
			char			text[64];
		};
	};
};

static int device_mapper(const char *name, unsigned long command,
			 struct dm_call *call)
{
	static int control = -1;

	if (control < 0)
		control = open_path("/dev/" DM_DIR "/" DM_CONTROL_NODE, O_RDWR);
	call->head.version[0] = DM_VERSION_MAJOR;
	call->head.data_size = sizeof(*call);
	call->head.data_start = offsetof(struct dm_call, target);
	snprintf(call->head.name, sizeof(call->head.name), "exchrange-%s", name);
	return ioctl(control, command, call) ? errno : 0;
}

void start_recording(const char *options)
{
	char all[128];

	snprintf(all, sizeof(all), "%s%s%s", mount_options(), options ? "," : "",
		 options ? options : "");
	brought = 0;
	/* What is written to a snapshot goes to a RAM disk, by chunks of 8 sectors. */
	assert_int_equal(run("dmsetup create exchrange-work --table "
			     "\"0 %d snapshot $SCRATCH_DEV1 /dev/ram0 N 8\"",
			     FS_SECTORS), 0);
	assert_int_equal(run("dmsetup create exchrange-log --table \"0 %d "
			     "log-writes /dev/mapper/exchrange-work $SCRATCH_DEV2\"",
			     FS_SECTORS), 0);
	assert_int_equal(mount("/dev/mapper/exchrange-log", CRASH_MOUNT,
			       kind->name, 0, all), 0);
}

void mark(const char *format, ...)
{
	struct dm_call call = { .text = "mark " };
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(call.text + 5, sizeof(call.text) - 5, format, arguments);
	va_end(arguments);
	assert_int_equal(device_mapper("log", DM_TARGET_MSG, &call), 0);
}

void stop_recording(void)
{
	unmount();
	assert_int_equal(run("dmsetup remove --retry exchrange-log && "
			     "dmsetup remove --retry exchrange-work"), 0);
}

static void make_point_disk(void)
{
	struct dm_call call = { };

	assert_int_equal(device_mapper("point", DM_DEV_CREATE, &call), 0);
	/* As the kernel encodes it: the low byte is the minor's. */
	snprintf(point_disk, sizeof(point_disk), "/dev/dm-%u",
		 (unsigned int)call.head.dev & 0xff);

	call = (struct dm_call) {
		.head.target_count	= 1,
		.target.length		= FS_SECTORS,
		.target.target_type	= "snapshot",
	};
	snprintf(call.parameters, sizeof(call.parameters), "%s /dev/ram1 N 8",
		 getenv("SCRATCH_DEV1"));
	assert_int_equal(device_mapper("point", DM_TABLE_LOAD, &call), 0);
	call = (struct dm_call) { };
	/* Not suspended: resumed. */
	assert_int_equal(device_mapper("point", DM_DEV_SUSPEND, &call), 0);
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
	make_point_disk();
	fd = open_path(point_disk, O_WRONLY);
	replay(log, flushed, point, fd);
	write_through(fd);
}

void drop_point(void)
{
	unsigned int tries;
	int error;

	/* Whoever has just closed it may still hold it. */
	for (tries = 0; tries < 500; tries++) {
		struct dm_call call = { };

		error = device_mapper("point", DM_DEV_REMOVE, &call);
		if (error != EBUSY)
			break;
		usleep(10000);
	}
	assert_int_equal(error, 0);
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
	return mount(point_disk, CRASH_MOUNT, kind->name, 0, mount_options()) ?
	       errno : 0;
}

void unmount(void)
{
	assert_int_equal(umount(CRASH_MOUNT), 0);
	forget_disks();
}

/* In two steps, so that what is left of a block map is cut and then freed. */
static int cut_in_two(const char *path, off_t size)
{
	return truncate(path, size / 2) || truncate(path, 0);
}

static int remove_file(const char *path, const struct stat *st, int type,
		       struct FTW *place)
{
	static unsigned int count;

	(void)place;
	if (type != FTW_F)
		return 0;
	if ((count++ % 2 && cut_in_two(path, st->st_size)) || unlink(path)) {
		int error = errno;

		print_message("# %s cannot be removed: %s\n", path, strerror(error));
		return error;
	}
	return 0;
}

int remove_files(void)
{
	int error = nftw(CRASH_MOUNT, remove_file, 16, FTW_PHYS);
	int fd;

	if (error)
		return error < 0 ? errno : error;
	fd = open_path(CRASH_MOUNT, O_RDONLY);
	error = syncfs(fd) ? errno : 0;
	close(fd);
	return error;
}

bool kernel_complains(void)
{
	static int fd = -1;
	bool found = false;
	char line[2048];
	ssize_t length;

	if (fd < 0) {
		fd = open_path("/dev/kmsg", O_RDONLY | O_NONBLOCK);
		assert_true(lseek(fd, 0, SEEK_END) >= 0);
	}
	/* EPIPE: some were overwritten. */
	while ((length = read(fd, line, sizeof(line) - 1)) > 0 || errno == EPIPE) {
		if (length <= 0)
			continue;
		line[length] = 0;
		/* The level is in the lower bits: 3 is KERN_ERR. */
		if (found || (strtoul(line, NULL, 10) & 7) > 3)
			continue;
		print_message("# the kernel says: %s", strchr(line, ';') + 1);
		found = true;
	}
	return found;
}
