// SPDX-License-Identifier: GPL-2.0
/*
 * A disk that begins to fail while a pair of files is exchanged again and again, by itself or
 * in a vector with another pair: the call comes back, with EIO or EROFS and nothing else; and
 * when the disk is good again all files are, wholly, in one of the states between the last
 * one that was durable and the last one that was begun, and the file system works.
 *
 *	test_disk_errors MOUNTPOINT
 *
 * MOUNTPOINT tells the kind of file system.  The work is on a file system on a
 * device-mapper device over $SCRATCH_DEV1, whose table is changed.  The random numbers come
 * from a seed that is printed, and is $EXCHRANGE_SEED where that is set.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common.h"
#include "devices.h"

#define REQUEST	"/sys/kernel/debug/fail_make_request"
#define ROUNDS	4
#define FILES	4u		/* two pairs; the second one changes in vectors alone */
#define BLOCKS	48u		/* of each file that both have; then a tail of its own */
#define GAP	4u		/* every so many blocks file1 has a hole */
#define HANG	120		/* seconds: no call takes as long */

/* They end in different blocks: XFS's log recovery alone would cut one. */
static const unsigned int tail_sizes[2] = { 3 * BLOCK, BLOCK + 700 };

static const struct row {
	const char	*name;
	const char	*table;		/* with $SECTORS and $DISK; NULL: see begin_failing() */
	bool		drops;		/* says nothing of what it loses */
	bool		reads;		/* fails only what is not in the cache */
} rows[] = {
	{ "all I/O fails", ALL_FAILS_TABLE },
	{ "writes fail", WRITES_FAIL_TABLE },
	{ "writes are dropped", "0 $SECTORS flakey $DISK 0 0 1000 1 drop_writes",
	  .drops = true },
	{ "reads fail", "0 $SECTORS flakey $DISK 0 0 1000 1 error_reads",
	  .reads = true },
	{ "one request in two fails", NULL },
};

/*
 * What each pair holds: block i is the other file's where swapped[i], and so is the tail,
 * with the size.  Of its own blocks the first file lacks every GAP-th.
 */
struct state {
	struct {
		bool	swapped[BLOCKS];
		bool	tails_swapped;
	} pair[FILES / 2];
};

/* What the child that exchanges tells. */
struct progress {
	atomic_uint	begun, done, durable;	/* moves, the first is number 1 */
	atomic_int	error;
	atomic_bool	stop;
};

struct move {
	unsigned int	from, to;	/* blocks */
	uint64_t	flags;
	bool		is_vector;	/* of both pairs, block by block */
};

struct tally {
	unsigned int	errors[2];	/* EIO, EROFS */
	unsigned int	none, moves, lost;
};

static struct progress *progress;
static unsigned int seed;

/* Of a round, so that the child and the model make the same moves. */
static unsigned int random_of(unsigned int round, unsigned int i)
{
	uint64_t x = ((uint64_t)seed << 32) + round * 65537ull + i;

	x = (x ^ x >> 31) * 0x9e3779b97f4a7c15ull;
	x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9ull;
	return x >> 33;
}

/* By turns a range, all, what file1 has written, and a tail. */
static struct move move_of(unsigned int round, unsigned int number)
{
	static const uint64_t flags[] = {
		0, EXCHRANGE_TO_EOF, EXCHRANGE_FILE1_WRITTEN, EXCHRANGE_TO_EOF,
	};
	unsigned int from = random_of(round, 2 * number) % (BLOCKS - 8);
	struct move move = {
		.from	= from,
		.to	= from + 1 + random_of(round, 2 * number + 1) % 8,
		.flags	= flags[number % 4],
	};

	if (move.flags & EXCHRANGE_TO_EOF)
		move.to = BLOCKS;
	if (number % 4 == 1)
		move.from = 0;
	if (random_of(round, number) % 3 == 0)
		move.flags |= EXCHRANGE_DSYNC;
	move.is_vector = random_of(round, 3 * number + 2000000) % 2;
	return move;
}

static void move_pair(struct state *state, unsigned int pair, const struct move *move)
{
	bool *swapped = state->pair[pair].swapped;
	unsigned int i;

	for (i = move->from; i < move->to; i++)
		if (!(move->flags & EXCHRANGE_FILE1_WRITTEN) || swapped[i] || i % GAP)
			swapped[i] = !swapped[i];
	if (move->flags & EXCHRANGE_TO_EOF)
		state->pair[pair].tails_swapped = !state->pair[pair].tails_swapped;
}

static void make_move(struct state *state, const struct move *move)
{
	unsigned int pair;

	for (pair = 0; pair < (move->is_vector ? FILES / 2 : 1); pair++)
		move_pair(state, pair, move);
}

