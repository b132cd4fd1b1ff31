// SPDX-License-Identifier: GPL-2.0
/*
 * QUERY: what it says of a file is what an exchange of that file does.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common.h"

static const struct file_spec plain = { SHAPE_PLAIN, 64 * 1024 };

static int query(int fd, struct exchrange_query *query)
{
	memset(query, 0, sizeof(*query));
	query->fd = fd;
	return ioctl(device, EXCHRANGE_IOC_QUERY, query) ? errno : 0;
}

/* The answer has no back end, for this reason, and nothing else. */
static void assert_none(int fd, uint32_t reason)
{
	struct exchrange_query answer;

	assert_int_equal(query(fd, &answer), 0);
	assert_int_equal(answer.backend, EXCHRANGE_BACKEND_NONE);
	assert_int_equal(answer.reason, reason);
	assert_int_equal(answer.alignment, 0);
	assert_int_equal(answer.flags, 0);
}

static void make_scratch(const char *mkfs, const char *mount_options)
{
	assert_int_equal(run("mkdir -p " SCRATCH " && %s && mount -o \"%s\" $SCRATCH_DEV1 " SCRATCH,
			     mkfs, mount_options), 0);
}

static void end_scratch(void)
{
	assert_int_equal(run("umount " SCRATCH), 0);
}

static void assert_exchange(int error, int fd1, int fd2, uint64_t offset1,
			    uint64_t length)
{
	struct exchrange_range range = {
		.file1_fd	= fd1,
		.file2_fd	= fd2,
		.file1_offset	= offset1,
		.length		= length,
		.flags		= EXCHRANGE_DRY_RUN,
	};

	assert_int_equal(device_exchange(&range), error);
}

/* A unit of that many bytes can be exchanged, and nothing smaller. */
static void assert_alignment(int fd1, int fd2, uint32_t alignment)
{
	struct exchrange_query answer;

	assert_int_equal(query(fd2, &answer), 0);
	assert_int_equal(answer.alignment, alignment);
	assert_exchange(0, fd1, fd2, alignment, alignment);
	assert_exchange(EINVAL, fd1, fd2, alignment / 2, alignment);
	assert_exchange(EINVAL, fd1, fd2, 0, alignment / 2);
}

/* An all-zero page at address 0 is no request: a query only asks. */
static void test_query_reads_nothing_at_address_zero(void **state)
{
	struct exchrange_query answer;
	struct stat before, after;
	int fd = make_file("file2", plain, 2);
	void *zero;

	(void)state;
	zero = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE,
		    MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_int_equal((uintptr_t)zero, 0);
	/* The request that lies there names descriptor 0: file2 itself. */
	assert_int_equal(dup2(fd, 0), 0);
	assert_int_equal(fstat(fd, &before), 0);
	wait_for_another_timestamp();
	assert_int_equal(query(fd, &answer), 0);
	assert_int_equal(fstat(fd, &after), 0);
	assert_memory_equal(&before.st_mtim, &after.st_mtim,
			    sizeof(before.st_mtim));
	assert_memory_equal(&before.st_ctim, &after.st_ctim,
			    sizeof(before.st_ctim));
	munmap(zero, BLOCK);
	close(fd);
}

static void test_back_end(void **state)
{
	int fd1 = make_file("file1", plain, 1);
	int fd2 = make_file("file2", plain, 2);
	struct exchrange_query answer;

	(void)state;
	assert_int_equal(query(fd2, &answer), 0);
	assert_int_equal(answer.backend, kind->backend);
	assert_int_equal(answer.reason, EXCHRANGE_REASON_NONE);
	assert_int_equal(answer.flags, ALL_FLAGS);
	assert_alignment(fd1, fd2, BLOCK);
	close(fd1);
	close(fd2);
}

/* Whatever it was opened for: a query takes no rights over the file. */
static void test_descriptors(void **state)
{
	struct exchrange_query answer;
	int fd;

	(void)state;
	close(make_file("file2", plain, 2));
	fd = open_path(path_of("file2"), O_RDONLY);
	assert_int_equal(query(fd, &answer), 0);
	assert_int_equal(answer.backend, kind->backend);
	close(fd);

	fd = open_path(path_of("file2"), O_WRONLY | O_APPEND);
	assert_int_equal(query(fd, &answer), 0);
	assert_int_equal(answer.backend, kind->backend);
	close(fd);

	fd = open_path(path_of("file2"), O_PATH);
	assert_int_equal(query(fd, &answer), EBADF);
	close(fd);
	assert_int_equal(query(-1, &answer), EBADF);

	fd = open_path(mount_point, O_RDONLY);
	assert_int_equal(query(fd, &answer), EISDIR);
	close(fd);

	fd = open_path("/dev/null", O_RDWR);
	assert_int_equal(query(fd, &answer), EINVAL);
	close(fd);
}

