// SPDX-License-Identifier: GPL-2.0
/*
 * EXCHANGE_VECTOR: pairs of ranges of several files are exchanged all or none, with the errors
 * of single exchanges, and an answer that says which pair was refused.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"
#include "cost.h"
#include "watch.h"

#define NONE	EXCHRANGE_REFUSED_NONE

static const struct file_spec plain = { SHAPE_PLAIN, 16 * BLOCK };

static void assert_answer(struct vector_answer answer, int error, uint32_t refused)
{
	if (answer.error != error || answer.refused != refused)
		fail_msg("%s, pair %d; expected %s, pair %d", strerror(answer.error),
			 (int)answer.refused, strerror(error), (int)refused);
}

static void put_number(int fd, unsigned int block, uint64_t number)
{
	uint64_t words[BLOCK / 8];
	unsigned int i;

	for (i = 0; i < COUNT(words); i++)
		words[i] = number;
	assert_int_equal(pwrite(fd, words, BLOCK, (off_t)block * BLOCK), BLOCK);
}

/* --- the byte model: random lists ---------------------------------------------------- */

#define FILES		6
#define BLOCKS		48u
#define MOST_PAIRS	40

static const enum shape shapes[] = {
	SHAPE_PLAIN, SHAPE_HOLES, SHAPE_PREALLOCATED, SHAPE_SCATTERED,
};

/* Files, what they should hold, and which blocks are in a pair already. */
struct world {
	int		fd[FILES];
	struct picture	model[FILES];
	bool		taken[FILES][BLOCKS + 1];
	bool		to_eof[FILES];
};

static void make_world(struct world *world, unsigned int round)
{
	char name[16];
	int i;

	memset(world, 0, sizeof(*world));
	for (i = 0; i < FILES; i++) {
		struct file_spec spec = {
			.shape	= shapes[(round + i) % COUNT(shapes)],
			.size	= BLOCKS * BLOCK - (i % 3 ? 1000 * i : 0),
		};

		snprintf(name, sizeof(name), "model%d", i);
		world->fd[i] = make_file(name, spec, round * FILES + i + 1);
		world->model[i] = take_picture(world->fd[i]);
	}
}

static void drop_world(struct world *world)
{
	int i;

	for (i = 0; i < FILES; i++) {
		drop_picture(&world->model[i]);
		close(world->fd[i]);
	}
}

/* @count free blocks of the file, whole ones before its end; false where there is no such place. */
static bool take_blocks(struct world *world, int file, unsigned int count,
			unsigned int *first)
{
	unsigned int tries, i;

	for (tries = 0; tries < 50; tries++) {
		*first = random() % (BLOCKS - 2 - count);
		for (i = 0; i < count && !world->taken[file][*first + i]; i++)
			;
		if (i < count)
			continue;
		memset(&world->taken[file][*first], true, count);
		return true;
	}
	return false;
}

static bool add_blocks(struct world *world, struct exchrange_pair *pair)
{
	int file1 = random() % FILES, file2 = random() % FILES;
	unsigned int count = 1 + random() % 4, first1, first2;

	if (!take_blocks(world, file1, count, &first1))
		return false;
	if (!take_blocks(world, file2, count, &first2)) {
		memset(&world->taken[file1][first1], false, count);
		return false;
	}
	*pair = block_pair(world->fd[file1], first1, world->fd[file2], first2);
	pair->length = count * BLOCK;
	if (random() % 3 == 0)
		pair->flags = EXCHRANGE_FILE1_WRITTEN;
	return true;
}

/* From the last free block to the end, of two files. */
static bool add_tails(struct world *world, struct exchrange_pair *pair)
{
	int file[2] = { random() % FILES, random() % FILES };
	unsigned int first[2];
	int i;

	if (file[0] == file[1] || world->to_eof[file[0]] || world->to_eof[file[1]])
		return false;
	for (i = 0; i < 2; i++) {
		for (first[i] = BLOCKS; first[i] > 0; first[i]--)
			if (world->taken[file[i]][first[i] - 1])
				break;
		/* The offset is not behind the end. */
		first[i] = first[i] > BLOCKS - 3 ? BLOCKS - 3 : first[i];
		if (world->taken[file[i]][first[i]])
			return false;
	}
	for (i = 0; i < 2; i++) {
		memset(&world->taken[file[i]][first[i]], true, BLOCKS + 1 - first[i]);
		world->to_eof[file[i]] = true;
	}
	*pair = block_pair(world->fd[file[0]], first[0], world->fd[file[1]], first[1]);
	pair->length = random();
	pair->flags = EXCHRANGE_TO_EOF;
	if (random() % 3 == 0)
		pair->flags |= EXCHRANGE_FILE1_WRITTEN;
	return true;
}

static int file_of(const struct world *world, int fd)
{
	int i = 0;

	while (world->fd[i] != fd)
		i++;
	return i;
}

static void model_pair(struct world *world, const struct exchrange_pair *pair)
{
	struct picture *model1 = &world->model[file_of(world, pair->file1_fd)];
	struct picture *model2 = &world->model[file_of(world, pair->file2_fd)];

	if (pair->flags & EXCHRANGE_FILE1_WRITTEN)
		model_exchange_written(model1, model2, pair->file1_offset,
				       pair->file2_offset, pair->length, pair->flags);
	else
		model_exchange(model1, model2, pair->file1_offset, pair->file2_offset,
			       pair->length, pair->flags);
}

static void assert_world(struct world *world)
{
	int i;

	for (i = 0; i < FILES; i++) {
		struct picture now = take_picture(world->fd[i]);

		if (!same_bytes(&now, &world->model[i]))
			fail_msg("file %d is not what the model says", i);
		drop_picture(&now);
	}
}

