// SPDX-License-Identifier: GPL-2.0
/*
 * What one transaction on XFS leaves for afterwards has the room that it needs, and takes it
 * from nobody: reverse mappings of shared extents, which intents update after the commit, in
 * allocation groups (AGs) that are full.  What one call may do is bounded for ordinary
 * users, and nothing is done for a caller who is killed before it has begun.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

/* Small AGs, whose reverse mapping trees cannot grow by much. */
#define MKFS_SMALL_AGS	"mkfs.xfs -q -f --unsupported $XFS_PLAIN -m rmapbt=1,reflink=1 -d size=400m,agcount=20"

#define TEETH		600u
#define CLONES		10u

/*
 * Extents of TEETH * 2 blocks, each of which an exchange with a comb makes into as many, and
 * of which each clone has a reverse mapping of its own: more than XFS keeps room for in their
 * AG.  The combs are in others.
 */
struct shared {
	int		comb[CLONES], clone[CLONES];
	uint64_t	ag;	/* of the clones */
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
	uint64_t ag_bytes;
	unsigned int i;

	/* XFS puts each directory into the next AG, and files with it. */
	assert_int_equal(mkdir(path_of("clones"), 0777), 0);
	close(make_file("clones/origin", spec, 1));
	for (i = 0; i < CLONES; i++) {
		snprintf(name, sizeof(name), "comb%u", i);
		assert_int_equal(mkdir(path_of(name), 0777), 0);
		strcat(name, "/file");
		snprintf(clone, sizeof(clone), "clones/%u", i);
		shared.comb[i] = make_comb(name, TEETH, 'a' + i);
		assert_int_equal(run("cp --reflink=always %s %s", path_of("clones/origin"),
				     path_of(clone)), 0);
		shared.clone[i] = open_path(path_of(clone), O_RDWR);
	}
	assert_int_equal(run("sync -f " SCRATCH), 0);
	ag_bytes = bytes_of_ag();
	shared.ag = disk_place_of(shared.clone[0]) / ag_bytes;
	for (i = 0; i < CLONES; i++) {
		assert_true(disk_place_of(shared.clone[i]) / ag_bytes == shared.ag);
		assert_true(disk_place_of(shared.comb[i]) / ag_bytes != shared.ag);
	}
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
	uint64_t ag_bytes = bytes_of_ag(), size;
	unsigned int number = 0;

	for (size = 16 << 20; size >= BLOCK; size /= 4)
		while (take_of_ag(number, size, shared->ag, ag_bytes))
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
	unsigned int i;
	int error;

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

#define RACERS	8u
#define FEW_WINNERS	3u
#define FEW_TEETH	40u

/* A map that grows by a block. */
static struct exchrange_range make_racer(unsigned int i)
{
	const struct file_spec plain = { SHAPE_PLAIN, 2ull * FEW_TEETH * BLOCK };
	char name[16];
	struct exchrange_range range = {
		.length	= 2ull * FEW_TEETH * BLOCK,
		.flags	= EXCHRANGE_FILE1_WRITTEN,
	};