static void test_block_size_is_the_alignment(void **state)
{
	int fd1, fd2;

	(void)state;
	make_scratch("mkfs.xfs -q -f $XFS_MKFS -b size=1024 $SCRATCH_DEV1",
		     "defaults");
	fd1 = open(SCRATCH, O_TMPFILE | O_RDWR, 0600);
	fd2 = open(SCRATCH, O_TMPFILE | O_RDWR, 0600);
	assert_int_equal(ftruncate(fd1, 1 << 20), 0);
	assert_int_equal(ftruncate(fd2, 1 << 20), 0);
	assert_alignment(fd1, fd2, 1024);
	close(fd1);
	close(fd2);
	end_scratch();
}

/* Files on the realtime device are exchanged by the realtime extent. */
static void test_realtime_extent_is_the_alignment(void **state)
{
	int fd1, fd2;

	(void)state;
	if (!mkfs_knows_exchange())
		skip();
	make_scratch("mkfs.xfs -q -f -i exchange=1 -d rtinherit=1"
		     " -r rtdev=$SCRATCH_DEV2,extsize=64k $SCRATCH_DEV1",
		     "rtdev=$SCRATCH_DEV2");
	fd1 = open(SCRATCH, O_TMPFILE | O_RDWR, 0600);
	fd2 = open(SCRATCH, O_TMPFILE | O_RDWR, 0600);
	assert_int_equal(ftruncate(fd1, 1 << 20), 0);
	assert_int_equal(ftruncate(fd2, 1 << 20), 0);
	assert_alignment(fd1, fd2, 65536);
	close(fd1);
	close(fd2);
	end_scratch();
	/* xfs_repair cannot check it without being told of the other disk. */
	assert_int_equal(run("xfs_repair -n -r $SCRATCH_DEV2 $SCRATCH_DEV1"), 0);
	assert_int_equal(run("wipefs -qa $SCRATCH_DEV1"), 0);
}

static void prefer_transaction(bool yes)
{
	assert_int_equal(run("echo %c >/sys/module/exchrange/parameters/xfs_transaction_first",
			     yes ? 'Y' : 'N'), 0);
}

static void assert_back_ends(int fd, uint32_t backend, uint32_t alternative)
{
	struct exchrange_query answer;

	assert_int_equal(query(fd, &answer), 0);
	assert_int_equal(answer.backend, backend);
	assert_int_equal(answer.alternative, alternative);
}

/* mkfs.xfs's default, and what xfs_admin makes of it: then there are two back ends. */
static void test_xfs_without_exchange(void **state)
{
	struct exchrange_query answer;
	int fd;

	(void)state;
	make_scratch("mkfs.xfs -q -f $XFS_PLAIN $SCRATCH_DEV1", "defaults");
	fd = open(SCRATCH "/file1", O_RDWR | O_CREAT, 0600);
	assert_back_ends(fd, EXCHRANGE_BACKEND_XFS_TRANSACTION,
			 EXCHRANGE_BACKEND_NONE);
	prefer_transaction(true);
	assert_back_ends(fd, EXCHRANGE_BACKEND_XFS_TRANSACTION,
			 EXCHRANGE_BACKEND_NONE);
	prefer_transaction(false);
	/* The library without the device cannot. */
	answer = (struct exchrange_query) { .fd = fd };
	assert_int_equal(exchrange_query(-1, &answer), 0);
	assert_int_equal(answer.reason, kernel_has_own_exchange() ?
			 EXCHRANGE_REASON_XFS_FEATURE : EXCHRANGE_REASON_XFS_KERNEL);
	close(fd);

	end_scratch();
	if (!mkfs_knows_exchange())
		return;
	assert_int_equal(run("xfs_admin -O exchange=1 $SCRATCH_DEV1"
			     " && mount $SCRATCH_DEV1 " SCRATCH), 0);
	fd = open_path(SCRATCH "/file1", O_RDONLY);
	assert_back_ends(fd, EXCHRANGE_BACKEND_XFS,
			 EXCHRANGE_BACKEND_XFS_TRANSACTION);
	prefer_transaction(true);
	assert_back_ends(fd, EXCHRANGE_BACKEND_XFS_TRANSACTION,
			 EXCHRANGE_BACKEND_XFS);
	prefer_transaction(false);
	close(fd);
	end_scratch();
}