static uint32_t make_list(struct world *world, struct exchrange_pair *pairs)
{
	uint32_t count = 0, wanted = 1 + random() % MOST_PAIRS, i;

	for (i = 0; i < wanted; i++)
		count += add_blocks(world, &pairs[count]);
	for (i = 0; i < 2 && count < MOST_PAIRS; i++)
		count += add_tails(world, &pairs[count]);
	return count;
}

static void test_random_lists_do_what_the_model_says(void **state)
{
	unsigned int rounds = 200 / test_share() + 4, round;
	struct exchrange_pair pairs[MOST_PAIRS];
	struct world world;
	uint32_t count, i;

	(void)state;
	srandom(7);
	for (round = 0; round < rounds; round++) {
		make_world(&world, round);
		count = make_list(&world, pairs);
		assert_answer(exchange_list(pairs, count, EXCHRANGE_DRY_RUN), 0, NONE);
		assert_world(&world);
		assert_answer(exchange_list(pairs, count, round % 4 ? 0 : EXCHRANGE_DSYNC),
			      0, NONE);
		for (i = 0; i < count; i++)
			model_pair(&world, &pairs[i]);
		assert_world(&world);
		drop_world(&world);
	}
}

/* --- all or none, and which ---------------------------------------------------------- */

#define ROW_PAIRS	5

/* Pairs of three files that are right; a row makes one wrong. */
struct list {
	int			fd[3];
	struct exchrange_pair	pairs[ROW_PAIRS];
	uint64_t		stale[6], fresh[6];
};

static void make_list_of_three(struct list *list)
{
	int i;

	memset(list, 0, sizeof(*list));
	list->fd[0] = make_file("list0", plain, 1);
	list->fd[1] = make_file("list1", plain, 2);
	list->fd[2] = make_file("list2", plain, 3);
	for (i = 0; i < ROW_PAIRS; i++)
		list->pairs[i] = block_pair(list->fd[i % 3], 2 * i, list->fd[(i + 1) % 3],
					    2 * i + 1);
}

static void drop_list_of_three(struct list *list)
{
	int i;

	for (i = 0; i < 3; i++)
		close(list->fd[i]);
}

static void no_descriptor(struct list *list, struct exchrange_pair *pair)
{
	(void)list;
	pair->file1_fd = -1;
}

static void closed_descriptor(struct list *list, struct exchrange_pair *pair)
{
	(void)list;
	pair->file2_fd = dup(pair->file2_fd);
	close(pair->file2_fd);
}

static void path_descriptor(struct list *list, struct exchrange_pair *pair)
{
	(void)list;
	pair->file1_fd = open(path_of("list0"), O_PATH);
}

static void read_only(struct list *list, struct exchrange_pair *pair)
{
	(void)list;
	pair->file2_fd = open(path_of("list1"), O_RDONLY);
}

static void appending(struct list *list, struct exchrange_pair *pair)
{
	(void)list;
	pair->file1_fd = open(path_of("list2"), O_RDWR | O_APPEND);
}

/* From now on: they were open before. */
static void add_flag(struct exchrange_pair *pair, const char *name, int flag)
{
	int flags;

	pair->file2_fd = make_file(name, plain, 4);
	assert_int_equal(ioctl(pair->file2_fd, FS_IOC_GETFLAGS, &flags), 0);
	flags |= flag;
	assert_int_equal(ioctl(pair->file2_fd, FS_IOC_SETFLAGS, &flags), 0);
}

static void immutable(struct list *list, struct exchrange_pair *pair)
{
	(void)list;
	add_flag(pair, "immutable", FS_IMMUTABLE_FL);
}

static void append_only(struct list *list, struct exchrange_pair *pair)
{
	(void)list;
	add_flag(pair, "append_only", FS_APPEND_FL);
}

static void directory(struct list *list, struct exchrange_pair *pair)
{
	(void)list;
	pair->file1_fd = open(mount_point, O_RDONLY);
}

static void the_device(struct list *list, struct exchrange_pair *pair)
{
	(void)list;
	pair->file1_fd = device;
	pair->file2_fd = device;
}

static void other_mount(struct list *list, struct exchrange_pair *pair)
{
	(void)list;
	pair->file1_fd = open("/tmp/vector", O_RDWR | O_CREAT, 0600);
	pair->file2_fd = pair->file1_fd;
}

static void unknown_flag(struct list *list, struct exchrange_pair *pair)
{
	(void)list;
	pair->flags = 1 << 10;
}

static void flag_of_the_list(struct list *list, struct exchrange_pair *pair)
{
	(void)list;
	pair->flags = EXCHRANGE_DSYNC;
}

static void reserved(struct list *list, struct exchrange_pair *pair)
{
	(void)list;
	pair->reserved[2] = 1;
}

static void bad_pointer(struct list *list, struct exchrange_pair *pair)
{
	(void)list;
	pair->freshness = 8;
}

static void stale_sample(struct list *list, struct exchrange_pair *pair)
{
	pair->freshness = (uintptr_t)list->stale;
}

static void wraps(struct list *list, struct exchrange_pair *pair)
{
	(void)list;
	pair->file1_offset = -(uint64_t)BLOCK;
	pair->length = 2 * BLOCK;
}

static void past_the_end(struct list *list, struct exchrange_pair *pair)
{
	(void)list;
	pair->file2_offset = 32 * BLOCK;
}

static void unaligned(struct list *list, struct exchrange_pair *pair)
{
	(void)list;
	pair->file1_offset += 7;
}

static void overlaps(struct list *list, struct exchrange_pair *pair)
{
	(void)list;
	*pair = pair[-1];
}

static void twice(struct list *list, struct exchrange_pair *pair)
{
	(void)list;
	pair->file2_fd = pair->file1_fd;
	pair->file2_offset = pair->file1_offset;
}

