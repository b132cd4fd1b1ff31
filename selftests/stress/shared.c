// SPDX-License-Identifier: GPL-2.0
/*
 * Pairs that all threads exchange at once, without a lock.  Exchanges of the same
 * offset in both files toggle blocks, in whatever order they come: after a round each
 * block is where the parity of the number of its exchanges says.  Whoever reads
 * meanwhile finds in each block one of its two contents, never a mixture.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "stress.h"

#define BLOCKS		64u
#define SHARED_SIZE	((BLOCKS - 1) * block_size + 1000)	/* ends within a block */
#define ROUND		1000u				/* operations */

static struct pair {
	const char	*folders[2];
	enum shape	shape;		/* of the first; the second is PLAIN */
	int		fd[2];
	int		direct_fd[2];
	struct picture	contents[2];	/* as they were at first */
	atomic_uint	counts[BLOCKS];	/* exchanges */
} pairs[] = {
	{ { "shared-0", "shared-0" }, SHAPE_PLAIN },
	{ { "shared-0", "shared-1" }, SHAPE_HOLES },
	{ { "shared-1", "shared-0" }, SHAPE_PREALLOCATED },
};

static void name_file(char *name, size_t size, const char *folder,
		      const struct pair *pair, int side)
{
	snprintf(name, size, FOLDER "/%s/pair-%zu-%c", folder,
		 (size_t)(pair - pairs), 'a' + side);
}

static void make_pair(struct pair *pair)
{
	char name[64];
	int i;

	for (i = 0; i < 2; i++) {
		struct file_spec spec = { i ? SHAPE_PLAIN : pair->shape, SHARED_SIZE };

		name_file(name, sizeof(name), pair->folders[i], pair, i);
		pair->fd[i] = make_file(name, spec, 2 * (pair - pairs) + i + 1);
		pair->direct_fd[i] = open_path(path_of(name), O_RDWR | O_DIRECT);
		pair->contents[i] = take_picture(pair->fd[i]);
	}
}

static void drop_pair(struct pair *pair)
{
	int i;

	for (i = 0; i < 2; i++) {
		close(pair->fd[i]);
		close(pair->direct_fd[i]);
		drop_picture(&pair->contents[i]);
	}
}

static uint64_t bytes_of(unsigned int block)
{
	return block < BLOCKS - 1 ? block_size : SHARED_SIZE % block_size;
}

/* Which of the two contents this is: 0, 1, or neither, -1. */
static int which_contents(const struct pair *pair, unsigned int block,
			  const uint8_t *bytes)
{
	int i;

	for (i = 0; i < 2; i++)
		if (!memcmp(bytes, pair->contents[i].bytes + block * block_size,
			    bytes_of(block)))
			return i;
	return -1;
}

static void complain_of_mixture(struct worker *worker, const struct pair *pair,
				unsigned int block, const uint8_t *bytes)
{
	const uint8_t *contents[2] = {
		pair->contents[0].bytes + block * block_size,
		pair->contents[1].bytes + block * block_size,
	};
	unsigned int first[2] = { 0, 0 };
	int i;

	for (i = 0; i < 2; i++)
		while (bytes[first[i]] == contents[i][first[i]])
			first[i]++;
	complain(worker, "pair %zu, block %u is a mixture: byte %u is 0x%02x, not 0x%02x as in the one; byte %u is 0x%02x, not 0x%02x as in the other",
		 (size_t)(pair - pairs), block, first[0], bytes[first[0]],
		 contents[0][first[0]], first[1], bytes[first[1]],
		 contents[1][first[1]]);
}

/* Nobody looks at the counts before all threads have ended. */
static void count_blocks(struct pair *pair, const struct exchrange_range *range)
{
	uint64_t offset = range->file1_offset, end = offset + range->length;

	if (range->flags & EXCHRANGE_TO_EOF)
		end = SHARED_SIZE;
	for (; offset < end; offset += block_size)
		atomic_fetch_add(&pair->counts[offset / block_size], 1);
}

static uint64_t pick_flags(struct worker *worker, const struct pair *pair)
{
	uint64_t flags = 0;

	if (one_in(worker, 8))
		flags |= EXCHRANGE_TO_EOF;
	if (one_in(worker, 64))
		flags |= EXCHRANGE_DSYNC;
	if (one_in(worker, 8))
		flags |= EXCHRANGE_DRY_RUN;
	/* Where all is written that is the same; with holes it is no toggle. */
	if (pair->shape == SHAPE_PLAIN && one_in(worker, 4))
		flags |= EXCHRANGE_FILE1_WRITTEN;
	return flags;
}