/* The byte at @offset of what @owner had at first. */
static uint8_t byte_of(int owner, uint64_t offset)
{
	if (owner % 2 == 0 && offset < BLOCKS * BLOCK && offset / BLOCK % GAP == 0)
		return 0;
	return content_byte(owner + 1, offset);
}

static bool is_in_state(const struct state *state, int file,
			const struct picture *picture)
{
	const uint64_t common = BLOCKS * BLOCK;
	int tail = file ^ state->pair[file / 2].tails_swapped;
	uint64_t i;

	if (picture->size != common + tail_sizes[tail % 2])
		return false;
	for (i = 0; i < common; i++)
		if (picture->bytes[i] !=
		    byte_of(file ^ state->pair[file / 2].swapped[i / BLOCK], i))
			return false;
	for (; i < picture->size; i++)
		if (picture->bytes[i] != byte_of(tail, i))
			return false;
	return true;
}

static const char *name_of(int file)
{
	static const char * const names[FILES] = { "file1", "file2", "file3", "file4" };

	return names[file];
}

static void write_file(int owner)
{
	const struct file_spec plain = {
		SHAPE_PLAIN, BLOCKS * BLOCK + tail_sizes[owner % 2],
	};
	int fd = make_file(name_of(owner), plain, owner + 1);
	unsigned int i;

	for (i = 0; owner % 2 == 0 && i < BLOCKS; i += GAP)
		assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE |
					   FALLOC_FL_KEEP_SIZE, i * BLOCK, BLOCK), 0);
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

static void open_files(int fd[FILES])
{
	unsigned int i;

	for (i = 0; i < FILES; i++)
		fd[i] = open_path(path_of(name_of(i)), O_RDWR);
}

static void close_files(const int fd[FILES])
{
	unsigned int i;

	for (i = 0; i < FILES; i++)
		close(fd[i]);
}

/* Block by block, from the last one on, which with TO_EOF is all that follows. */
static int try_vector(const int fd[FILES], const struct move *move)
{
	struct exchrange_pair pairs[FILES / 2 * BLOCKS];
	unsigned int count = 0, pair, i;

	for (pair = 0; pair < FILES / 2; pair++)
		for (i = move->to; i-- > move->from; count++) {
			pairs[count] = block_pair(fd[2 * pair], i, fd[2 * pair + 1], i);
			pairs[count].flags = move->flags & EXCHRANGE_FILE1_WRITTEN;
			if (i == BLOCKS - 1)
				pairs[count].flags |= move->flags & EXCHRANGE_TO_EOF;
		}
	return exchange_list(pairs, count, move->flags & EXCHRANGE_DSYNC).error;
}

static int try_move(const int fd[FILES], const struct move *move)
{
	const struct exchrange_range range = {
		.file1_fd	= fd[0],
		.file2_fd	= fd[1],
		.file1_offset	= move->from * BLOCK,
		.file2_offset	= move->from * BLOCK,
		.length		= (move->to - move->from) * BLOCK,
		.flags		= move->flags,
	};

	return move->is_vector ? try_vector(fd, move) : device_exchange(&range);
}

/*
 * After the last call has come back: both sequences are even, and each move that was made
 * is counted; the one that failed may have been, and failed to become durable.
 */
static bool are_settled(const struct exchrange_watcher watchers[2])
{
	int i;

	for (i = 0; i < 2; i++) {
		const struct exchrange_watch_page *page = watchers[i].page;

		if (page->sequence & 1 || page->count < progress->done ||
		    page->count > progress->begun || page->sequence / 2 < page->count)
			return false;
	}
	return true;
}

/* The child: exchanges until that fails, or it is told to stop. */
static void exchange_until_error(unsigned int round)
{
	struct exchrange_watcher watchers[2];
	unsigned int number = 0;
	int fd[FILES];

	open_files(fd);
	if (exchrange_watch_open(device, fd[0], &watchers[0]) ||
	    exchrange_watch_open(device, fd[1], &watchers[1]))
		_exit(1);
	while (!progress->error && !progress->stop) {
		struct move move = move_of(round, ++number);

		progress->begun = number;
		progress->error = try_move(fd, &move);
		if (progress->error)
			break;
		progress->done = number;
		if (move.flags & EXCHRANGE_DSYNC)
			progress->durable = number;
	}
	_exit(are_settled(watchers) ? 0 : 2);
}

/* Half of what is sent to the device comes back with an error. */
static void fail_requests(bool fail)
{
	assert_int_equal(run("cd " REQUEST " && echo 1 >interval && echo -1 >times"
			     " && echo 0 >verbose && echo %d >probability"
			     " && echo %d >/sys/dev/block/$(stat -Lc %%Hr:%%Lr $SCRATCH_DEV1)/make-it-fail",
			     fail ? 50 : 0, fail), 0);
}

static void begin_failing(const struct row *row)
{
	if (row->table)
		set_table(row->table);
	else
		fail_requests(true);
}