/* The second is in a range that goes to the end. */
static void behind_to_eof(struct list *list, struct exchrange_pair *pair)
{
	*pair = block_pair(list->fd[0], 13, list->fd[1], 13);
	pair[-1] = block_pair(list->fd[0], 12, list->fd[2], 12);
	pair[-1].flags = EXCHRANGE_TO_EOF;
}

static const struct error_row {
	const char	*name;
	void		(*spoil)(struct list *list, struct exchrange_pair *pair);
	int		error;
} error_rows[] = {
	{ "descriptor -1",		no_descriptor,		EBADF },
	{ "a closed descriptor",	closed_descriptor,	EBADF },
	{ "an O_PATH descriptor",	path_descriptor,	EBADF },
	{ "open for reading",		read_only,		EBADF },
	{ "O_APPEND",			appending,		EBADF },
	{ "immutable",			immutable,		EPERM },
	{ "append-only",		append_only,		EPERM },
	{ "a directory",		directory,		EISDIR },
	{ "the device",			the_device,		EXDEV },
	{ "files of another mount",	other_mount,		EXDEV },
	{ "an unknown flag",		unknown_flag,		EINVAL },
	{ "DSYNC of a pair",		flag_of_the_list,	EINVAL },
	{ "reserved",			reserved,		EINVAL },
	{ "a bad pointer to a sample",	bad_pointer,		EFAULT },
	{ "a stale sample",		stale_sample,		EBUSY },
	{ "a range that wraps",		wraps,			EINVAL },
	{ "past the end",		past_the_end,		EINVAL },
	{ "unaligned",			unaligned,		EINVAL },
	{ "a pair twice",		overlaps,		EINVAL },
	{ "a range with itself",	twice,			EINVAL },
	{ "behind TO_EOF",		behind_to_eof,		EINVAL },
};

static void test_refused(void **state)
{
	const struct error_row *row = *state;
	struct picture before[3];
	struct list list;
	int i, wrong = 3;

	make_list_of_three(&list);
	row->spoil(&list, &list.pairs[wrong]);
	for (i = 0; i < 3; i++)
		before[i] = take_picture(list.fd[i]);
	assert_answer(exchange_list(list.pairs, ROW_PAIRS, EXCHRANGE_DRY_RUN),
		      row->error, wrong);
	assert_answer(exchange_list(list.pairs, ROW_PAIRS, 0), row->error, wrong);
	for (i = 0; i < 3; i++) {
		assert_unchanged(&before[i], list.fd[i]);
		drop_picture(&before[i]);
	}
	drop_list_of_three(&list);
	run("chattr -i -a '%s' '%s' 2>&1 | true", path_of("immutable"), path_of("append_only"));
}

static void test_list_of_three_is_right(void **state)
{
	struct list list;

	(void)state;
	make_list_of_three(&list);
	assert_answer(exchange_list(list.pairs, ROW_PAIRS, 0), 0, NONE);
	drop_list_of_three(&list);
}

static void test_empty_list(void **state)
{
	(void)state;
	assert_answer(exchange_list(NULL, 0, 0), 0, NONE);
}

/* --- the struct ------------------------------------------------------------------------ */

static int submit(struct exchrange_vector vector)
{
	return ioctl(device, EXCHRANGE_IOC_EXCHANGE_VECTOR, &vector) ? errno : 0;
}

static void test_struct(void **state)
{
	struct { struct exchrange_pair pair; uint64_t more; } longer[2];
	struct list list;
	struct exchrange_vector good;
	struct exchrange_vector wrong;

	(void)state;
	make_list_of_three(&list);
	good = (struct exchrange_vector) {
		.pairs		= (uintptr_t)list.pairs,
		.count		= 2,
		.pair_size	= sizeof(list.pairs[0]),
		.flags		= EXCHRANGE_DRY_RUN,
	};
	assert_int_equal(submit(good), 0);
	wrong = good;
	wrong.flags |= EXCHRANGE_TO_EOF;
	assert_int_equal(submit(wrong), EINVAL);
	wrong = good;
	wrong.pad = 1;
	assert_int_equal(submit(wrong), EINVAL);
	wrong = good;
	wrong.reserved[1] = 1;
	assert_int_equal(submit(wrong), EINVAL);
	wrong = good;
	wrong.pair_size = sizeof(list.pairs[0]) - 1;
	assert_int_equal(submit(wrong), EINVAL);
	wrong = good;
	wrong.pair_size = 1 << 20;
	assert_int_equal(submit(wrong), E2BIG);
	wrong = good;
	wrong.count = 65537;
	assert_int_equal(submit(wrong), E2BIG);
	wrong = good;
	wrong.pairs = 8;
	assert_int_equal(submit(wrong), EFAULT);
	assert_int_equal(ioctl(device, EXCHRANGE_IOC_EXCHANGE_VECTOR, 8), -1);
	assert_int_equal(errno, EFAULT);

	/* A pair that has grown: what this module does not know is zero. */
	memset(longer, 0, sizeof(longer));
	longer[0].pair = list.pairs[0];
	longer[1].pair = list.pairs[1];
	wrong = good;
	wrong.pairs = (uintptr_t)longer;
	wrong.pair_size = sizeof(longer[0]);
	assert_int_equal(submit(wrong), 0);
	longer[1].more = 1;
	assert_int_equal(submit(wrong), E2BIG);
	drop_list_of_three(&list);
}

static void test_query_tells(void **state)
{
	struct exchrange_query query = { .fd = make_file("queried", plain, 1) };

	(void)state;
	assert_int_equal(ioctl(device, EXCHRANGE_IOC_QUERY, &query), 0);
	assert_true(query.features & EXCHRANGE_FEATURE_VECTOR);
	close(query.fd);
}