static struct exchrange_range pick_range(struct worker *worker,
					 const struct pair *pair)
{
	unsigned int first = draw(worker, BLOCKS), side = draw(worker, 2);
	unsigned int count = 1 + draw(worker, BLOCKS - first);
	struct exchrange_range range = {
		.file1_fd	= pair->fd[side],
		.file2_fd	= pair->fd[!side],
		.file1_offset	= first * block_size,
		.file2_offset	= first * block_size,
		.length		= count * block_size,
	};

	if (first + count == BLOCKS)
		range.length = SHARED_SIZE - range.file1_offset;
	range.flags = pick_flags(worker, pair);
	return range;
}

static void exchange_shared(struct worker *worker, struct pair *pair)
{
	struct exchrange_range range = pick_range(worker, pair);
	bool commit = one_in(worker, 4);
	int error;

	begin(worker, "%s pair %zu offset %llu length %llu flags 0x%llx file1 is %c",
	      commit ? "START_COMMIT and COMMIT" : "EXCHANGE",
	      (size_t)(pair - pairs), range.file1_offset, range.length,
	      range.flags, range.file1_fd == pair->fd[0] ? 'a' : 'b');
	error = commit ? device_exchange_by_commit(&range) :
			 device_exchange(&range);
	end(worker, (commit ? COMMIT : EXCHANGE) + range.flags, error);
	if (!error && !(range.flags & EXCHRANGE_DRY_RUN))
		count_blocks(pair, &range);
	if (error && !(commit && error == EBUSY))
		complain(worker, "%s", strerror(error));
}

static void read_shared(struct worker *worker, const struct pair *pair)
{
	unsigned int block = draw(worker, BLOCKS), side = draw(worker, 2);
	bool direct = one_in(worker, 8);
	ssize_t ret;

	begin(worker, "%s pair %zu file %c block %u",
	      direct ? "O_DIRECT read" : "read", (size_t)(pair - pairs),
	      side ? 'b' : 'a', block);
	ret = pread(direct ? pair->direct_fd[side] : pair->fd[side],
		    worker->buffer, block_size, block * block_size);
	end(worker, direct ? READ_DIRECT : READ, ret < 0 ? errno : 0);
	if (ret < 0 || (uint64_t)ret != bytes_of(block))
		complain(worker, "%zd bytes read: %s", ret,
			 ret < 0 ? strerror(errno) : "short");
	else if (which_contents(pair, block, worker->buffer) < 0)
		complain_of_mixture(worker, pair, block, worker->buffer);
}

/* All blocks of a copy, each of which is one of its contents. */
static void check_copy(struct worker *worker, const struct pair *pair, int fd,
		       int which[BLOCKS])
{
	ssize_t ret = pread(fd, worker->buffer, BLOCKS * block_size, 0);
	unsigned int i;

	if (ret < 0 || (uint64_t)ret != SHARED_SIZE) {
		complain(worker, "%zd bytes of a copy read: %s", ret,
			 ret < 0 ? strerror(errno) : "short");
		return;
	}
	for (i = 0; i < BLOCKS; i++) {
		which[i] = which_contents(pair, i, worker->buffer + i * block_size);
		if (which[i] < 0)
			complain_of_mixture(worker, pair, i,
					    worker->buffer + i * block_size);
	}
}

static void reflink_shared(struct worker *worker, const struct pair *pair)
{
	unsigned int side = draw(worker, 2);
	int which[BLOCKS], error;

	begin(worker, "reflink pair %zu file %c", (size_t)(pair - pairs),
	      side ? 'b' : 'a');
	error = ioctl(worker->scratch, FICLONE, pair->fd[side]) ? errno : 0;
	end(worker, REFLINK, error);
	if (error)
		complain(worker, "%s", strerror(error));
	else
		check_copy(worker, pair, worker->scratch, which);
}

/* Of the pair that lies in one subvolume: what one file has the other has not. */
static void check_snapshot(struct worker *worker, const char *snapshot)
{
	const struct pair *pair = &pairs[0];
	int which[2][BLOCKS];
	char name[64], path[192];
	unsigned int i;

	for (i = 0; i < 2; i++) {
		int fd;

		name_file(name, sizeof(name), snapshot, pair, i);
		snprintf(path, sizeof(path), "%s/%s", mount_point, name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0) {
			complain(worker, "%s: %s", path, strerror(errno));
			return;
		}
		check_copy(worker, pair, fd, which[i]);
		close(fd);
	}
	for (i = 0; i < BLOCKS && !atomic_load(&stop); i++)
		if (which[0][i] == which[1][i])
			complain(worker, "half of an exchange is in a snapshot: block %u", i);
}