static void end_failing(const struct row *row)
{
	if (row->table)
		set_table(GOOD_TABLE);
	else
		fail_requests(false);
}

static void forget_caches(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "3", 1), 1);
	close(fd);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static bool has_ended(pid_t child)
{
	int status;

	if (waitpid(child, &status, WNOHANG) != child)
		return false;
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail_msg("the child that exchanges ended with %#x", status);
	return true;
}

/* A call that does not come back: what it waits for, and the good disk for the rest. */
static void fail_hanging(const struct row *row, pid_t child)
{
	run("cat /proc/%d/stack /proc/%d/status >&2; false", child, child);
	end_failing(row);
	kill(child, SIGKILL);
	fail_msg("move %u has not come back after %d s", progress->begun, HANG);
}

/*
 * Where errors need not come, three seconds are enough; the call that is under way has
 * to end in any case.
 */
static void wait_for_end(const struct row *row, pid_t child)
{
	double start = now();

	while (!has_ended(child)) {
		if (row->reads)
			forget_caches();
		if ((row->reads || row->drops) && now() - start > 3)
			progress->stop = true;
		if (now() - start > HANG)
			fail_hanging(row, child);
		poll(NULL, 0, 10);
	}
}

/* At a random moment, after a random number of moves that were made. */
static void wait_for_moment(unsigned int round, pid_t child)
{
	unsigned int moves = random_of(round, 1000001) % 40;
	double start = now();

	while (progress->done < moves) {
		if (has_ended(child))
			fail_msg("an error on a good disk: %s",
				 strerror(progress->error));
		if (now() - start > HANG)
			fail_msg("%u of %u moves in %d s", progress->done, moves,
				 HANG);
		poll(NULL, 0, 1);
	}
	usleep(random_of(round, 1000002) % 30000);
}

static bool are_in_state(const struct state *state, const struct picture picture[FILES])
{
	unsigned int i;

	for (i = 0; i < FILES; i++)
		if (!is_in_state(state, i, &picture[i]))
			return false;
	return true;
}

/* The number of the state that the files are in, from the @first to the @last move. */
static int find_state(unsigned int round, const struct picture picture[FILES],
		      unsigned int first, unsigned int last)
{
	struct state state = { };
	unsigned int number;

	for (number = 0; number <= last; number++) {
		struct move move = move_of(round, number);

		if (number > 0)
			make_move(&state, &move);
		if (number >= first && are_in_state(&state, picture))
			return number;
	}
	return -1;
}

/* Whose each block is: of 1 to 4, or nobody's. */
static void print_files(const struct picture picture[FILES])
{
	unsigned int file, owner;
	uint64_t i, j;

	for (file = 0; file < FILES; file++) {
		print_message("# file%u, %llu bytes: ", file + 1,
			      (unsigned long long)picture[file].size);
		for (i = 0; i + BLOCK <= picture[file].size; i += BLOCK) {
			for (owner = 0; owner < FILES; owner++) {
				for (j = i; j < i + BLOCK; j++)
					if (picture[file].bytes[j] !=
					    byte_of(owner, j))
						break;
				if (j == i + BLOCK)
					break;
			}
			print_message("%c", "1234?"[owner]);
		}
		print_message("\n# its blocks:          %.*s\n",
			      (int)((picture[file].size + BLOCK - 1) / BLOCK),
			      (const char *)picture[file].blocks);
	}
}

static void check_files(unsigned int round, unsigned int first, unsigned int last,
			struct tally *tally)
{
	struct picture picture[FILES];
	int fd[FILES], found;
	unsigned int i;

	open_files(fd);
	for (i = 0; i < FILES; i++)
		picture[i] = take_picture(fd[i]);
	close_files(fd);
	found = find_state(round, picture, first, last);
	if (found < 0) {
		print_files(picture);
		fail_msg("round %u of seed %u: the files are in none of the states %u to %u; are they in another: %d",
			 round, seed, first, last,
			 find_state(round, picture, 0, last));
	}
	tally->lost += last - found;
	for (i = 0; i < FILES; i++)
		drop_picture(&picture[i]);
}

/* And the file system does its work again. */
static void check_it_works(void)
{
	const struct move all = {
		.to = BLOCKS, .flags = EXCHRANGE_TO_EOF | EXCHRANGE_DSYNC,
	};
	int fd[FILES];

	open_files(fd);
	assert_int_equal(try_move(fd, &all), 0);
	assert_int_equal(try_vector(fd, &all), 0);
	assert_int_equal(pwrite(fd[0], "new", 3, 0), 3);
	assert_int_equal(fsync(fd[0]), 0);
	close_files(fd);
}

static void count_error(const struct row *row, unsigned int round,
			struct tally *tally)
{
	int error = progress->error;