/* --- many ------------------------------------------------------------------------------ */

#define MANY	EXCHRANGE_VECTOR_FILES

static int make_numbered(unsigned int i)
{
	static const struct file_spec small = { SHAPE_PLAIN, 2 * BLOCK };
	char name[16];

	snprintf(name, sizeof(name), "many%u", i);
	return make_file(name, small, i + 1);
}

/* Each file's first block goes to the next file's second. */
static void fill_ring(struct exchrange_pair *pairs, const int *fd, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		pairs[i] = block_pair(fd[i], 0, fd[(i + 1) % count], 1);
}

static void assert_block(int fd, unsigned int block, unsigned int seed,
			 unsigned int seed_block)
{
	uint8_t bytes[BLOCK];
	unsigned int i;

	assert_int_equal(pread(fd, bytes, BLOCK, (off_t)block * BLOCK), BLOCK);
	for (i = 0; i < BLOCK; i++)
		if (bytes[i] != content_byte(seed, (uint64_t)seed_block * BLOCK + i))
			fail_msg("byte %u of block %u is wrong", i, block);
}

static void test_as_many_files_as_allowed(void **state)
{
	struct exchrange_pair pairs[MANY + 1];
	int fd[MANY + 1];
	unsigned int i;

	(void)state;
	for (i = 0; i <= MANY; i++)
		fd[i] = make_numbered(i);
	fill_ring(pairs, fd, MANY + 1);
	assert_answer(exchange_list(pairs, MANY + 1, 0), E2BIG, NONE);
	fill_ring(pairs, fd, MANY);
	assert_answer(exchange_list(pairs, MANY, 0), 0, NONE);
	for (i = 0; i < MANY; i++) {
		assert_block(fd[i], 0, (i + 1) % MANY + 1, 1);
		assert_block(fd[(i + 1) % MANY], 1, i + 1, 0);
	}
	for (i = 0; i <= MANY; i++)
		close(fd[i]);
}

/* Descriptors count for nothing, nor open files. */
static void test_many_descriptors_of_two_files(void **state)
{
	int fd1 = make_file("two1", plain, 1), fd2 = make_file("two2", plain, 2);
	struct exchrange_pair pairs[16];
	unsigned int i;

	(void)state;
	for (i = 0; i < 16; i++)
		pairs[i] = block_pair(i % 2 ? dup(fd1) : open(path_of("two1"), O_RDWR), i,
				      i % 3 ? dup(fd2) : open(path_of("two2"), O_RDWR),
				      15 - i);
	assert_answer(exchange_list(pairs, 16, 0), 0, NONE);
	for (i = 0; i < 16; i++) {
		assert_block(fd1, i, 2, 15 - i);
		assert_block(fd2, 15 - i, 1, i);
		close(pairs[i].file1_fd);
		close(pairs[i].file2_fd);
	}
	close(fd1);
	close(fd2);
}

/*
 * As many pairs as there may be, in files with a block here and there, backwards.  Where the kernel
 * looks at each allocation and lock, a part of them: all take minutes there.
 */
static void test_as_many_pairs_as_allowed(void **state)
{
	const bool slow = access("/sys/kernel/debug/kmemleak", F_OK) == 0;
	const uint32_t count = EXCHRANGE_VECTOR_PAIRS / (slow ? 16 : 1);
	struct exchrange_pair *pairs = calloc(count, sizeof(*pairs));
	int fd1 = make_file("sparse1", plain, 1), fd2 = make_file("sparse2", plain, 2);
	uint32_t i;

	(void)state;
	assert_non_null(pairs);
	assert_int_equal(ftruncate(fd1, (off_t)count * BLOCK), 0);
	assert_int_equal(ftruncate(fd2, (off_t)count * BLOCK), 0);
	for (i = 0; i < count; i++)
		pairs[i] = block_pair(fd1, i, fd2, count - 1 - i);
	assert_answer(exchange_list(pairs, count, 0), 0, NONE);
	for (i = 0; i < 16; i++) {
		assert_block(fd2, count - 1 - i, 1, i);
		assert_block(fd1, count - 1 - i, 2, i);
	}
	pairs[count - 1].length = 2 * BLOCK;
	assert_answer(exchange_list(pairs, count, 0), EINVAL, count - 1);
	close(fd1);
	close(fd2);
	free(pairs);
}

#define HOLES	5000

static int exchange_holes(void *pairs)
{
	return exchange_list(pairs, HOLES, 0).error;
}

/* On btrfs each pair is work in the transaction: users have the limit of extents for them. */
static void test_users_pairs_count_on_btrfs(void **state)
{
	static const struct file_spec empty = { SHAPE_PLAIN, 0 };
	struct exchrange_pair *pairs = calloc(HOLES, sizeof(*pairs));
	int fd1 = make_file("holes1", empty, 1), fd2 = make_file("holes2", empty, 2);
	uint32_t i;

	(void)state;
	assert_non_null(pairs);
	assert_int_equal(ftruncate(fd1, (off_t)HOLES * BLOCK), 0);
	assert_int_equal(ftruncate(fd2, (off_t)HOLES * BLOCK), 0);
	for (i = 0; i < HOLES; i++)
		pairs[i] = block_pair(fd1, i, fd2, i);
	assert_int_equal(as_nobody(exchange_holes, pairs), is_btrfs() ? E2BIG : 0);
	assert_int_equal(as_root(exchange_holes, pairs), 0);
	close(fd1);
	close(fd2);
	free(pairs);
}

/* --- memory ---------------------------------------------------------------------------- */

#define CGROUP		"/sys/fs/cgroup/vector"
#define PAIR_BYTES	200u	/* that the module keeps of a pair, about */
#define WORK_BYTES	1000u	/* and with what it needs for its work, at the most */

