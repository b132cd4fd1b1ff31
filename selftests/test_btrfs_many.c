// SPDX-License-Identifier: GPL-2.0
/*
 * Files of 1,000 and of 135,000 extents, or a share of these, each a block of its own on the disk:
 * every block changes hands.  And what users may have at once, of files that are clones of one
 * block.  Takes a file system of 8 GiB.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

#define STRIDE	8u

/* The word that fills block @i of the file with this seed. */
static uint64_t word_of(unsigned int seed, uint64_t i)
{
	return ((uint64_t)seed << 48) + i;
}

static void write_every(int fd, unsigned int seed, unsigned int first,
			unsigned int count)
{
	uint64_t words[BLOCK / 8];
	unsigned int i, j;

	for (i = first; i < count; i += STRIDE) {
		for (j = 0; j < COUNT(words); j++)
			words[j] = word_of(seed, i);
		assert_int_equal(pwrite(fd, words, BLOCK, (off_t)i * BLOCK),
				 BLOCK);
	}
	assert_int_equal(fsync(fd), 0);
}

static void make_holes(int fd[2], unsigned int count)
{
	static const struct file_spec empty = { SHAPE_PLAIN, 0 };
	int i;

	for (i = 0; i < 2; i++) {
		fd[i] = make_file(i ? "many2" : "many1", empty, 0);
		assert_int_equal(ftruncate(fd[i], (off_t)count * BLOCK), 0);
	}
}

/* Side by side in a file, and not on the disk: others were allocated in between. */
static void make_pair(int fd[2], unsigned int count)
{
	unsigned int first;
	int i;

	make_holes(fd, count);
	for (first = 0; first < STRIDE; first++)
		for (i = 0; i < 2; i++)
			write_every(fd[i], i + 1, first, count);
	for (i = 0; i < 2; i++)
		assert_true(count_extents(fd[i]) >= count / 10 * 9);
}

static void assert_block(const uint64_t words[BLOCK / 8], uint64_t word)
{
	assert_int_equal(words[0], word);
	assert_int_equal(words[BLOCK / 8 - 1], word);
}

/* Of each block the first word and the last. */
static void assert_blocks(int fd, unsigned int seed, uint64_t from, uint64_t to)
{
	static uint64_t chunk[256][BLOCK / 8];
	uint64_t i, count, j;

	for (i = from; i < to; i += count) {
		count = to - i < COUNT(chunk) ? to - i : COUNT(chunk);
		assert_int_equal(pread(fd, chunk, count * BLOCK, i * BLOCK),
				 count * BLOCK);
		for (j = 0; j < count; j++)
			assert_block(chunk[j], word_of(seed, i + j));
	}
}

static void exchange_many(unsigned int count)
{
	struct exchrange_range range = { .flags = EXCHRANGE_TO_EOF };
	uint64_t third = count / 3;
	int fd[2];

	make_pair(fd, count);
	range.file1_fd = fd[0];
	range.file2_fd = fd[1];
	assert_int_equal(device_exchange(&range), 0);
	assert_blocks(fd[0], 2, 0, count);
	assert_blocks(fd[1], 1, 0, count);

	/* And the middle back. */
	range.flags = EXCHRANGE_DSYNC;
	range.file1_offset = third * BLOCK;
	range.file2_offset = third * BLOCK;
	range.length = third * BLOCK;
	assert_int_equal(device_exchange(&range), 0);
	assert_blocks(fd[0], 2, 0, third);
	assert_blocks(fd[0], 1, third, 2 * third);
	assert_blocks(fd[0], 2, 2 * third, count);
	assert_blocks(fd[1], 2, third, 2 * third);
	close(fd[0]);
	close(fd[1]);
	assert_int_equal(run("rm '%s' '%s' && sync", path_of("many1"),
			     path_of("many2")), 0);
}

static void test_1000(void **state)
{
	(void)state;
	exchange_many(1000);
}

/* All of them: more than is exchanged before references go to the extent tree. */
static void test_very_many(void **state)
{
	(void)state;
	exchange_many(135000 / test_share());
}

/* What btrfs keeps of references in memory, with what has the same size. */
static long count_references(void)
{
	struct outcome outcome =
		run_and_keep("cat /sys/kernel/slab/btrfs_delayed_ref_node/objects");
	long count = 0;

	assert_int_equal(sscanf(outcome.out, "%ld", &count), 1);
	drop_outcome(&outcome);
	return count;
}

static void make_comb_and_file(int fd[2], unsigned int count)
{
	unsigned int first;

	make_holes(fd, count);
	for (first = 0; first < STRIDE; first++) {
		if (first % 2 == 0)
			write_every(fd[0], 1, first, count);
		write_every(fd[1], 2, first, count);
	}
}

