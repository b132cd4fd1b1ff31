// SPDX-License-Identifier: GPL-2.0
/*
 * Each allocation of each kind of call fails once: the first, the second, and so on, until
 * the call needs no more of them.  The answer is ENOMEM and nothing has changed, or
 * success and all has; and the file system goes on.  Where btrfs had to abort its
 * transaction, or XFS to shut down, the pair is wholly old or wholly new at the next mount.
 *
 *	test_fail_allocations MOUNTPOINT
 *
 * The work is on a file system on $SCRATCH_DEV1.  Takes a kernel with
 * FAULT_INJECTION, FAILSLAB and FAIL_PAGE_ALLOC; skips on others.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common.h"

#define FAULT	"/sys/kernel/debug/"
#define LEAKS	"/sys/kernel/debug/kmemleak"

enum call { EXCHANGE, START_COMMIT, COMMIT, VECTOR, QUERY, WATCH, STAGE, HOLD, OPEN_DEVICE };

#define MOST_FILES	4
#define VECTOR_PAIRS	17	/* at the most: see list_pairs() */

/* How a row's files are made beyond what their specs say. */
#define ON_BTRFS	1	/* only there */
#define ONE_FILE	2	/* file2 is file1 */
#define SUBVOLUMES	4	/* file2 is in another one */
#define DIRTY		8	/* each is overwritten, and not synced */
#define COMPRESSED	16	/* each is of bytes that can be, and is */
#define CHANGES_NONE	32	/* a success changes nothing */
#define ONCE		64	/* a second call does not take it back */
#define WRITES		128	/* it has pages to write itself */
#define FRUGAL		256	/* it may need no memory at all */
#define FOUR_FILES	512	/* file3 is as file1, file4 as file2 */
#define SAMPLES		1024	/* the pairs of a vector have them */

