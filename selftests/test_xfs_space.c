// SPDX-License-Identifier: GPL-2.0
/*
 * What one transaction on XFS leaves for afterwards has the room that it needs, and takes it
 * from nobody: reverse mappings of shared extents, which intents update after the commit, in
 * allocation groups (AGs) that are full.  And what one call may do is bounded for ordinary
 * users.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

/* Small AGs, whose reverse mapping trees cannot grow by much. */
#define MKFS_SMALL_AGS	"mkfs.xfs -q -f $XFS_PLAIN -m rmapbt=1,reflink=1 -d size=400m,agcount=4"

#define TEETH		2000u
#define CLONES		10u

/*
 * Extents of TEETH * 2 blocks, each of which an exchange with a comb makes into as many, and
 * of which each clone has a reverse mapping of its own: more than XFS keeps room for in their
 * AG.  The combs are in another one.
 */
struct shared {
	int	comb[CLONES], clone[CLONES];
};

static struct exchrange_range range_of(const struct shared *shared, unsigned int i)
{
	return (struct exchrange_range) {
		.file1_fd	= shared->comb[i],
		.file2_fd	= shared->clone[i],
		.length		= 2ull * TEETH * BLOCK,
		.flags		= EXCHRANGE_FILE1_WRITTEN,
	};
}

static struct shared make_shared(void)
{
	const struct file_spec spec = { SHAPE_PLAIN, 2ull * TEETH * BLOCK };
	struct shared shared;
	char name[16], clone[16];
	unsigned int i;

	assert_int_equal(mkdir(path_of("combs"), 0777), 0);
	assert_int_equal(mkdir(path_of("clones"), 0777), 0);
	close(make_file("clones/origin", spec, 1));
	for (i = 0; i < CLONES; i++) {
		snprintf(name, sizeof(name), "combs/%u", i);
		snprintf(clone, sizeof(clone), "clones/%u", i);
		shared.comb[i] = make_comb(name, TEETH, 'a' + i);
		assert_int_equal(run("cp --reflink=always %s %s", path_of("clones/origin"),
				     path_of(clone)), 0);
		shared.clone[i] = open_path(path_of(clone), O_RDWR);
	}
	assert_int_equal(run("sync -f " SCRATCH), 0);
	for (i = 0; i < CLONES; i++)
		assert_true(disk_place_of(shared.comb[i]) / bytes_of_ag() !=
			    disk_place_of(shared.clone[i]) / bytes_of_ag());
	return shared;
}

static void end_shared(const struct shared *shared)
{
	unsigned int i;

	for (i = 0; i < CLONES; i++) {
		close(shared->comb[i]);
		close(shared->clone[i]);
	}
}

/* Takes @size bytes more of the AG, if XFS has them there. */
static bool take_of_ag(unsigned int number, uint64_t size, uint64_t ag, uint64_t ag_bytes)
{
	char name[32];
	int fd;
	bool taken;

	snprintf(name, sizeof(name), "clones/fill%u", number);
	fd = open_path(path_of(name), O_RDWR | O_CREAT);
	taken = fallocate(fd, 0, 0, size) == 0 && disk_place_of(fd) / ag_bytes == ag;
	close(fd);
	if (!taken)
		assert_int_equal(unlink(path_of(name)), 0);
	return taken;
}

/* All that XFS gives of the AG that the clones are in; the maps can grow in others. */
static void fill_ag(const struct shared *shared)
{
	uint64_t ag_bytes = bytes_of_ag(), ag = disk_place_of(shared->clone[0]) / ag_bytes, size;
	unsigned int number = 0;

	for (size = 16 << 20; size >= BLOCK; size /= 4)
		while (take_of_ag(number, size, ag, ag_bytes))
			number++;
	assert_true(number > 0);
	assert_int_equal(run("sync -f " SCRATCH), 0);
}

static void empty_ag(void)
{
	assert_int_equal(run("rm " SCRATCH "/clones/fill* && sync -f " SCRATCH), 0);
}

/* As many as have room; how many that were. */
static unsigned int exchange_while_room(const struct shared *shared)
{
	struct exchrange_range range;
	struct picture before[2];
	unsigned int i;
	int error = 0;

	for (i = 0; i < CLONES; i++) {
		range = range_of(shared, i);
		before[0] = take_picture(range.file1_fd);
		before[1] = take_picture(range.file2_fd);
		error = device_exchange(&range);
		if (error) {
			assert_int_equal(error, ENOSPC);
			assert_unchanged(&before[0], range.file1_fd);
			assert_unchanged(&before[1], range.file2_fd);
		}
		drop_picture(&before[0]);
		drop_picture(&before[1]);
		if (error)
			break;
	}
	print_message("# %u exchanges had room\n", i);
	return i;
}

/* It is not shut down, and is none the worse for a mount. */
static void assert_alive(void)
{
	assert_int_equal(run("touch " SCRATCH "/alive && sync -f " SCRATCH), 0);
	unmount_scratch();
	check_scratch();
}

/* Blocks that nobody was promised. */
static uint64_t free_blocks(void)
{
	struct statvfs vfs;

	assert_int_equal(run("sync -f " SCRATCH), 0);
	assert_int_equal(statvfs(SCRATCH, &vfs), 0);
	return vfs.f_bfree;
}