/* Every second block, as a database's pages: each a stretch of its own. */
static void test_very_many_written(void **state)
{
	struct exchrange_range range = { .flags = EXCHRANGE_FILE1_WRITTEN };
	uint64_t words[BLOCK / 8], count = 300000, i;
	long references;
	int fd[2];

	(void)state;
	/* A share of them stays in memory in any case: that is of their contents alone. */
	count /= test_share() * test_share();
	make_comb_and_file(fd, count);
	range.file1_fd = fd[0];
	range.file2_fd = fd[1];
	range.length = count * BLOCK;
	assert_int_equal(syncfs(fd[0]), 0);
	references = count_references();
	assert_int_equal(device_exchange(&range), 0);
	/* One is added and one is dropped for each of 300,000 extents. */
	references = count_references() - references;
	print_message("# %ld references more in memory\n", references);
	assert_true(references < 400000);
	for (i = 0; i < count; i++) {
		assert_int_equal(pread(fd[1], words, BLOCK, i * BLOCK), BLOCK);
		assert_block(words, word_of(i % 2 ? 2 : 1, i));
	}
	close(fd[0]);
	close(fd[1]);
	assert_int_equal(run("rm '%s' '%s' && sync", path_of("many1"),
			     path_of("many2")), 0);
}

/* @count blocks that are all one: each file's own. */
static void make_clones(int fd[2], const char *const names[2], uint64_t count)
{
	static const struct file_spec block = { SHAPE_PLAIN, BLOCK };
	struct file_clone_range clone = { };
	uint64_t have;
	int i;

	for (i = 0; i < 2; i++) {
		fd[i] = make_file(names[i], block, i + 1);
		clone.src_fd = fd[i];
		for (have = 1; have < count; have += clone.src_length / BLOCK) {
			clone.dest_offset = have * BLOCK;
			clone.src_length = (have < count - have ? have :
					    count - have) * BLOCK;
			assert_int_equal(ioctl(fd[i], FICLONERANGE, &clone), 0);
		}
	}
	assert_int_equal(syncfs(fd[0]), 0);
}

/* The first and the last block have these contents, of the file with this seed. */
static bool has_seed(int fd, unsigned int seed, uint64_t count)
{
	uint8_t first, last;

	assert_int_equal(pread(fd, &first, 1, 0), 1);
	assert_int_equal(pread(fd, &last, 1, (count - 1) * BLOCK), 1);
	return first == content_byte(seed, 0) && last == content_byte(seed, 0);
}

static const char *const clone_names[] = { "clones1", "clones2" };

#define PARAMETER	"/sys/module/exchrange/parameters/btrfs_max_extents_user"

static unsigned int user_limit(void)
{
	struct outcome outcome = run_and_keep("cat " PARAMETER);
	unsigned int limit = 0;

	assert_int_equal(sscanf(outcome.out, "%u", &limit), 1);
	drop_outcome(&outcome);
	return limit;
}

static int try_exchange(void *range)
{
	return device_exchange(range);
}

/* One more than a user may have is E2BIG for him, and not for root. */
static void test_users_have_a_limit(void **state)
{
	struct exchrange_range range = { .flags = EXCHRANGE_TO_EOF };
	uint64_t count = user_limit() / 2;
	int fd[2];

	(void)state;
	make_clones(fd, clone_names, count + 1);
	range.file1_fd = fd[0];
	range.file2_fd = fd[1];
	assert_int_equal(as_nobody(try_exchange, &range), E2BIG);
	assert_true(has_seed(fd[0], 1, count + 1) && has_seed(fd[1], 2, count + 1));
	assert_int_equal(device_exchange(&range), 0);
	assert_true(has_seed(fd[0], 2, count + 1) && has_seed(fd[1], 1, count + 1));
	assert_int_equal(ftruncate(fd[0], count * BLOCK) ||
			 ftruncate(fd[1], count * BLOCK), 0);
	assert_int_equal(as_nobody(try_exchange, &range), 0);
	assert_true(has_seed(fd[0], 1, count) && has_seed(fd[1], 2, count));

	/* And root moves it. */
	assert_int_equal(run("echo %u >" PARAMETER, (unsigned int)count), 0);
	assert_int_equal(as_nobody(try_exchange, &range), E2BIG);
	assert_int_equal(run("echo %u >" PARAMETER, 2 * (unsigned int)count), 0);
	close(fd[0]);
	close(fd[1]);
}