static void snapshot_shared(struct worker *worker)
{
	char name[32];
	int error;

	if (!is_btrfs())
		return;
	snprintf(name, sizeof(name), "snapshot-%u", worker->number);
	begin(worker, "snapshot of %s", pairs[0].folders[0]);
	error = make_snapshot(pairs[0].folders[0], name);
	if (!error) {
		check_snapshot(worker, name);
		error = delete_snapshot(name);
	}
	end(worker, SNAPSHOT, error);
	if (error)
		complain(worker, "%s", strerror(error));
}

static void sync_shared(struct worker *worker, const struct pair *pair)
{
	unsigned int side = draw(worker, 2);
	int error;

	begin(worker, "fsync pair %zu file %c", (size_t)(pair - pairs),
	      side ? 'b' : 'a');
	error = fsync(pair->fd[side]) ? errno : 0;
	end(worker, FSYNC, error);
	if (error)
		complain(worker, "fsync: %s", strerror(error));
}

static void operate_on_shared(struct worker *worker)
{
	struct pair *pair = &pairs[draw(worker, COUNT(pairs))];
	unsigned int number = draw(worker, 1000);

	if (number < 500)
		exchange_shared(worker, pair);
	else if (number < 950)
		read_shared(worker, pair);
	else if (number < 985)
		reflink_shared(worker, pair);
	else if (number < 997)
		sync_shared(worker, pair);
	else
		snapshot_shared(worker);
}

static void *work_on_shared(void *argument)
{
	struct worker *worker = argument;
	unsigned long end = atomic_load(&worker->done) + ROUND / thread_count + 1;

	if (end > worker->goal)
		end = worker->goal;
	while (atomic_load(&worker->done) < end && !atomic_load(&stop)) {
		operate_on_shared(worker);
		atomic_fetch_add(&worker->done, 1);
	}
	return NULL;
}

/* Every block is where the parity says; nothing else runs. */
static void verify_pair(struct pair *pair, int fd, int side, const char *how)
{
	uint8_t *bytes = aligned_alloc(block_size, BLOCKS * block_size);
	unsigned int block;

	assert_non_null(bytes);
	assert_int_equal(pread(fd, bytes, BLOCKS * block_size, 0), SHARED_SIZE);
	for (block = 0; block < BLOCKS; block++) {
		unsigned int count = atomic_load(&pair->counts[block]);
		int which = which_contents(pair, block, bytes + block * block_size);

		if (which != (int)((side + count) % 2))
			fail_msg("seed %lu: pair %zu, file %c, block %u, exchanged %u times, has contents %d, seen %s",
				 seed, (size_t)(pair - pairs), 'a' + side, block,
				 count, which, how);
	}
	free(bytes);
}

static void verify_pairs(void)
{
	unsigned int i;

	for (i = 0; i < 2 * COUNT(pairs); i++) {
		struct pair *pair = &pairs[i / 2];

		verify_pair(pair, pair->fd[i % 2], i % 2, "in the page cache");
		verify_pair(pair, pair->direct_fd[i % 2], i % 2, "by O_DIRECT");
	}
}

static void make_scratches(struct worker *workers)
{
	static const struct file_spec empty = { SHAPE_PLAIN, 0 };
	unsigned int i;
	char name[64];

	for (i = 0; i < thread_count; i++) {
		snprintf(name, sizeof(name), FOLDER "/shared-%u/scratch-%u",
			 i % 2, i);
		workers[i].scratch = make_file(name, empty, 0);
	}
}

void test_shared_pairs(void **state)
{
	struct worker *workers = make_workers(1, operation_count - operation_count / 4 * 3);
	unsigned long rounds = 0;
	unsigned int i;

	(void)state;
	atomic_store(&stop, false);	/* the other test's */
	make_folder("shared-0");
	make_folder("shared-1");
	for (i = 0; i < COUNT(pairs); i++)
		make_pair(&pairs[i]);
	make_scratches(workers);
	do {
		run_workers(workers, work_on_shared, "shared pairs");
		if (atomic_load(&stop))
			fail_msg("something is wrong: see above");
		verify_pairs();
		rounds++;
	} while (atomic_load(&workers[0].done) < workers[0].goal);

	print_message("# shared pairs: %lu rounds\n", rounds);
	print_counts(workers, "shared pairs");
	for (i = 0; i < thread_count; i++)
		close(workers[i].scratch);
	drop_workers(workers);
	for (i = 0; i < COUNT(pairs); i++)
		drop_pair(&pairs[i]);
}