/* In the end one is refused, and has its turn when there is space again. */
static void test_shared_extents_in_full_ags(void **state)
{
	struct exchrange_range range;
	struct shared shared;
	unsigned int done;

	(void)state;
	enter_scratch(MKFS_SMALL_AGS, "defaults");
	shared = make_shared();
	fill_ag(&shared);
	done = exchange_while_room(&shared);
	assert_true(done > 0 && done < CLONES);
	range = range_of(&shared, done);
	range.flags |= EXCHRANGE_DRY_RUN;
	assert_int_equal(device_exchange(&range), ENOSPC);

	empty_ag();
	assert_int_equal(device_exchange(&range), 0);
	range.flags = EXCHRANGE_FILE1_WRITTEN;
	assert_int_equal(device_exchange(&range), 0);
	end_shared(&shared);
	assert_alive();
	leave_scratch();
}

/* What an exchange keeps for its intents others get back: also after one that is refused. */
static void test_room_is_given_back(void **state)
{
	struct exchrange_range range;
	struct shared shared;
	uint64_t before;
	unsigned int i;

	(void)state;
	enter_scratch(MKFS_SMALL_AGS, "defaults");
	shared = make_shared();
	/* What is behind the reservations is used up, so that space is taken that others see. */
	for (i = 0; i + 1 < CLONES; i++) {
		range = range_of(&shared, i);
		assert_int_equal(device_exchange(&range), 0);
	}
	range = range_of(&shared, i);
	before = free_blocks();
	for (i = 0; i < 4; i++)
		assert_int_equal(device_exchange(&range), 0);
	assert_int_equal(free_blocks(), before);
	range.flags |= EXCHRANGE_DRY_RUN;
	assert_int_equal(device_exchange(&range), 0);
	assert_int_equal(free_blocks(), before);
	range.flags = EXCHRANGE_FILE1_WRITTEN;
	fill_ag(&shared);
	before = free_blocks();
	assert_int_equal(device_exchange(&range), ENOSPC);
	assert_int_equal(free_blocks(), before);
	empty_ag();
	assert_int_equal(device_exchange(&range), 0);
	end_shared(&shared);
	assert_alive();
	leave_scratch();
}

/* Until it is killed: takes all the space of an AG, and gives it back. */
static void keep_taking(void)
{
	int fd = open_path(path_of("clones/taken"), O_RDWR | O_CREAT);
	uint64_t end, step;

	for (;;) {
		for (end = 0, step = 8 << 20; step >= BLOCK; step /= 4)
			while (fallocate(fd, 0, end, step) == 0)
				end += step;
		if (ftruncate(fd, 0))
			_exit(1);
	}
}

static void exchange_to_the_end(const struct shared *shared, unsigned int first)
{
	unsigned int i, round;
	int error;

	for (round = 0; round < 3; round++)
		for (i = first; i < CLONES; i += 2) {
			struct exchrange_range range = range_of(shared, i);

			error = device_exchange(&range);
			if (error && error != ENOSPC)
				_exit(1);
		}
	_exit(0);
}

/* Two at once in the same AG count with each other, and with who fills it. */
static void test_room_beside_others(void **state)
{
	struct shared shared;
	pid_t child[3];
	int i, status;

	(void)state;
	enter_scratch(MKFS_SMALL_AGS, "defaults");
	shared = make_shared();
	for (i = 0; i < 3; i++) {
		child[i] = fork();
		if (child[i])
			continue;
		if (i == 2)
			keep_taking();
		exchange_to_the_end(&shared, i);
	}
	for (i = 0; i < 2; i++) {
		assert_int_equal(waitpid(child[i], &status, 0), child[i]);
		assert_int_equal(status, 0);
	}
	assert_int_equal(waitpid(child[2], &status, WNOHANG), 0);
	kill(child[2], SIGKILL);
	waitpid(child[2], &status, 0);
	end_shared(&shared);
	assert_alive();
	leave_scratch();
}

#define LIMIT	"/sys/module/exchrange/parameters/xfs_max_extents_user"

static int exchange(void *argument)
{
	return device_exchange(argument);
}

/* By one extent, for those who are not root. */
static void test_limit_of_users(void **state)
{
	struct exchrange_range range = {
		.file1_fd	= make_comb("file1", 100, 'a'),
		.file2_fd	= make_comb("file2", 100, 'b'),
		.flags		= EXCHRANGE_TO_EOF,
	};
	struct picture before[2] = {
		take_picture(range.file1_fd), take_picture(range.file2_fd),
	};

	(void)state;
	assert_int_equal(run("cat " LIMIT " >/tmp/limit && echo 99 >" LIMIT), 0);
	assert_int_equal(as_nobody(exchange, &range), E2BIG);
	assert_unchanged(&before[0], range.file1_fd);
	assert_unchanged(&before[1], range.file2_fd);
	range.flags |= EXCHRANGE_DRY_RUN;
	assert_int_equal(as_nobody(exchange, &range), E2BIG);
	assert_int_equal(as_root(exchange, &range), 0);
	assert_int_equal(run("echo 100 >" LIMIT), 0);
	assert_int_equal(as_nobody(exchange, &range), 0);
	range.flags = EXCHRANGE_TO_EOF;
	assert_int_equal(as_nobody(exchange, &range), 0);
	assert_int_equal(run("cat /tmp/limit >" LIMIT), 0);
	drop_picture(&before[0]);
	drop_picture(&before[1]);
	close(range.file1_fd);
	close(range.file2_fd);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shared_extents_in_full_ags),
		cmocka_unit_test(test_room_is_given_back),
		cmocka_unit_test(test_room_beside_others),
		cmocka_unit_test(test_limit_of_users),
	};

	start(argc, argv);
	if (kind->backend != EXCHRANGE_BACKEND_XFS_TRANSACTION) {
		fprintf(stderr, "%s is not an XFS without exchange\n", mount_point);
		return 1;
	}
	return cmocka_run_group_tests_name("room for intents", tests, NULL, NULL);
}