	snprintf(name, sizeof(name), "comb%u", i);
	range.file1_fd = make_comb(name, FEW_TEETH, 'a');
	snprintf(name, sizeof(name), "plain%u", i);
	range.file2_fd = make_file(name, plain, 1);
	return range;
}

/* Gives one block after the other of @fd back, until there are as many as an exchange needs. */
static void leave_space_for_one(int fd, uint64_t *left, const struct exchrange_range *range)
{
	struct exchrange_range dry = *range;
	int error;

	dry.flags |= EXCHRANGE_DRY_RUN;
	while ((error = device_exchange(&dry)) == ENOSPC) {
		assert_true(*left > 0);
		*left -= BLOCK;
		/* To punch a hole takes space for a map. */
		assert_int_equal(ftruncate(fd, *left), 0);
	}
	assert_int_equal(error, 0);
}

/* All that are left, at the same moment; how many had success.  Those go to the end. */
static unsigned int race(struct exchrange_range *range, unsigned int count)
{
	int gate[2], status, i;
	unsigned int done = 0;
	pid_t child[RACERS];
	char byte;

	assert_int_equal(pipe(gate), 0);
	for (i = 0; i < (int)count; i++) {
		child[i] = fork();
		if (child[i])
			continue;
		close(gate[1]);
		/* Until nobody can write any more. */
		_exit(read(gate[0], &byte, 1) ? 1 : device_exchange(&range[i]));
	}
	close(gate[0]);
	close(gate[1]);
	for (i = count - 1; i >= 0; i--) {
		assert_int_equal(waitpid(child[i], &status, 0), child[i]);
		assert_true(status == 0 || WEXITSTATUS(status) == ENOSPC);
		if (status == 0) {
			struct exchrange_range last = range[count - ++done];

			range[count - done] = range[i];
			range[i] = last;
		}
	}
	return done;
}

/*
 * Where one AG has space for the map of one more, one of many gets it, or a few, as what is in
 * the AGFL comes free; no other is harmed.
 */
static void test_race_for_the_last_space(void **state)
{
	struct exchrange_range range[RACERS];
	unsigned int i, count, done;
	uint64_t left = 1 << 20;
	uint8_t byte;
	int spare;

	(void)state;
	enter_scratch(MKFS_SMALL_AGS, "defaults");
	for (i = 0; i < RACERS; i++)
		range[i] = make_racer(i);
	spare = open_path(path_of("spare"), O_RDWR | O_CREAT);
	assert_int_equal(fallocate(spare, 0, 0, left), 0);
	take_rest_of_scratch();
	for (count = RACERS; count > FEW_WINNERS; count -= done) {
		leave_space_for_one(spare, &left, &range[0]);
		done = race(range, count);
		print_message("# %u of %u had room\n", done, count);
		assert_uint_in_range(done, 1, FEW_WINNERS);
	}
	for (i = 0; i < RACERS; i++) {
		assert_int_equal(pread(range[i].file2_fd, &byte, 1, 0), 1);
		assert_int_equal(byte == 'a', i >= count);
		close(range[i].file1_fd);
		close(range[i].file2_fd);
	}
	close(spare);
	assert_int_equal(unlink(path_of("rest")), 0);
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

/* Waits until a child is blocked in an ioctl. */
static bool is_in_ioctl(pid_t pid)
{
	char path[32], line[128];
	int tries, number;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	for (tries = 0; tries < 3000; tries++) {
		usleep(10000);
		file = fopen(path, "r");
		number = -1;
		if (file && fgets(line, sizeof(line), file))
			sscanf(line, "%d", &number);
		if (file)
			fclose(file);
		if (number == SYS_ioctl)
			return true;
	}
	return false;
}

/*
 * Kills a caller of an exchange @ms after it has begun, in milliseconds; for 0 when it is about
 * to.  It begins when the file system thaws.
 */
static void exchange_and_kill(const struct exchrange_range *range, unsigned int ms)
{
	int fd = open_path(mount_point, O_RDONLY), frozen, thawed, status;
	bool blocked;
	pid_t pid;

	frozen = ioctl(fd, FIFREEZE, 0);
	pid = fork();
	if (!pid)
		_exit(device_exchange(range));
	blocked = is_in_ioctl(pid);
	if (!ms)
		kill(pid, SIGKILL);
	thawed = ioctl(fd, FITHAW, 0);
	if (ms) {
		usleep(ms * 1000);
		kill(pid, SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(frozen == 0 && thawed == 0 && blocked);
	assert_true(WIFSIGNALED(status) || (ms && status == 0));
	close(fd);
}

/* Before the first change a caller that is killed ends: each way to exchange looks. */
static void test_killed_callers_change_nothing(void **state)
{
	static const struct exchrange_range ranges[] = {
		{ .flags = EXCHRANGE_TO_EOF },			/* data forks */
		{ .length = 50 * BLOCK },			/* pieces */
		{ .length = 200 * BLOCK, .flags = EXCHRANGE_FILE1_WRITTEN },
	};
	int fd[2] = { make_comb("file1", 100, 'a'), make_comb("file2", 100, 'b') };
	struct picture before[2] = { take_picture(fd[0]), take_picture(fd[1]) };
	unsigned int i;

	(void)state;
	for (i = 0; i < COUNT(ranges); i++) {
		struct exchrange_range range = ranges[i];

		range.file1_fd = fd[0];
		range.file2_fd = fd[1];
		exchange_and_kill(&range, 0);
		assert_unchanged(&before[0], fd[0]);
		assert_unchanged(&before[1], fd[1]);
	}
	for (i = 0; i < 2; i++) {
		drop_picture(&before[i]);
		close(fd[i]);
	}
}

/* Whether a comb's teeth are all of @seed; if not, none is. */
static bool has_teeth(int fd, unsigned int teeth, uint8_t seed)
{
	unsigned int i, found = 0;
	uint8_t bytes[BLOCK];

	for (i = 0; i < teeth; i++) {
		assert_int_equal(pread(fd, bytes, BLOCK, 2ull * i * BLOCK), BLOCK);
		assert_memory_equal(bytes, bytes + 1, BLOCK - 1);
		found += bytes[0] == seed;
	}
	assert_true(found == 0 || found == teeth);
	return found;
}

/* Whenever a caller of a large exchange is killed, all of it is done, or nothing. */
static void test_killed_in_the_middle(void **state)
{
	static const unsigned int delays[] = { 0, 10, 40, 100, 250, 500, 1000, 2000 };
	const unsigned int teeth = 500 + 4000 / test_share();
	struct exchrange_range range = {
		.file1_fd	= make_comb("file1", teeth, 'a'),
		.file2_fd	= make_comb("file2", teeth, 'b'),
		.length		= (2ull * teeth - 1) * BLOCK,
	};
	unsigned int i, unchanged = 0;
	uint8_t seed = 'a';

	(void)state;
	for (i = 0; i < COUNT(delays); i++) {
		exchange_and_kill(&range, delays[i]);
		if (has_teeth(range.file1_fd, teeth, seed))
			unchanged++;
		else
			seed ^= 'a' ^ 'b';
		assert_true(has_teeth(range.file1_fd, teeth, seed));
		assert_true(has_teeth(range.file2_fd, teeth, seed ^ 'a' ^ 'b'));
	}
	print_message("# %u of %zu ended before their first change\n", unchanged, COUNT(delays));
	assert_true(unchanged > 0);
	close(range.file1_fd);
	close(range.file2_fd);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shared_extents_in_full_ags),
		cmocka_unit_test(test_room_is_given_back),
		cmocka_unit_test(test_room_beside_others),
		cmocka_unit_test(test_race_for_the_last_space),
		cmocka_unit_test(test_limit_of_users),
		cmocka_unit_test(test_killed_callers_change_nothing),
		cmocka_unit_test(test_killed_in_the_middle),
	};

	start(argc, argv);
	if (kind->backend != EXCHRANGE_BACKEND_XFS_TRANSACTION) {
		fprintf(stderr, "%s is not an XFS without exchange\n", mount_point);
		return 1;
	}
	return run_as_ktap("room for intents", tests, NULL, NULL);
}