struct memory_call {
	struct exchrange_pair	*pairs;
	uint32_t		count;
};

/* In a group of its own, from before the call on. */
static int call_in_cgroup(void *argument)
{
	const struct memory_call *call = argument;

	if (run("echo %d >" CGROUP "/cgroup.procs", getpid()))
		return 200;
	return exchange_list(call->pairs, call->count, EXCHRANGE_DRY_RUN).error;
}

/* The most that was charged to the caller of a dry run, in bytes. */
static unsigned long peak_of(struct exchrange_pair *pairs, uint32_t count)
{
	struct memory_call call = { pairs, count };
	struct outcome outcome;
	unsigned long peak;

	assert_int_equal(run("mkdir " CGROUP), 0);
	assert_int_equal(as_root(call_in_cgroup, &call), 0);
	outcome = run_and_keep("cat " CGROUP "/memory.peak");
	assert_int_equal(outcome.status, 0);
	peak = strtoul(outcome.out, NULL, 10);
	drop_outcome(&outcome);
	assert_int_equal(run("rmdir " CGROUP), 0);
	return peak;
}

static bool has_memory_cgroups(void)
{
	return !run("mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup") &&
	       !run("echo +memory >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null &&"
		    " mkdir " CGROUP " && test -e " CGROUP "/memory.peak; s=$?;"
		    " rmdir " CGROUP "; exit $s");
}

static void test_memory_is_charged_and_bounded(void **state)
{
	const uint32_t count = EXCHRANGE_VECTOR_PAIRS;
	struct exchrange_pair *pairs = calloc(count, sizeof(*pairs));
	int fd1 = make_file("sparse1", plain, 1), fd2 = make_file("sparse2", plain, 2);
	unsigned long one, all;
	uint32_t i;

	(void)state;
	if (!has_memory_cgroups())
		skip();
	assert_non_null(pairs);
	assert_int_equal(ftruncate(fd1, (off_t)count * BLOCK), 0);
	assert_int_equal(ftruncate(fd2, (off_t)count * BLOCK), 0);
	for (i = 0; i < count; i++)
		pairs[i] = block_pair(fd1, i, fd2, i);
	one = peak_of(pairs, 1);
	all = peak_of(pairs, count);
	print_message("# of one pair %lu KiB are charged, of %u pairs %lu KiB: %lu bytes a pair\n",
		      one / 1024, count, all / 1024, (all - one) / count);
	assert_true(all > one + count * PAIR_BYTES);
	assert_true(all < one + count * WORK_BYTES);
	close(fd1);
	close(fd2);
	free(pairs);
}

/* --- killed ---------------------------------------------------------------------------- */

#define KILLED_PAIRS	2000u

struct killed {
	int			fd[4];
	struct exchrange_pair	pairs[KILLED_PAIRS];
};

static int exchange_until_killed(void *argument)
{
	const struct killed *killed = argument;
	int error = 0;

	while (!error)
		error = exchange_list(killed->pairs, KILLED_PAIRS, 0).error;
	return error;
}

/* In four files, each block with another of the next file. */
static void make_killed(struct killed *killed)
{
	const struct file_spec spec = { SHAPE_PLAIN, KILLED_PAIRS / 2 * BLOCK };
	char name[16];
	unsigned int i;

	for (i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "killed%u", i);
		killed->fd[i] = make_file(name, spec, i + 1);
	}
	for (i = 0; i < KILLED_PAIRS; i++) {
		unsigned int pair = i % 2, block = i / 2;

		killed->pairs[i] = block_pair(killed->fd[2 * pair], block,
					      killed->fd[2 * pair + 1], block);
	}
}

/* Whoever is killed in the middle has exchanged all or nothing. */
static void test_killed(void **state)
{
	unsigned int rounds = 40 / test_share() + 3, round, changed = 0, i;
	struct killed *killed = calloc(1, sizeof(*killed));
	struct picture old[4], new[4], now[4];

	(void)state;
	assert_non_null(killed);
	make_killed(killed);
	for (i = 0; i < 4; i++) {
		old[i] = take_picture(killed->fd[i]);
		new[i] = take_picture(killed->fd[i ^ 1]);
	}
	for (round = 0; round < rounds; round++) {
		bool is_old = true, is_new = true;
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0)
			_exit(exchange_until_killed(killed));
		usleep(1000 + random() % 300000);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		for (i = 0; i < 4; i++) {
			now[i] = take_picture(killed->fd[i]);
			is_old &= same_bytes(&now[i], &old[i]);
			is_new &= same_bytes(&now[i], &new[i]);
			drop_picture(&now[i]);
		}
		if (!is_old && !is_new)
			fail_msg("round %u: a part of the list was exchanged", round);
		changed += is_new;
	}
	print_message("# %u rounds, %u of them ended after an odd number of exchanges\n",
		      rounds, changed);
	for (i = 0; i < 4; i++) {
		drop_picture(&old[i]);
		drop_picture(&new[i]);
		close(killed->fd[i]);
	}
	free(killed);
}

/* --- writes ---------------------------------------------------------------------------- */

#define DIRTY_SLOTS	128u

/*
 * A commit of slots that lie side by side writes these together, and none of them waits for
 * another.
 */
