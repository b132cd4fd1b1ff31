// SPDX-License-Identifier: GPL-2.0
/*
 * fsync_after_exchange: on each of several file systems, an exchange, then an fsync of one
 * file that a file system might log without the other, then the power goes.  When it is
 * back, each pair is wholly old or wholly new.
 *
 *	fsync_after_exchange cut	never returns
 *	fsync_after_exchange check	TAP
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "common.h"

#define OLD_SIZE	(40 * BLOCK + 100)
#define NEW_SIZE	(25 * BLOCK + 700)

enum synced { FILE1, FILE2, UNRELATED };

static const struct scene {
	const char	*name;
	const char	*mkfs;		/* NULL: the guest has made it */
	const char	*device;
	const char	*mount_point;
	enum synced	synced;
} scenes[] = {
	{ "XFS, fsync of file1", NULL, "/dev/vdb", "/mnt/xfs", FILE1 },
	{ "btrfs, fsync of file1", NULL, "/dev/vdc", "/mnt/btrfs", FILE1 },
	{ "btrfs, fsync of file2", "mkfs.btrfs -q -f", "/dev/vdd",
	  "/mnt/scratch1", FILE2 },
	{ "btrfs, fsync of an unrelated file", "mkfs.btrfs -q -f", "/dev/vde",
	  "/mnt/scratch2", UNRELATED },
};

/* Written and logged before, so that there is a log to go wrong. */
static int make_logged(const char *name, uint64_t size, unsigned int seed)
{
	const struct file_spec spec = { SHAPE_PLAIN, size };
	int fd = make_file(name, spec, seed);

	assert_int_equal(fsync(fd), 0);
	return fd;
}

static void touch_and_sync(int fd)
{
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, 0), 1);
	assert_int_equal(pwrite(fd, &byte, 1, 0), 1);
	assert_int_equal(fsync(fd), 0);
}

static void act(const struct scene *scene)
{
	struct exchrange_range range = { .flags = EXCHRANGE_TO_EOF };
	int unrelated;

	mount_point = scene->mount_point;
	if (scene->mkfs)
		assert_int_equal(run("%s %s && mkdir -p %s && mount %s %s",
				     scene->mkfs, scene->device, mount_point,
				     scene->device, mount_point), 0);
	range.file1_fd = make_logged("file1", NEW_SIZE, 1);
	range.file2_fd = make_logged("file2", OLD_SIZE, 2);
	unrelated = make_logged("unrelated", 5000, 3);
	assert_int_equal(run("sync -f %s", mount_point), 0);
	touch_and_sync(range.file1_fd);
	touch_and_sync(range.file2_fd);
	touch_and_sync(unrelated);

	assert_int_equal(device_exchange(&range), 0);
	switch (scene->synced) {
	case FILE1:
		assert_int_equal(fsync(range.file1_fd), 0);
		break;
	case FILE2:
		assert_int_equal(fsync(range.file2_fd), 0);
		break;
	case UNRELATED:
		touch_and_sync(unrelated);
		break;
	}
}

/* The seed of its contents, or 0 for anything that no file was meant to be. */
static unsigned int seed_of(const char *name)
{
	int fd = open_path(path_of(name), O_RDONLY);
	struct picture picture = take_picture(fd);
	unsigned int seed = picture.size == NEW_SIZE ? 1 :
			    picture.size == OLD_SIZE ? 2 : 0;
	uint64_t i;

	for (i = 0; seed && i < picture.size; i++)
		if (picture.bytes[i] != content_byte(seed, i))
			seed = 0;
	drop_picture(&picture);
	close(fd);
	return seed;
}

static void test_scene(void **state)
{
	const struct scene *scene = *state;
	unsigned int seed1, seed2;

	mount_point = scene->mount_point;
	if (scene->mkfs)
		assert_int_equal(run("mkdir -p %s && mount %s %s", mount_point,
				     scene->device, mount_point), 0);
	seed1 = seed_of("file1");
	seed2 = seed_of("file2");
	print_message("# file1 has contents %u, file2 %u\n", seed1, seed2);
	/* An fsync of one of the two has made the exchange durable. */
	if (scene->synced != UNRELATED)
		assert_true(seed1 == 2 && seed2 == 1);
	assert_true((seed1 == 1 && seed2 == 2) || (seed1 == 2 && seed2 == 1));
}

int main(int argc, char **argv)
{
	static const struct table table = {
		.group		= "fsync after an exchange",
		.rows		= scenes,
		.row_size	= sizeof(scenes[0]),
		.row_count	= COUNT(scenes),
		.test		= test_scene,
	};
	size_t i;

	device = exchrange_open();
	if (device < 0 || argc != 2)
		return 2;
	if (!strcmp(argv[1], "check"))
		return run_table(&table);

	for (i = 0; i < COUNT(scenes); i++)
		act(&scenes[i]);
	run("echo b >/proc/sysrq-trigger");
	sleep(60);
	return 1;
}