	if (error == 0 && (row->reads || row->drops))
		tally->none++;
	else if (error == EIO || error == EROFS)
		tally->errors[error == EROFS]++;
	else
		fail_msg("round %u of seed %u: move %u has the answer %s", round,
			 seed, progress->begun, strerror(error));
	tally->moves += progress->done;
}

static void run_round(const struct row *row, unsigned int round,
		      struct tally *tally)
{
	unsigned int durable, i;
	pid_t child;

	for (i = 0; i < FILES; i++)
		write_file(i);
	assert_int_equal(run("sync -f " SCRATCH), 0);
	memset(progress, 0, sizeof(*progress));
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		exchange_until_error(round);

	wait_for_moment(round, child);
	durable = progress->durable;
	begin_failing(row);
	wait_for_end(row, child);
	/* Of a disk that lies, nothing is durable any more. */
	if (!row->drops)
		durable = progress->durable;
	unmount_scratch();
	end_failing(row);
	check_scratch();
	check_files(round, durable, progress->begun, tally);
	check_it_works();
	count_error(row, round, tally);
}

/* What a test that failed has left. */
static void clear_away(const struct row *row)
{
	end_failing(row);
	assert_int_equal(run("! mountpoint -q " SCRATCH " || umount " SCRATCH), 0);
}

static void test_row(void **state)
{
	const struct row *row = *state;
	struct tally tally = { };
	unsigned int rounds = ROUNDS / test_share() + 1;
	unsigned int round, index = row - rows;

	if (!row->table && access(REQUEST, W_OK)) {
		print_message("# skipped: this kernel has no %s (FAIL_MAKE_REQUEST)\n",
			      REQUEST);
		skip();
	}
	if (row->table && !takes_table(row->table)) {
		print_message("# skipped: this kernel's device mapper has no such table\n");
		skip();
	}
	print_message("# %s: seed %u\n", row->name, seed);
	clear_away(row);
	enter_scratch(kind->mkfs, "defaults");
	/* So that btrfs's tree has leaves, which can leave the cache. */
	assert_int_equal(run("cd " SCRATCH " && touch $(seq 500)"), 0);
	for (round = 0; round < rounds; round++)
		run_round(row, index * 1000 + round, &tally);
	leave_scratch();
	print_message("# %s: %u rounds: %u EIO, %u EROFS, %u without an error; %u moves made, %u undone; all files whole\n",
		      row->name, rounds, tally.errors[0], tally.errors[1],
		      tally.none, tally.moves, tally.lost);
}

/*
 * What could not be written back is in the cache alone, and fsync has said so: with an exchange
 * that says nothing file2 does not get it, for as long as it happens to be cached.
 */
static void test_lost_write_does_not_move(void **state)
{
	const struct file_spec plain = { SHAPE_PLAIN, 8 * BLOCK };
	struct exchrange_range range = { .length = 8 * BLOCK, .flags = EXCHRANGE_DSYNC };
	struct picture cached, written;
	bool same;
	int error;

	(void)state;
	enter_scratch(kind->mkfs, "defaults");
	range.file1_fd = make_file("file1", plain, 1);
	range.file2_fd = make_file("file2", plain, 2);
	assert_int_equal(run("sync -f " SCRATCH), 0);
	assert_int_equal(pwrite(range.file1_fd, "lost", 4, BLOCK), 4);
	set_table(WRITES_FAIL_TABLE);
	assert_int_equal(fsync(range.file1_fd), -1);
	set_table(GOOD_TABLE);
	error = device_exchange(&range);
	cached = take_picture(range.file2_fd);
	fsync(range.file2_fd);
	assert_int_equal(posix_fadvise(range.file2_fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	written = take_picture(range.file2_fd);
	same = same_bytes(&cached, &written);
	print_message("# the exchange's answer: %s\n", strerror(error));
	drop_picture(&cached);
	drop_picture(&written);
	close(range.file1_fd);
	close(range.file2_fd);
	leave_scratch();
	assert_true(same);
	if (error)
		assert_true(error == EIO || error == EROFS);
}

static const struct CMUnitTest others[] = {
	cmocka_unit_test(test_lost_write_does_not_move),
};

static int set_up(void **state)
{
	const char *wanted = getenv("EXCHRANGE_SEED"), *disk = getenv("SCRATCH_DEV1");

	(void)state;
	seed = wanted ? strtoul(wanted, NULL, 10) : (unsigned int)time(NULL);
	assert_non_null(disk);
	progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(progress, MAP_FAILED);
	assert_int_equal(run("mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug"), 0);
	make_failing_disk(disk);
	return setenv("SCRATCH_DEV1", FAILING_DISK, 1);
}

static int tear_down(void **state)
{
	(void)state;
	return drop_failing_disk();
}

int main(int argc, char **argv)
{
	static const struct table table = {
		.group		= "disk errors",
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