/* Without XFS's own ioctl a realtime file has no back end; its neighbour has. */
static void test_realtime_file_without_exchange(void **state)
{
	int fd, realtime;

	(void)state;
	make_scratch("mkfs.xfs -q -f $XFS_PLAIN"
		     " -r rtdev=$SCRATCH_DEV2 $SCRATCH_DEV1", "rtdev=$SCRATCH_DEV2");
	assert_int_equal(run("xfs_io -f -c 'chattr +r' " SCRATCH "/realtime"), 0);
	realtime = open_path(SCRATCH "/realtime", O_RDWR);
	fd = open(SCRATCH "/file1", O_RDWR | O_CREAT, 0600);
	assert_none(realtime, EXCHRANGE_REASON_XFS_REALTIME);
	assert_exchange(EOPNOTSUPP, realtime, fd, 0, 0);
	assert_exchange(EOPNOTSUPP, fd, realtime, 0, 0);
	assert_back_ends(fd, EXCHRANGE_BACKEND_XFS_TRANSACTION,
			 EXCHRANGE_BACKEND_NONE);
	close(realtime);
	close(fd);
	end_scratch();
	assert_int_equal(run("wipefs -qa $SCRATCH_DEV1"), 0);
}

/* Exchanges that went through and that did not, before a race has been seen often enough. */
#define ENOUGH	50

struct realtime_race {
	int		fd1, realtime;
	atomic_bool	ends;
};

/* The exchange locks file1, the older inode, first: so it waits in front of both locks. */
static void *keep_locked(void *argument)
{
	struct realtime_race *race = argument;
	char *bytes = calloc(1, 1 << 20);

	while (bytes && !race->ends && pwrite(race->fd1, bytes, 1 << 20, 0) > 0)
		;
	race->ends = true;
	free(bytes);
	return NULL;
}

/* Only while it has no block can a file go to the other device. */
static void *change_device(void *argument)
{
	static const char bytes[65536] = "another device";
	struct realtime_race *race = argument;
	struct fsxattr attributes;

	while (!race->ends) {
		/* An exchange may have come between the two: it stays where it is. */
		if (!ftruncate(race->realtime, 0) &&
		    !ioctl(race->realtime, FS_IOC_FSGETXATTR, &attributes)) {
			attributes.fsx_xflags ^= FS_XFLAG_REALTIME;
			ioctl(race->realtime, FS_IOC_FSSETXATTR, &attributes);
		}
		if (pwrite(race->realtime, bytes, sizeof(bytes), 0) < 0)
			race->ends = true;
	}
	return NULL;
}

/*
 * A file that becomes a realtime one while its exchange waits for it: its blocks are never
 * taken for those of the data device.  xfs_repair would not find one of them in use.
 */
static void test_realtime_from_one_moment_to_the_next(void **state)
{
	struct exchrange_range range = { .flags = EXCHRANGE_TO_EOF };
	struct realtime_race race = { };
	unsigned int done = 0, refused = 0;
	pthread_t threads[2];
	int error = 0;

	(void)state;
	make_scratch("mkfs.xfs -q -f $XFS_PLAIN"
		     " -r rtdev=$SCRATCH_DEV2,extsize=64k $SCRATCH_DEV1",
		     "rtdev=$SCRATCH_DEV2");
	range.file1_fd = open(SCRATCH "/file1", O_RDWR | O_CREAT, 0600);
	range.file2_fd = open(SCRATCH "/realtime", O_RDWR | O_CREAT, 0600);
	race.fd1 = range.file1_fd;
	race.realtime = range.file2_fd;
	assert_int_equal(pthread_create(&threads[0], NULL, keep_locked, &race), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, change_device, &race), 0);
	while ((done < ENOUGH || refused < ENOUGH) && !race.ends) {
		error = device_exchange(&range);
		if (error && error != EOPNOTSUPP)
			race.ends = true;
		done += !error;
		refused += error == EOPNOTSUPP;
		/* Refusals are quick: the others need the time. */
		usleep(200);
	}
	race.ends = true;
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	assert_true(done >= ENOUGH && refused >= ENOUGH);
	close(race.fd1);
	close(race.realtime);
	end_scratch();
	assert_int_equal(run("xfs_repair -n -r $SCRATCH_DEV2 $SCRATCH_DEV1"), 0);
	assert_int_equal(run("wipefs -qa $SCRATCH_DEV1"), 0);
}