/* What is passed by counts: one block is written, and more are preallocated than may be. */
static void test_passed_extents_count(void **state)
{
	static const struct file_spec block = { SHAPE_PLAIN, BLOCK };
	struct exchrange_range range = { .flags = EXCHRANGE_FILE1_WRITTEN };
	uint64_t i, count = user_limit() + 1;
	int fd[2];

	(void)state;
	fd[0] = make_file("preallocated", block, 1);
	fd[1] = make_file("holes", block, 2);
	for (i = 1; i <= count; i++)
		assert_int_equal(fallocate(fd[0], 0, 2 * i * BLOCK, BLOCK), 0);
	assert_int_equal(ftruncate(fd[1], (2 * count + 1) * BLOCK), 0);
	range.file1_fd = fd[0];
	range.file2_fd = fd[1];
	range.length = (2 * count + 1) * BLOCK;
	assert_int_equal(as_nobody(try_exchange, &range), E2BIG);
	assert_true(has_seed(fd[0], 1, 1) && has_seed(fd[1], 2, 1));
	assert_int_equal(device_exchange(&range), 0);
	assert_true(has_seed(fd[0], 2, 1) && has_seed(fd[1], 1, 1));
	close(fd[0]);
	close(fd[1]);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

/* How often the file system has committed a transaction since it was mounted. */
static unsigned int count_commits(void)
{
	struct outcome outcome =
		run_and_keep("cat /sys/fs/btrfs/$(findmnt -no UUID '%s')/commit_stats",
			     mount_point);
	unsigned int commits = 0;

	assert_int_equal(sscanf(outcome.out, "commits %u", &commits), 1);
	drop_outcome(&outcome);
	return commits;
}

#define PAIRS	4

/* In a child: all pairs, one after the other, by nobody. */
static int exchange_pairs(void *argument)
{
	struct exchrange_range *range = argument;
	int i, error = 0;

	for (i = 0; i < PAIRS && !error; i++)
		error = device_exchange(&range[i]);
	return error;
}

static pid_t begin_as_nobody(struct exchrange_range *range)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid)
		_exit(as_nobody(exchange_pairs, range));
	return pid;
}

/* The longest of fsyncs of a block until @pid has ended. */
static double longest_fsync(pid_t pid)
{
	static const struct file_spec block = { SHAPE_PLAIN, BLOCK };
	double begin, longest = 0;
	int fd = make_file("victim", block, 3), status;
	bool ended;

	do {
		ended = waitpid(pid, &status, WNOHANG) == pid;
		begin = now();
		assert_int_equal(pwrite(fd, "x", 1, 0), 1);
		assert_int_equal(fsync(fd), 0);
		if (now() - begin > longest)
			longest = now() - begin;
	} while (!ended);
	assert_int_equal(status, 0);
	close(fd);
	return longest;
}

/*
 * As much as a user may, again and again, of clones: he commits the transaction before it
 * has more, and an fsync of somebody else waits for a second (uapi.md), or some on a machine
 * with other work.
 */
static void test_users_stop_nobody(void **state)
{
	struct exchrange_range range[PAIRS] = { };
	uint64_t count = user_limit() / 2;
	unsigned int commits, i;
	char names[2][32];
	double longest;
	int fd[2];

	(void)state;
	for (i = 0; i < PAIRS; i++) {
		snprintf(names[0], sizeof(names[0]), "clones1.%u", i);
		snprintf(names[1], sizeof(names[1]), "clones2.%u", i);
		make_clones(fd, (const char *const[]) { names[0], names[1] }, count);
		range[i].file1_fd = fd[0];
		range[i].file2_fd = fd[1];
		range[i].flags = EXCHRANGE_TO_EOF;
	}
	commits = count_commits();
	assert_int_equal(as_nobody(exchange_pairs, range), 0);
	assert_true(count_commits() >= commits + PAIRS - 1);

	longest = longest_fsync(begin_as_nobody(range));
	print_message("# clones of one block: an fsync beside %d took %.2f s\n",
		      PAIRS, longest);
	assert_true(longest < 10);
	for (i = 0; i < PAIRS; i++) {
		assert_true(has_seed(range[i].file1_fd, 1, count));
		close(range[i].file1_fd);
		close(range[i].file2_fd);
	}
}

#define PLACES	17	/* the first, and one more than once had to share a counter */

static void mount_others(void)
{
	assert_int_equal(run("modprobe loop; for n in $(seq 2 %d); do d=/run/many/$n; mkdir -p $d && truncate -s 120M $d.image"
			     " && mkfs.btrfs -q $d.image && mount -o loop $d.image $d && chmod 777 $d || exit 1; done",
			     PLACES), 0);
}

static int unmount_others(void **state)
{
	(void)state;
	return run("umount /run/many/*/; rm -rf /run/many");
}