static void test_slots_are_written_together(void **state)
{
	const struct file_spec small = { SHAPE_PLAIN, DIRTY_SLOTS * BLOCK };
	const struct file_spec large = { SHAPE_PLAIN, 2 * DIRTY_SLOTS * BLOCK };
	int slots = make_file("slots", small, 1), pages = make_file("pages", large, 2);
	struct exchrange_pair pairs[DIRTY_SLOTS];
	const char *disk = getenv(is_btrfs() ? "BTRFS_DEV" : "XFS_DEV");
	struct cost before, cost;
	unsigned int i;

	(void)state;
	assert_non_null(disk);
	for (i = 0; i < DIRTY_SLOTS; i++)
		pairs[i] = block_pair(slots, i, pages, 2 * i);
	/* To and fro: side by side on the disk again, and each slot has a page of its own. */
	for (i = 0; i < 2; i++)
		assert_answer(exchange_list(pairs, DIRTY_SLOTS, 0), 0, NONE);
	sync();
	for (i = 0; i < DIRTY_SLOTS; i++)
		put_number(slots, i, i + 1);
	before = read_cost(disk);
	assert_answer(exchange_list(pairs, DIRTY_SLOTS, EXCHRANGE_DSYNC), 0, NONE);
	cost = cost_since(&before, disk);
	print_message("# %u slots: %.0f writes, %.0f KiB, %.0f flushes\n", DIRTY_SLOTS,
		      cost.writes, cost.sectors / 2, cost.flushes);
	assert_true(cost.sectors >= DIRTY_SLOTS * BLOCK / 512);
	assert_true(cost.writes < DIRTY_SLOTS / 2);
	close(slots);
	close(pages);
}

/* --- samples ------------------------------------------------------------------------- */

static void sample(int fd, uint64_t freshness[6])
{
	struct exchrange_commit commit = { .file2_fd = fd };

	assert_int_equal(device_start_commit(&commit), 0);
	memcpy(freshness, commit.file2_freshness, sizeof(commit.file2_freshness));
}

static void test_samples_of_all_files(void **state)
{
	uint64_t freshness[2][6];
	struct list list;

	(void)state;
	make_list_of_three(&list);
	list.pairs[0] = block_pair(list.fd[0], 0, list.fd[1], 1);
	list.pairs[1] = block_pair(list.fd[0], 2, list.fd[2], 3);
	sample(list.fd[1], freshness[0]);
	sample(list.fd[2], freshness[1]);
	list.pairs[0].freshness = (uintptr_t)freshness[0];
	list.pairs[1].freshness = (uintptr_t)freshness[1];
	wait_for_another_timestamp();
	assert_answer(exchange_list(list.pairs, 2, 0), 0, NONE);
	assert_block(list.fd[1], 1, 1, 0);
	wait_for_another_timestamp();
	/* Both have changed now; then one is looked at again. */
	assert_answer(exchange_list(list.pairs, 2, 0), EBUSY, 0);
	sample(list.fd[1], freshness[0]);
	wait_for_another_timestamp();
	assert_answer(exchange_list(list.pairs, 2, 0), EBUSY, 1);
	assert_block(list.fd[1], 1, 1, 0);
	drop_list_of_three(&list);
}

/* --- times, watches -------------------------------------------------------------------- */

static void test_each_file_is_counted_once(void **state)
{
	const struct exchrange_watch_page *page[3];
	uint32_t sequence[3];
	struct list list;
	int watch[3], i;

	(void)state;
	make_list_of_three(&list);
	for (i = 0; i < 3; i++) {
		watch[i] = watch_file(list.fd[i]);
		page[i] = map_page(watch[i]);
		sequence[i] = sequence_of(page[i]);
	}
	assert_answer(exchange_list(list.pairs, ROW_PAIRS, EXCHRANGE_DRY_RUN), 0, NONE);
	for (i = 0; i < 3; i++)
		assert_int_equal(sequence_of(page[i]), sequence[i]);
	assert_answer(exchange_list(list.pairs, ROW_PAIRS, 0), 0, NONE);
	for (i = 0; i < 3; i++) {
		assert_int_equal(sequence_of(page[i]), sequence[i] + 2);
		assert_int_equal(page[i]->count, 1);
		unmap_page(page[i]);
		close(watch[i]);
	}
	drop_list_of_three(&list);
}

static void test_times_change(void **state)
{
	struct picture before[3], now;
	struct list list;
	int i;

	(void)state;
	make_list_of_three(&list);
	for (i = 0; i < 3; i++)
		before[i] = take_picture(list.fd[i]);
	wait_for_another_timestamp();
	assert_answer(exchange_list(list.pairs, ROW_PAIRS, 0), 0, NONE);
	for (i = 0; i < 3; i++) {
		now = take_picture(list.fd[i]);
		assert_false(same_times(&before[i], &now));
		drop_picture(&now);
		drop_picture(&before[i]);
	}
	drop_list_of_three(&list);
}

/* --- others meanwhile ------------------------------------------------------------------ */

#define RING		8
#define WORKERS		6

/* Files of which the first block of each has a number, all the same. */
static struct {
	int		fd[RING], staging[RING];
	atomic_bool	stop;
	atomic_ulong	done[WORKERS];
} ring;

/* Writes a new number to the staging files, and exchanges all of them, in some order. */
static void *commit_ring(void *argument)
{
	struct exchrange_pair pairs[RING];
	uint64_t number = 1;
	int first, i;

	while (!atomic_load(&ring.stop)) {
		first = random() % RING;
		for (i = 0; i < RING; i++)
			put_number(ring.staging[i], 0, number);
		for (i = 0; i < RING; i++) {
			int file = (first + i * 3) % RING;

			pairs[i] = block_pair(ring.staging[file], 0, ring.fd[file], 0);
		}
		assert_answer(exchange_list(pairs, RING, 0), 0, NONE);
		number++;
		atomic_fetch_add((atomic_ulong *)argument, 1);
	}
	return NULL;
}