/* The format of before 2013. */
static void test_xfs_without_checksums(void **state)
{
	int fd1, fd2;

	(void)state;
	assert_int_equal(run("mkdir -p " SCRATCH " && mkfs.xfs -q -f -m crc=0 $SCRATCH_DEV1"), 0);
	if (run("mount $SCRATCH_DEV1 " SCRATCH " 2>/dev/null")) {
		/* Kernels are built without XFS_SUPPORT_V4. */
		assert_int_equal(run("dmesg | tail | grep -q 'V4 format (crc=0) not supported'"), 0);
		skip();
	}
	fd1 = open(SCRATCH, O_TMPFILE | O_RDWR, 0600);
	fd2 = open(SCRATCH, O_TMPFILE | O_RDWR, 0600);
	assert_none(fd1, EXCHRANGE_REASON_XFS_FORMAT);
	assert_exchange(EOPNOTSUPP, fd1, fd2, 0, 0);
	close(fd1);
	close(fd2);
	end_scratch();
}

/* O_TMPFILE is not known everywhere: overlayfs has it since Linux 6.3. */
static int make_and_unlink(const char *folder)
{
	char name[PATH_MAX];
	int fd;

	snprintf(name, sizeof(name), "%s/XXXXXX", folder);
	fd = mkstemp(name);
	assert_true(fd >= 0);
	assert_int_equal(unlink(name), 0);
	return fd;
}

static void assert_no_back_end(const char *folder, uint32_t reason)
{
	int fd1 = make_and_unlink(folder), fd2 = make_and_unlink(folder);

	assert_none(fd1, reason);
	assert_exchange(EOPNOTSUPP, fd1, fd2, 0, 0);
	close(fd1);
	close(fd2);
}

static void assert_other_file_system(const char *folder)
{
	assert_no_back_end(folder, EXCHRANGE_REASON_FILE_SYSTEM);
}


static void test_other_file_systems(void **state)
{
	(void)state;
	assert_other_file_system("/root");	/* ext4 */
	assert_other_file_system("/tmp");	/* tmpfs */
}

/* overlayfs over it has what is below. */
static void test_overlayfs(void **state)
{
	struct exchrange_query below, above;
	char *under;
	int fd;

	(void)state;
	/* Not every kernel has it. */
	if (run("modprobe overlay"))
		skip();
	under = strdup(path_of("overlay"));
	assert_int_equal(run("mkdir -p %s/lower %s/upper %s/work " SCRATCH
			     " && mount -t overlay overlay -o lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work "
			     SCRATCH, under, under, under, under, under, under),
			 0);
	fd = make_and_unlink(under);
	assert_int_equal(query(fd, &below), 0);
	close(fd);
	fd = make_and_unlink(SCRATCH);
	assert_int_equal(query(fd, &above), 0);
	close(fd);
	/* With another kernel's it is left out. */
	if (above.reason == EXCHRANGE_REASON_UNTESTED)
		below = (struct exchrange_query) { };
	assert_int_equal(above.backend, below.backend);
	assert_int_equal(above.alignment, below.alignment);
	assert_int_equal(above.flags, below.flags);
	end_scratch();
	free(under);
}

/* An answer takes no memory of the caller's: test_module.c has where it does. */
static void test_full_address_space(void **state)
{
	int fd = make_file("file2", plain, 2);

	(void)state;
	assert_int_equal(as_nobody(query_in_a_full_address_space, &fd), 0);
	close(fd);
}

/* A btrfs with a unit of its own, beside the one with the usual. */
static void test_sector_size_is_the_alignment(void **state)
{
	struct exchrange_query answer;
	struct statvfs vfs;
	int fd;

	(void)state;
	enter_scratch("mkfs.btrfs -q -f -s 4k -n 64k", "defaults");
	fd = make_file("file1", plain, 1);
	assert_int_equal(statvfs(SCRATCH, &vfs), 0);
	assert_int_equal(query(fd, &answer), 0);
	assert_int_equal(answer.backend, EXCHRANGE_BACKEND_BTRFS);
	assert_int_equal(answer.alignment, vfs.f_bsize);
	close(fd);
	leave_scratch();
}