static const struct row {
	const char		*name;
	enum call		call;
	unsigned int		options;
	struct file_spec	spec[2];
	struct exchrange_range	range;
} rows[] = {
	{ "whole files", EXCHANGE, 0,
	  { { SHAPE_PLAIN, 3 * BLOCK }, { SHAPE_PLAIN, 3 * BLOCK } },
	  { .length = 3 * BLOCK } },
	{ "a range of many extents", EXCHANGE, 0,
	  { { SHAPE_HOLES, 24 * BLOCK }, { SHAPE_HOLES, 24 * BLOCK } },
	  { .file1_offset = 2 * BLOCK, .file2_offset = 7 * BLOCK,
	    .length = 15 * BLOCK } },
	{ "TO_EOF, unequal sizes", EXCHANGE, 0,
	  { { SHAPE_PLAIN, 5 * BLOCK + 100 }, { SHAPE_HOLES, 20 * BLOCK + 7 } },
	  { .flags = EXCHRANGE_TO_EOF } },
	{ "small files", EXCHANGE, 0,
	  { { SHAPE_PLAIN, 700 }, { SHAPE_PLAIN, 1500 } },
	  { .flags = EXCHRANGE_TO_EOF } },
	{ "small files, FILE1_WRITTEN", EXCHANGE, ONCE | WRITES,
	  { { SHAPE_PLAIN, 700 }, { SHAPE_PLAIN, 1500 } },
	  { .flags = EXCHRANGE_TO_EOF | EXCHRANGE_FILE1_WRITTEN } },
	{ "DSYNC", EXCHANGE, 0,
	  { { SHAPE_PLAIN, 3 * BLOCK }, { SHAPE_PLAIN, 4 * BLOCK } },
	  { .flags = EXCHRANGE_TO_EOF | EXCHRANGE_DSYNC } },
	{ "DRY_RUN", EXCHANGE, CHANGES_NONE,
	  { { SHAPE_HOLES, 9 * BLOCK }, { SHAPE_PLAIN, 4 * BLOCK } },
	  { .flags = EXCHRANGE_TO_EOF | EXCHRANGE_DRY_RUN } },
	{ "FILE1_WRITTEN", EXCHANGE, 0,
	  { { SHAPE_HOLES, 12 * BLOCK }, { SHAPE_PLAIN, 12 * BLOCK } },
	  { .length = 12 * BLOCK, .flags = EXCHRANGE_FILE1_WRITTEN } },
	{ "FILE1_WRITTEN, TO_EOF", EXCHANGE, ONCE,
	  { { SHAPE_HOLES, 12 * BLOCK + 9 }, { SHAPE_PLAIN, 17 * BLOCK } },
	  { .flags = EXCHRANGE_FILE1_WRITTEN | EXCHRANGE_TO_EOF } },
	{ "one file with itself", EXCHANGE, ONE_FILE,
	  { { SHAPE_HOLES, 16 * BLOCK } },
	  { .file2_offset = 8 * BLOCK, .length = 6 * BLOCK } },
	{ "two subvolumes", EXCHANGE, ON_BTRFS | SUBVOLUMES,
	  { { SHAPE_PLAIN, 5 * BLOCK }, { SHAPE_HOLES, 8 * BLOCK } },
	  { .flags = EXCHRANGE_TO_EOF } },
	{ "dirty pages", EXCHANGE, DIRTY,
	  { { SHAPE_PLAIN, 6 * BLOCK }, { SHAPE_PLAIN, 4 * BLOCK } },
	  { .flags = EXCHRANGE_TO_EOF } },
	{ "preallocated", EXCHANGE, 0,
	  { { SHAPE_PREALLOCATED, 9 * BLOCK }, { SHAPE_PREALLOCATED, 7 * BLOCK } },
	  { .flags = EXCHRANGE_TO_EOF } },
	{ "compressed", EXCHANGE, ON_BTRFS | COMPRESSED,
	  { { SHAPE_PLAIN, 0 }, { SHAPE_PLAIN, 0 } },
	  { .file1_offset = BLOCK, .length = 20 * BLOCK } },
	{ "START_COMMIT", START_COMMIT, CHANGES_NONE | FRUGAL,
	  { { SHAPE_PLAIN, 2 * BLOCK }, { SHAPE_PLAIN, 2 * BLOCK } } },
	{ "START_COMMIT, dirty pages", START_COMMIT, CHANGES_NONE | DIRTY | FRUGAL,
	  { { SHAPE_PLAIN, 2 * BLOCK }, { SHAPE_PLAIN, 2 * BLOCK } } },
	{ "COMMIT", COMMIT, 0,
	  { { SHAPE_PLAIN, 2 * BLOCK }, { SHAPE_PLAIN, 2 * BLOCK } },
	  { .flags = EXCHRANGE_TO_EOF } },
	{ "a vector of many pairs", VECTOR, 0,
	  { { SHAPE_HOLES, 24 * BLOCK }, { SHAPE_SCATTERED, 20 * BLOCK } } },
	{ "a vector of four files", VECTOR, FOUR_FILES,
	  { { SHAPE_SCATTERED, 16 * BLOCK }, { SHAPE_HOLES, 10 * BLOCK + 100 } } },
	{ "a vector of four files, DSYNC, samples", VECTOR, FOUR_FILES | SAMPLES,
	  { { SHAPE_PLAIN, 12 * BLOCK }, { SHAPE_PLAIN, 9 * BLOCK } },
	  { .flags = EXCHRANGE_DSYNC } },
	{ "a vector, DRY_RUN", VECTOR, FOUR_FILES | CHANGES_NONE,
	  { { SHAPE_PLAIN, 12 * BLOCK }, { SHAPE_PLAIN, 9 * BLOCK } },
	  { .flags = EXCHRANGE_DRY_RUN } },
	{ "a vector of two subvolumes", VECTOR, ON_BTRFS | SUBVOLUMES | FOUR_FILES,
	  { { SHAPE_PLAIN, 12 * BLOCK }, { SHAPE_HOLES, 9 * BLOCK } } },
	{ "QUERY", QUERY, CHANGES_NONE | FRUGAL,
	  { { SHAPE_PLAIN, BLOCK }, { SHAPE_PLAIN, BLOCK } } },
	{ "WATCH", WATCH, CHANGES_NONE,
	  { { SHAPE_PLAIN, BLOCK }, { SHAPE_PLAIN, BLOCK } } },
	{ "STAGE", STAGE, CHANGES_NONE,
	  { { SHAPE_PLAIN, BLOCK }, { SHAPE_PLAIN, BLOCK } } },
	{ "STAGE, a reflink", STAGE, CHANGES_NONE,
	  { { SHAPE_SCATTERED, 16 * BLOCK }, { SHAPE_PLAIN, BLOCK } },
	  { .flags = EXCHRANGE_STAGE_CLONE } },
	{ "STAGE, compressed", STAGE, CHANGES_NONE | ON_BTRFS | COMPRESSED,
	  { { SHAPE_PLAIN, 0 }, { SHAPE_PLAIN, 0 } } },
	{ "HOLD", HOLD, CHANGES_NONE,
	  { { SHAPE_PLAIN, BLOCK }, { SHAPE_PLAIN, BLOCK } } },
	{ "open of the device", OPEN_DEVICE, CHANGES_NONE,
	  { { SHAPE_PLAIN, BLOCK }, { SHAPE_PLAIN, BLOCK } } },
};