/* What is exchanged on each file system counts there, whatever comes on others in between. */
static void test_file_systems_count_alone(void **state)
{
	struct exchrange_range range[PLACES];
	const char *first = mount_point;
	const unsigned int limit = user_limit();
	unsigned int commits = 0, i;
	char place[PLACES][32];
	int fd[2];

	(void)state;
	mount_others();
	assert_int_equal(run("echo 8 >" PARAMETER), 0);
	for (i = 0; i < PLACES; i++) {
		snprintf(place[i], sizeof(place[i]), "/run/many/%u", i + 1);
		mount_point = i ? place[i] : first;
		make_clones(fd, clone_names, 4);
		range[i] = (struct exchrange_range) {
			.file1_fd = fd[0], .file2_fd = fd[1], .flags = EXCHRANGE_TO_EOF,
		};
		commits -= count_commits();
	}
	for (i = 0; i < PLACES; i++)
		assert_int_equal(as_nobody(try_exchange, &range[i]), 0);
	for (i = 0; i < PLACES; i++) {
		mount_point = i ? place[i] : first;
		commits += count_commits();
		close(range[i].file1_fd);
		close(range[i].file2_fd);
	}
	mount_point = first;
	assert_int_equal(run("echo %u >" PARAMETER, limit), 0);
	print_message("# %u commits for %d exchanges\n", commits, PLACES);
	assert_int_equal(commits, 0);
}

#define OTHERS	30

/* And of extents that so many other files have too, which takes longest. */
static void test_users_of_shared_extents_stop_nobody(void **state)
{
	struct exchrange_range range[PAIRS] = { };
	uint64_t count = user_limit() / 2;
	double longest;
	int fd[2], i;

	(void)state;
	make_pair(fd, count);
	for (i = 0; i < OTHERS; i++)
		assert_int_equal(run("cd '%s' && cp --reflink=always many1 other1.%d"
				     " && cp --reflink=always many2 other2.%d",
				     mount_point, i, i), 0);
	assert_int_equal(syncfs(fd[0]), 0);
	for (i = 0; i < PAIRS; i++) {
		range[i].file1_fd = fd[0];
		range[i].file2_fd = fd[1];
		range[i].flags = i ? EXCHRANGE_DRY_RUN : EXCHRANGE_TO_EOF;
	}
	longest = longest_fsync(begin_as_nobody(range));
	print_message("# extents of %d files: an fsync beside took %.2f s\n",
		      OTHERS + 1, longest);
	assert_true(longest < 10);
	assert_blocks(fd[0], 2, 0, count);
	assert_blocks(fd[1], 1, 0, count);
	close(fd[0]);
	close(fd[1]);
	assert_int_equal(run("rm '%s'/other*", mount_point), 0);
}

#define KILLS	5

/* Kills a caller when the first references are in memory. */
static void kill_early(struct exchrange_range *range)
{
	long references = count_references();
	int status;
	pid_t pid;

	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		_exit(device_exchange(range));
	while (count_references() < references + 2000 &&
	       waitpid(pid, &status, WNOHANG) == 0)
		;
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

/* Before its first change to the files, a caller that is killed ends, and nothing changed. */
static void test_killed_callers_end(void **state)
{
	struct exchrange_range range = { .flags = EXCHRANGE_TO_EOF };
	uint64_t count = 32768;
	int i, fd[2], unchanged = 0;
	unsigned int seed = 1;

	(void)state;
	make_clones(fd, clone_names, count);
	range.file1_fd = fd[0];
	range.file2_fd = fd[1];
	for (i = 0; i < KILLS; i++) {
		assert_int_equal(syncfs(fd[0]), 0);
		kill_early(&range);
		if (has_seed(fd[0], seed, count))
			unchanged++;
		else
			seed = 3 - seed;
		assert_true(has_seed(fd[0], seed, count) &&
			    has_seed(fd[1], 3 - seed, count));
	}
	print_message("# %d of %d ended before their first change\n", unchanged,
		      KILLS);
	assert_true(unchanged > 0);
	close(fd[0]);
	close(fd[1]);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_1000),
		cmocka_unit_test(test_very_many),
		cmocka_unit_test(test_very_many_written),
		cmocka_unit_test(test_users_have_a_limit),
		cmocka_unit_test(test_passed_extents_count),
		cmocka_unit_test(test_users_stop_nobody),
		cmocka_unit_test_teardown(test_file_systems_count_alone, unmount_others),
		cmocka_unit_test(test_users_of_shared_extents_stop_nobody),
		cmocka_unit_test(test_killed_callers_end),
	};

	start(argc, argv);
	return run_as_ktap("many", tests, NULL, NULL);
}