/* The superblock of btrfs, as it is on the disk. */
#define SUPER_OFFSET		65536
#define SUPER_SIZE		4096
#define SUPER_CHECKSUMMED	32	/* from here on; the checksum is at 0 */
#define SUPER_COMPAT_RO		180

static uint32_t crc32c(const uint8_t *bytes, size_t size)
{
	uint32_t crc = ~0u;
	int bit;

	while (size--) {
		crc ^= *bytes++;
		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

/* The last of the features with which others may mount it for reading. */
static void add_unknown_feature(const char *device_path)
{
	uint8_t super[SUPER_SIZE];
	int fd = open_path(device_path, O_RDWR | O_SYNC);
	uint32_t checksum;

	assert_int_equal(pread(fd, super, SUPER_SIZE, SUPER_OFFSET), SUPER_SIZE);
	super[SUPER_COMPAT_RO + 7] |= 0x80;
	checksum = crc32c(super + SUPER_CHECKSUMMED, SUPER_SIZE - SUPER_CHECKSUMMED);
	memcpy(super, &checksum, sizeof(checksum));
	assert_int_equal(pwrite(fd, super, SUPER_SIZE, SUPER_OFFSET), SUPER_SIZE);
	close(fd);
}

static void test_btrfs_of_an_unknown_format(void **state)
{
	int fd;

	(void)state;
	make_scratch("mkfs.btrfs -q -f $SCRATCH_DEV1", "defaults");
	assert_int_equal(run("touch " SCRATCH "/file1"), 0);
	end_scratch();
	add_unknown_feature(getenv("SCRATCH_DEV1"));
	assert_int_equal(run("mount -o ro $SCRATCH_DEV1 " SCRATCH), 0);
	fd = open_path(SCRATCH "/file1", O_RDONLY);
	assert_none(fd, EXCHRANGE_REASON_BTRFS_FORMAT);
	close(fd);
	end_scratch();
	assert_int_equal(run("wipefs -qa $SCRATCH_DEV1"), 0);
}

/* Of an incompatible feature that the kernel knows, and this version was not tested with. */
static void test_zoned_btrfs(void **state)
{
	(void)state;
	/* The debug kernel has no such device. */
	if (run("modprobe null_blk nr_devices=1 gb=4 memory_backed=1 zoned=1 zone_size=64"))
		skip();
	assert_int_equal(run("mkdir -p " SCRATCH " && mkfs.btrfs -q -f -O zoned /dev/nullb0"
			     " && mount /dev/nullb0 " SCRATCH), 0);
	assert_no_back_end(SCRATCH, EXCHRANGE_REASON_BTRFS_FORMAT);
	assert_int_equal(run("touch " SCRATCH "/file1 && exchrange query " SCRATCH "/file1 2>&1"
			     " | grep -q 'feature that the module does not know'"), 0);
	end_scratch();
	assert_int_equal(run("modprobe -r null_blk"), 0);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_back_end),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_block_size_is_the_alignment),
		cmocka_unit_test(test_realtime_extent_is_the_alignment),
		cmocka_unit_test(test_xfs_without_exchange),
		cmocka_unit_test(test_realtime_file_without_exchange),
		cmocka_unit_test(test_realtime_from_one_moment_to_the_next),
		cmocka_unit_test(test_xfs_without_checksums),
		cmocka_unit_test(test_other_file_systems),
		cmocka_unit_test(test_overlayfs),
		cmocka_unit_test(test_full_address_space),
		cmocka_unit_test(test_query_reads_nothing_at_address_zero),
	};
	static const struct CMUnitTest btrfs_tests[] = {
		cmocka_unit_test(test_back_end),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_sector_size_is_the_alignment),
		cmocka_unit_test(test_btrfs_of_an_unknown_format),
		cmocka_unit_test(test_zoned_btrfs),
		cmocka_unit_test(test_overlayfs),
	};

	start(argc, argv);
	if (is_btrfs())
		return run_as_ktap("query", btrfs_tests, NULL, NULL);
	return run_as_ktap("query", tests, NULL, NULL);
}