/* The files of a row: as they are before a success and after it, and before @old on disk. */
struct pair {
	int		count;
	int		fd[MOST_FILES];
	struct picture	durable[MOST_FILES], old[MOST_FILES], new[MOST_FILES];
};

struct tally {
	unsigned int	failed;		/* allocations, each in a call of its own */
	unsigned int	refused, tolerated, aborted;
};

static int fail_nth = -1, probe = -1;
static bool broken;

static void set_fail_nth(unsigned int n)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%u", n);

	if (pwrite(fail_nth, text, length, 0) != length)
		fail_msg("fail-nth: %s", strerror(errno));
}

/* Counts down to 0, which is where an allocation failed. */
static bool has_failed(void)
{
	char text[16] = "";

	assert_true(pread(fail_nth, text, sizeof(text) - 1, 0) > 0);
	return strtoul(text, NULL, 10) == 0;
}

static const char *name_of(const struct row *row, int file)
{
	static const char * const names[][MOST_FILES] = {
		{ "file1", "file2", "file3", "file4" },
		{ "file1", "subvolume/file2", "file3", "subvolume/file4" },
	};

	if (row->options & ONE_FILE)
		return "file1";
	return names[!!(row->options & SUBVOLUMES)][file];
}

static const struct file_spec *spec_of(const struct row *row, int file)
{
	return &row->spec[file % 2];
}

/* Overwrites what the file has; its pages stay in the cache. */
static void dirty(int fd, uint64_t size, unsigned int seed)
{
	uint8_t *bytes = malloc(size);
	uint64_t i;

	assert_non_null(bytes);
	for (i = 0; i < size; i++)
		bytes[i] = content_byte(seed, i);
	assert_int_equal(pwrite(fd, bytes, size, 0), size);
	free(bytes);
}