/* Single exchanges of other blocks of the same files, both ways round. */
static void *exchange_singles(void *argument)
{
	while (!atomic_load(&ring.stop)) {
		int i = random() % RING, j = random() % RING;
		struct exchrange_range range = {
			.file1_fd	= ring.fd[i],
			.file2_fd	= i == j ? ring.staging[j] : ring.fd[j],
			.file1_offset	= 2 * BLOCK,
			.file2_offset	= 2 * BLOCK,
			.length		= BLOCK,
		};

		assert_int_equal(device_exchange(&range), 0);
		atomic_fetch_add((atomic_ulong *)argument, 1);
	}
	return NULL;
}

/* Lists that name the files in another order, and on both sides. */
static void *exchange_lists(void *argument)
{
	struct exchrange_pair pairs[RING];
	int i;

	while (!atomic_load(&ring.stop)) {
		int step = 1 + 2 * (random() % 4);

		for (i = 0; i < RING; i++)
			pairs[i] = block_pair(ring.fd[i * step % RING], 3,
					      ring.staging[(i + 1) * step % RING], 4);
		assert_answer(exchange_list(pairs, RING, 0), 0, NONE);
		atomic_fetch_add((atomic_ulong *)argument, 1);
	}
	return NULL;
}

static void *clone_ranges(void *argument)
{
	while (!atomic_load(&ring.stop)) {
		int i = random() % RING, j = random() % RING;
		struct file_clone_range range = {
			.src_fd		= ring.fd[i],
			.src_offset	= 5 * BLOCK,
			.src_length	= BLOCK,
			.dest_offset	= 6 * BLOCK,
		};

		if (ioctl(ring.fd[j], FICLONERANGE, &range) && errno == EOPNOTSUPP)
			return NULL;
		atomic_fetch_add((atomic_ulong *)argument, 1);
	}
	return NULL;
}

static void *rename_files(void *argument)
{
	char from[16], to[16];

	while (!atomic_load(&ring.stop)) {
		int i = random() % RING, j = random() % RING;

		if (i == j)
			continue;
		snprintf(from, sizeof(from), "ring%d", i);
		snprintf(to, sizeof(to), "ring%d", j);
		assert_int_equal(renameat2(AT_FDCWD, path_of(from), AT_FDCWD, path_of(to),
					   RENAME_EXCHANGE), 0);
		atomic_fetch_add((atomic_ulong *)argument, 1);
	}
	return NULL;
}

/* By the file systems' own tools, which lock one file, or a file and a temporary one. */
static void *defragment(void *argument)
{
	while (!atomic_load(&ring.stop)) {
		int file = random() % RING;

		/* A file that changes meanwhile is left, with a message; one of an overlay, too. */
		if (is_btrfs() && !is_overlay())
			assert_int_equal(run("btrfs -q filesystem defragment -f '%s/ring%d'",
					     mount_point, file), 0);
		else
			run("xfs_fsr '%s/ring%d' >/dev/null 2>&1 || true", mount_point, file);
		atomic_fetch_add((atomic_ulong *)argument, 1);
	}
	return NULL;
}

static void test_others_meanwhile(void **state)
{
	static void *(*const work[WORKERS])(void *argument) = {
		commit_ring, exchange_singles, exchange_lists, clone_ranges, rename_files,
		defragment,
	};
	unsigned int seconds = 20 / test_share() + 5;
	pthread_t thread[WORKERS];
	char name[16];
	int i;

	(void)state;
	memset(&ring, 0, sizeof(ring));
	for (i = 0; i < RING; i++) {
		snprintf(name, sizeof(name), "ring%d", i);
		ring.fd[i] = make_file(name, plain, i + 1);
		snprintf(name, sizeof(name), "slots%d", i);
		ring.staging[i] = make_file(name, plain, i + 100);
		put_number(ring.fd[i], 0, 0);
	}
	for (i = 0; i < WORKERS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, work[i], &ring.done[i]), 0);
	sleep(seconds);
	atomic_store(&ring.stop, true);
	for (i = 0; i < WORKERS; i++)
		pthread_join(thread[i], NULL);
	print_message("# commits %lu, singles %lu, lists %lu, clones %lu, renames %lu, defragmented %lu\n",
		      ring.done[0], ring.done[1], ring.done[2], ring.done[3], ring.done[4],
		      ring.done[5]);
	assert_true(ring.done[0] && ring.done[1] && ring.done[2]);
	for (i = 0; i < RING; i++) {
		close(ring.fd[i]);
		close(ring.staging[i]);
	}
}

/* --- readers --------------------------------------------------------------------------- */

/* Files of which the first block has one number, and their staging files. */
#define TOLD		2

static struct {
	int		fd[TOLD], staging[TOLD];
	atomic_bool	stop;
	atomic_ulong	commits;
} told;

/* All of them at once, with a pause in between, so that there is something to read. */
static void *commit_told(void *argument)
{
	struct exchrange_pair pairs[TOLD];
	uint64_t number = 1;
	int i;

	(void)argument;
	for (; !atomic_load(&told.stop); number++) {
		for (i = 0; i < TOLD; i++) {
			put_number(told.staging[i], 0, number);
			pairs[i] = block_pair(told.staging[i], 0, told.fd[i], 0);
		}
		assert_answer(exchange_list(pairs, TOLD, 0), 0, NONE);
		atomic_fetch_add(&told.commits, 1);
		usleep(random() % 10000);
	}
	return NULL;
}

/* What each file has now: by read(2), or as the mapped page @map has it. */
static void read_numbers(const uint64_t *map[TOLD], uint64_t number[TOLD])
{
	int i;

	for (i = 0; i < TOLD; i++)
		if (map[i])
			number[i] = __atomic_load_n(map[i], __ATOMIC_RELAXED);
		else
			assert_int_equal(pread(told.fd[i], &number[i], 8, 8), 8);
}

struct readings {
	unsigned long	made, anew, torn;
};