static void write_compressed(int fd, char letter)
{
	char bytes[32 * BLOCK];

	memset(bytes, letter, sizeof(bytes));
	assert_int_equal(fsetxattr(fd, "btrfs.compression", "zstd", 4, 0), 0);
	assert_int_equal(pwrite(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	assert_int_equal(fsync(fd), 0);
}

static void make_files(const struct row *row, struct pair *pair)
{
	int i;

	pair->count = row->options & FOUR_FILES ? MOST_FILES : 2;
	for (i = 0; i < pair->count; i++) {
		if (i == 1 && row->options & ONE_FILE) {
			pair->fd[1] = pair->fd[0];
			break;
		}
		pair->fd[i] = make_file(name_of(row, i), *spec_of(row, i), i + 1);
		if (row->options & COMPRESSED)
			write_compressed(pair->fd[i], 'a' + i);
	}
}

static void close_files(const struct row *row, struct pair *pair)
{
	int i;

	for (i = 0; i < (row->options & ONE_FILE ? 1 : pair->count); i++)
		close(pair->fd[i]);
}

static void open_files(const struct row *row, struct pair *pair)
{
	int i;

	for (i = 0; i < pair->count; i++)
		pair->fd[i] = i && row->options & ONE_FILE ? pair->fd[0] :
			      open_path(path_of(name_of(row, i)), O_RDWR);
}

static void take_pictures(const struct pair *pair, struct picture *pictures)
{
	int i;

	for (i = 0; i < pair->count; i++)
		pictures[i] = take_picture(pair->fd[i]);
}

static void drop_pictures(const struct pair *pair, struct picture *pictures)
{
	int i;

	for (i = 0; i < pair->count; i++)
		drop_picture(&pictures[i]);
}

static void dirty_files(const struct row *row, const struct pair *pair)
{
	int i;

	for (i = 0; i < pair->count && row->options & DIRTY; i++)
		dirty(pair->fd[i], spec_of(row, i)->size, i + 3);
}

/* Files as they are before each call, and the pictures of that. */
static void make_pair(const struct row *row, struct pair *pair)
{
	make_files(row, pair);
	/* A page that could not be written, for want of memory, is told once. */
	if (syncfs(pair->fd[0]))
		assert_int_equal(syncfs(pair->fd[0]), 0);
	take_pictures(pair, pair->durable);
	dirty_files(row, pair);
	take_pictures(pair, pair->old);
	/* To look for holes has written it back. */
	dirty_files(row, pair);
}

static void drop_pair(const struct row *row, struct pair *pair)
{
	close_files(row, pair);
	drop_pictures(pair, pair->durable);
	drop_pictures(pair, pair->old);
}

/* All that a call may need; made before an allocation is to fail. */
struct arguments {
	struct exchrange_range	range;
	struct exchrange_commit	commit;
	struct exchrange_pair	pairs[VECTOR_PAIRS];
	struct exchrange_commit	samples[MOST_FILES];
	struct exchrange_vector	vector;
	struct exchrange_query	query;
	struct exchrange_watch	watch;
	struct exchrange_stage	stage;
	struct exchrange_hold	hold;
};

/* A file that nobody writes to: the others are open. */
static int open_unwritten(void)
{
	close(open(path_of("held"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	return open_path(path_of("held"), O_RDONLY);
}

/*
 * Of two files the first blocks, backwards; of four, all of them in a ring, and what the last
 * two have behind that.  The same list takes it back.
 */
static uint32_t list_pairs(const struct pair *pair, struct exchrange_pair *pairs)
{
	uint32_t count = 0;
	unsigned int i, first, second, blocks = pair->count == 2 ? VECTOR_PAIRS : 4;

	for (i = 0; i < blocks; i++)
		for (first = 0; first < (pair->count == 2 ? 1u : 4u); first++) {
			second = (first + 1) % pair->count;
			pairs[count++] = block_pair(pair->fd[first], i, pair->fd[second],
						    pair->count == 2 ? blocks - 1 - i : i + 4);
		}
	if (pair->count == 2)
		return count;
	pairs[count] = block_pair(pair->fd[2], 8, pair->fd[3], 8);
	pairs[count++].flags = EXCHRANGE_TO_EOF;
	return count;
}

static void prepare_vector(const struct row *row, const struct pair *pair,
			   struct arguments *arguments)
{
	uint32_t i;
	int file;

	arguments->vector = (struct exchrange_vector) {
		.pairs		= (uintptr_t)arguments->pairs,
		.count		= list_pairs(pair, arguments->pairs),
		.pair_size	= sizeof(arguments->pairs[0]),
		.flags		= row->range.flags,
	};
	for (file = 0; file < pair->count && row->options & SAMPLES; file++) {
		arguments->samples[file].file2_fd = pair->fd[file];
		assert_int_equal(device_start_commit(&arguments->samples[file]), 0);
		for (i = 0; i < arguments->vector.count; i++)
			if (arguments->pairs[i].file2_fd == pair->fd[file])
				arguments->pairs[i].freshness =
					(uintptr_t)arguments->samples[file].file2_freshness;
	}
}

static void prepare(const struct row *row, const struct pair *pair,
		    struct arguments *arguments)
{
	*arguments = (struct arguments) {
		.range	= row->range,
		.commit = {
			.file1_fd	= pair->fd[0],
			.file2_fd	= pair->fd[1],
			.flags		= row->range.flags,
		},
		.query	= { .fd = pair->fd[0] },
		.watch	= { .fd = pair->fd[0] },
		.stage	= { .fd = pair->fd[0], .flags = row->range.flags },
	};
	arguments->range.file1_fd = pair->fd[0];
	arguments->range.file2_fd = pair->fd[1];
	arguments->hold.fd = row->call == HOLD ? open_unwritten() : -1;
	if (row->call == COMMIT)
		assert_int_equal(device_start_commit(&arguments->commit), 0);
	if (row->call == VECTOR)
		prepare_vector(row, pair, arguments);
}

static int open_device(void)
{
	int fd = open("/dev/exchrange", O_RDWR | O_CLOEXEC);
	int error = errno;

	if (fd < 0)
		return error;
	close(fd);
	return 0;
}

/* A call that returns a descriptor. */
static int open_and_close(unsigned long request, const void *argument)
{
	int fd = ioctl(device, request, argument);
	int error = errno;

	if (fd < 0)
		return error;
	close(fd);
	return 0;
}

static int make_call(enum call call, struct arguments *arguments)
{
	switch (call) {
	case EXCHANGE:
		return device_exchange(&arguments->range);
	case START_COMMIT:
		return device_start_commit(&arguments->commit);
	case COMMIT:
		return device_commit(&arguments->commit);
	case VECTOR:
		return ioctl(device, EXCHRANGE_IOC_EXCHANGE_VECTOR, &arguments->vector) ?
		       errno : 0;
	case QUERY:
		return ioctl(device, EXCHRANGE_IOC_QUERY, &arguments->query) ?
		       errno : 0;
	case WATCH:
		return open_and_close(EXCHRANGE_IOC_WATCH, &arguments->watch);
	case STAGE:
		return open_and_close(EXCHRANGE_IOC_STAGE, &arguments->stage);
	case HOLD:
		return open_and_close(EXCHRANGE_IOC_HOLD, &arguments->hold);
	case OPEN_DEVICE:
		break;
	}
	return open_device();
}

/* With the @n-th allocation failing; in between there is nothing but the call. */
static int call_with_failure(const struct row *row, const struct pair *pair,
			     unsigned int n, bool *failed)
{
	struct arguments arguments;
	int error;

	prepare(row, pair, &arguments);
	set_fail_nth(0);	/* faults in what the next line touches */
	set_fail_nth(n);
	error = make_call(row->call, &arguments);
	*failed = has_failed();
	set_fail_nth(0);
	close(arguments.hold.fd);
	return error;
}

static bool takes_a_write(void)
{
	static uint8_t byte;

	byte++;
	if (pwrite(probe, &byte, 1, 0) == 1 && fsync(probe) == 0)
		return true;
	if (errno != EROFS && errno != EIO)
		fail_msg("a write after it: %s", strerror(errno));
	return false;
}

static void open_probe(void)
{
	probe = open(path_of("probe"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(probe >= 0);
}

static bool is_pair(const struct pair *pair, const struct picture *a, const struct picture *b)
{
	int i;

	for (i = 0; i < pair->count; i++)
		if (!same_bytes(&a[i], &b[i]))
			return false;
	return true;
}

/*
 * Whether a crash may have left this: the whole pair, and where nobody had synced what
 * each file was overwritten with, perhaps without that.
 */
static bool is_recovered(const struct pair *pair, const struct picture *now)
{
	int i;

	if (is_pair(pair, now, pair->new))
		return true;
	for (i = 0; i < pair->count; i++)
		if (!same_bytes(&now[i], &pair->durable[i]) &&
		    !same_bytes(&now[i], &pair->old[i]))
			return false;
	return true;
}

static const char *describe(const struct pair *pair, const struct picture *now)
{
	static const char * const what[] = {
		"mixed or lost", "old", "new", "what it was and stays",
	};

	return what[is_pair(pair, now, pair->old) + 2 * is_pair(pair, now, pair->new)];
}

static void say_where(const struct row *row, unsigned int n, int error)
{
	print_message("# %s: with allocation %u failing the answer is %s\n",
		      row->name, n, error ? strerror(error) : "success");
}

/* Where the answer is not what was promised, with all that is needed to see it again. */
#define demand(condition, row, n, error, ...) do {			\
	if (!(condition)) {						\
		say_where(row, n, error);				\
		fail_msg(__VA_ARGS__);					\
	}								\
} while (0)

/*
 * Of a page that could not be written for want of memory, the page cache remembers no
 * more than EIO.
 */
static bool is_answer(const struct row *row, int error)
{
	return !error || error == ENOMEM ||
	       (error == EIO && row->options & (DIRTY | WRITES));
}

/* The file system still takes writes. */
static void check_alive(const struct row *row, const struct pair *pair,
			unsigned int n, int error)
{
	const struct picture *expected = error ? pair->old : pair->new;
	struct picture now[MOST_FILES];
	int i;

	demand(is_answer(row, error), row, n, error, "not an answer");
	take_pictures(pair, now);
	demand(is_pair(pair, now, expected), row, n, error, "the pair is %s",
	       describe(pair, now));
	for (i = 0; i < pair->count; i++) {
		demand(same_blocks(&now[i], &expected[i]), row, n, error,
		       "file%d has other holes", i + 1);
		demand(!error || row->options & DIRTY ||
		       same_times(&now[i], &pair->old[i]), row, n, error,
		       "file%d has other times", i + 1);
	}
	drop_pictures(pair, now);
}

/* It does not: the transaction was aborted, or XFS has shut down. */
static void check_aborted(const struct row *row, struct pair *pair,
			  unsigned int n, int error)
{
	struct picture now[MOST_FILES];

	/* A staging file goes when it is closed: that may be what has failed. */
	demand(error == ENOMEM || error == EIO || error == EROFS ||
	       (row->call == STAGE && !error), row, n, error,
	       "and the file system takes no write");
	close_files(row, pair);
	close(probe);
	unmount_scratch();
	check_scratch();
	open_probe();
	open_files(row, pair);
	take_pictures(pair, now);
	demand(is_recovered(pair, now), row, n, error,
	       "after the next mount the pair is %s", describe(pair, now));
	drop_pictures(pair, now);
}

/* That a page could not be written is told once, to whoever asks first. */
static void take_write_errors(const struct row *row, const struct pair *pair)
{
	int i;

	for (i = 0; i < pair->count && row->options & (DIRTY | WRITES); i++)
		fsync(pair->fd[i]);
}

/* false: the call needs less than @n allocations. */
static bool try_nth(const struct row *row, struct pair *pair, unsigned int n,
		    struct tally *tally)
{
	bool failed;
	int error = call_with_failure(row, pair, n, &failed);

	if (!failed) {
		demand(!error, row, n, error, "without a failure");
		check_alive(row, pair, n, error);
		return false;
	}
	tally->failed++;
	take_write_errors(row, pair);
	if (!takes_a_write()) {
		check_aborted(row, pair, n, error);
		tally->aborted++;
	} else {
		check_alive(row, pair, n, error);
		if (error)
			tally->refused++;
		else
			tally->tolerated++;
	}
	return true;
}

/* What the call makes of the files when nothing fails. */
static void find_new(const struct row *row, struct pair *pair)
{
	bool failed;

	make_pair(row, pair);
	assert_int_equal(call_with_failure(row, pair, 0, &failed), 0);
	take_pictures(pair, pair->new);
	assert_int_equal(is_pair(pair, pair->old, pair->new),
			 !!(row->options & CHANGES_NONE));
	assert_true(takes_a_write());
}

/* The same once more takes it back, at less cost than files made anew. */
static bool can_go_back(const struct row *row, const struct pair *pair,
			const struct picture *now)
{
	return (row->call == EXCHANGE || row->call == VECTOR) && is_pair(pair, now, pair->new) &&
	       !(row->options & (DIRTY | COMPRESSED | CHANGES_NONE | ONCE));
}

static void go_back(const struct row *row, struct pair *pair)
{
	struct arguments arguments;
	struct picture old[MOST_FILES];

	memcpy(old, pair->old, sizeof(old));
	prepare(row, pair, &arguments);
	assert_int_equal(make_call(row->call, &arguments), 0);
	take_pictures(pair, pair->old);
	assert_true(is_pair(pair, pair->old, old));
	drop_pictures(pair, old);
}

static bool have_same_times(const struct pair *pair, const struct picture *a,
			    const struct picture *b)
{
	int i;

	for (i = 0; i < pair->count; i++)
		if (!same_times(&a[i], &b[i]))
			return false;
	return true;
}

/* Old files again: nothing is done where they are. */
static void restore_pair(const struct row *row, struct pair *pair)
{
	struct picture now[MOST_FILES];

	take_pictures(pair, now);
	if (can_go_back(row, pair, now)) {
		go_back(row, pair);
	} else if (row->options & DIRTY || !is_pair(pair, now, pair->old) ||
		   !have_same_times(pair, now, pair->old)) {
		drop_pair(row, pair);
		make_pair(row, pair);
	}
	drop_pictures(pair, now);
}

static void fail_each(const struct row *row, struct pair *pair,
		      struct tally *tally)
{
	unsigned int n = 0;

	do {
		restore_pair(row, pair);
	} while (try_nth(row, pair, ++n, tally));
}

static void test_row(void **state)
{
	const struct row *row = *state;
	struct tally tally = { };
	struct pair pair;

	if (fail_nth < 0 || (row->options & ON_BTRFS && !is_btrfs()) || broken)
		skip();
	/* What a row that fails has left would be in the way of the next. */
	broken = true;
	open_probe();
	/* It may be there, of another row. */
	if (row->options & SUBVOLUMES && access(path_of("subvolume"), F_OK))
		assert_int_equal(run("btrfs -q subvolume create %s",
				     path_of("subvolume")), 0);
	find_new(row, &pair);
	fail_each(row, &pair, &tally);
	print_message("# %s: %u allocations failed: %u ENOMEM, %u tolerated, %u aborts, each pair whole after the next mount\n",
		      row->name, tally.failed, tally.refused, tally.tolerated,
		      tally.aborted);
	/* Else nothing was tried. */
	assert_true(tally.failed > 0 || row->options & FRUGAL);
	drop_pair(row, &pair);
	drop_pictures(&pair, pair.new);
	close(probe);
	broken = false;
}

static bool has_leak_detector(void)
{
	return fail_nth >= 0 && access(LEAKS, W_OK) == 0;
}

/* Memory that nobody points to any more, with one of our functions in its history. */
static void test_no_leak(void **state)
{
	struct outcome outcome;

	(void)state;
	if (!has_leak_detector()) {
		print_message("# skipped: this kernel has no kmemleak\n");
		skip();
	}
	/* What was freed lately may be pointed to from a stack. */
	assert_int_equal(run("echo scan >" LEAKS " && sleep 6 && echo scan >" LEAKS), 0);
	outcome = run_and_keep("cat " LEAKS);
	assert_int_equal(outcome.status, 0);
	if (strstr(outcome.out, "exchrange"))
		fail_msg("%s", outcome.out);
	if (*outcome.out)
		print_message("# not ours:\n%s", outcome.out);
	drop_outcome(&outcome);
}

static int set_up(void **state)
{
	(void)state;
	fail_nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fail_nth < 0) {
		print_message("# skipped: this kernel has no /proc/self/fail-nth (FAULT_INJECTION)\n");
		return 0;
	}
	/* Allocations that may sleep fail too, of one page too, without a word. */
	assert_int_equal(run("mountpoint -q " FAULT " || mount -t debugfs debugfs " FAULT), 0);
	assert_int_equal(run("cd " FAULT " && for of in failslab fail_page_alloc; do"
			     " echo 0 >$of/ignore-gfp-wait && echo 0 >$of/verbose || exit; done"
			     " && echo 0 >fail_page_alloc/min-order"
			     " && echo 0 >fail_page_alloc/ignore-gfp-highmem"), 0);
	if (has_leak_detector())
		assert_int_equal(run("echo clear >" LEAKS), 0);
	enter_scratch(kind->mkfs, "defaults");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (fail_nth >= 0)
		leave_scratch();
	return 0;
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest others[] = {
		cmocka_unit_test(test_no_leak),
	};
	static const struct table table = {
		.group		= "failing allocations",
		.rows		= rows,
		.row_size	= sizeof(rows[0]),
		.row_count	= COUNT(rows),
		.test		= test_row,
		.others		= others,
		.other_count	= COUNT(others),
		.setup		= set_up,
		.teardown	= tear_down,
	};

	start(argc, argv);
	return run_table(&table);
}