/* Each as the protocol has it, with a watch of each file; @careless: without. */
static void read_told(const struct exchrange_watch_page *page[TOLD], const uint64_t *map[TOLD],
		      bool careless, struct readings *readings)
{
	uint32_t sequence[TOLD];
	uint64_t number[TOLD];
	bool stable = true;
	int i;

	for (i = 0; i < TOLD; i++)
		sequence[i] = __atomic_load_n(&page[i]->sequence, __ATOMIC_ACQUIRE);
	read_numbers(map, number);
	atomic_thread_fence(memory_order_acquire);
	for (i = 0; i < TOLD; i++)
		stable &= !(sequence[i] & 1) &&
			  sequence[i] == __atomic_load_n(&page[i]->sequence, __ATOMIC_RELAXED);
	if (!stable && !careless) {
		readings->anew++;
		return;
	}
	readings->made++;
	for (i = 1; i < TOLD; i++)
		readings->torn += number[i] != number[0];
}

static void read_for_a_while(bool mapped)
{
	unsigned int rounds = 4000 / test_share() + 400;
	const struct exchrange_watch_page *page[TOLD];
	struct readings careful = { }, careless = { };
	const uint64_t *map[TOLD] = { };
	int watch[TOLD], i;

	for (i = 0; i < TOLD; i++) {
		watch[i] = watch_file(told.fd[i]);
		page[i] = map_page(watch[i]);
		if (mapped)
			map[i] = mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, told.fd[i], 0);
		assert_ptr_not_equal(map[i], MAP_FAILED);
	}
	/* As often as it takes to have seen some that are torn, where nobody looks. */
	while (careful.anew < rounds / 40 || careful.made < rounds || !careless.torn) {
		read_told(page, map, false, &careful);
		read_told(page, map, true, &careless);
	}
	print_message("# %s: %lu commits; %lu readings, %lu anew, %lu torn; without the protocol %lu torn of %lu\n",
		      mapped ? "mapped" : "read", told.commits, careful.made, careful.anew,
		      careful.torn, careless.torn, careless.made);
	assert_int_equal(careful.torn, 0);
	for (i = 0; i < TOLD; i++) {
		if (mapped)
			munmap((void *)map[i], BLOCK);
		unmap_page(page[i]);
		close(watch[i]);
	}
}

/* No reader with watches of two files finds one of before a commit beside one of after. */
static void test_readers_of_two_files(void **state)
{
	pthread_t thread;
	char name[16];
	int i;

	(void)state;
	memset(&told, 0, sizeof(told));
	for (i = 0; i < TOLD; i++) {
		snprintf(name, sizeof(name), "told%d", i);
		told.fd[i] = make_file(name, plain, i + 1);
		snprintf(name, sizeof(name), "telling%d", i);
		told.staging[i] = make_file(name, plain, i + 100);
		put_number(told.fd[i], 0, 0);
	}
	assert_int_equal(pthread_create(&thread, NULL, commit_told, NULL), 0);
	read_for_a_while(false);
	read_for_a_while(true);
	atomic_store(&told.stop, true);
	pthread_join(thread, NULL);
	for (i = 0; i < TOLD; i++) {
		close(told.fd[i]);
		close(told.staging[i]);
	}
}

/* --- btrfs: several subvolumes --------------------------------------------------------- */

static void test_several_subvolumes(void **state)
{
	struct exchrange_pair pairs[6];
	char name[32];
	int fd[6];
	unsigned int i;

	(void)state;
	if (!is_btrfs() || is_overlay()) {
		skip();
		return;
	}
	for (i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "subvolume%u", i);
		assert_int_equal(run("test -d %s || btrfs -q subvolume create %s",
				     path_of(name), path_of(name)), 0);
		snprintf(name, sizeof(name), "subvolume%u/file", i);
		fd[i] = make_file(name, plain, i + 1);
	}
	for (i = 0; i < 6; i++)
		pairs[i] = block_pair(fd[i], i, fd[(i + 1) % 6], 15 - i);
	assert_answer(exchange_list(pairs, 6, EXCHRANGE_DSYNC), 0, NONE);
	for (i = 0; i < 6; i++) {
		assert_block(fd[i], i, (i + 1) % 6 + 1, 15 - i);
		assert_block(fd[(i + 1) % 6], 15 - i, i + 1, i);
	}
	for (i = 0; i < 6; i++)
		close(fd[i]);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest others[] = {
		cmocka_unit_test(test_random_lists_do_what_the_model_says),
		cmocka_unit_test(test_list_of_three_is_right),
		cmocka_unit_test(test_empty_list),
		cmocka_unit_test(test_struct),
		cmocka_unit_test(test_query_tells),
		cmocka_unit_test(test_as_many_files_as_allowed),
		cmocka_unit_test(test_many_descriptors_of_two_files),
		cmocka_unit_test(test_as_many_pairs_as_allowed),
		cmocka_unit_test(test_users_pairs_count_on_btrfs),
		cmocka_unit_test(test_memory_is_charged_and_bounded),
		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_slots_are_written_together),
		cmocka_unit_test(test_samples_of_all_files),
		cmocka_unit_test(test_each_file_is_counted_once),
		cmocka_unit_test(test_times_change),
		cmocka_unit_test(test_others_meanwhile),
		cmocka_unit_test(test_readers_of_two_files),
		cmocka_unit_test(test_several_subvolumes),
	};
	const struct table table = {
		.group		= "vectors",
		.rows		= error_rows,
		.row_size	= sizeof(error_rows[0]),
		.row_count	= COUNT(error_rows),
		.test		= test_refused,
		.others		= others,
		.other_count	= COUNT(others),
	};

	start(argc, argv);
	return run_table(&table);
}
