// SPDX-License-Identifier: GPL-2.0
/*
 * Exchanges of mapped files that a device writes to, by O_DIRECT reads into the mapping:
 * no byte is lost, neither of the range nor of what is beside it in the same folio; where
 * a read does not end, EBUSY, and nothing has changed.  Who may only read stops nobody, but for
 * one thing that kernels without such pins cannot tell from a transfer.
 *
 * The device is a slow one (dm-delay), which can be stopped so that reads from it hang.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/kernel-page-flags.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common.h"
#include "devices.h"

#define FILE_SIZE	(256 * 1024u)	/* XFS has a folio of that size for it */

/* --- the files ---------------------------------------------------------------------- */

/* Written in one go, so that one folio may have it: XFS has large ones for writes since 6.6. */
static int make_whole(const char *name, char letter, uint32_t size)
{
	int fd = open(path_of(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char *bytes = malloc(size);

	assert_true(fd >= 0);
	assert_non_null(bytes);
	memset(bytes, letter, size);
	assert_int_equal(pwrite(fd, bytes, size, 0), size);
	assert_int_equal(fsync(fd), 0);
	free(bytes);
	return fd;
}

static char *map_file(int fd, int protection)
{
	char *memory = mmap(NULL, FILE_SIZE, protection, MAP_SHARED, fd, 0);

	assert_true(memory != MAP_FAILED);
	return memory;
}

/* The file has nothing but @letter in [from, to). */
static void assert_all(int fd, uint32_t from, uint32_t to, char letter)
{
	char *bytes = malloc(to - from);
	uint32_t i;

	assert_non_null(bytes);
	assert_int_equal(pread(fd, bytes, to - from, from), to - from);
	for (i = 0; i < to - from; i++)
		if (bytes[i] != letter)
			fail_msg("byte %u is %#x where %#x was to be", from + i,
				 (unsigned char)bytes[i], (unsigned char)letter);
	free(bytes);
}

/* An entry of a table that has one of 64 bits for each page. */
static uint64_t read_entry(const char *table, uint64_t page)
{
	int fd = open(table, O_RDONLY | O_CLOEXEC);
	uint64_t entry;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &entry, sizeof(entry), page * sizeof(entry)), sizeof(entry));
	close(fd);
	return entry;
}

/* The number of the physical page that a byte of a mapping is in, which is not zero. */
static uint64_t page_number(const char *memory)
{
	/* To read it maps it. */
	assert_true(__atomic_load_n(memory, __ATOMIC_RELAXED));
	return read_entry("/proc/self/pagemap", (uintptr_t)memory / BLOCK) & ((1ull << 55) - 1);
}

/* Whether the pages of a mapping from @from to @to leave the page cache together. */
static bool is_one_folio(const char *memory, uint32_t from, uint32_t to)
{
	uint64_t first = page_number(memory + from), last = first + (to - from) / BLOCK, page;

	for (page = first + 1; page <= last; page++)
		if (!(read_entry("/proc/kpageflags", page) & (1ull << KPF_COMPOUND_TAIL)))
			return false;
	return page_number(memory + to) == last;
}

/* What all CPUs have counted so far. */
static unsigned long long count_pins(void)
{
	unsigned long long count;
	char name[64];
	FILE *file;

	assert_int_equal(run("cat /proc/sys/vm/stat_refresh"), 0);
	file = fopen("/proc/vmstat", "r");
	assert_non_null(file);
	do
		assert_int_equal(fscanf(file, "%63s %llu", name, &count), 2);
	while (strcmp(name, "nr_foll_pin_acquired"));
	fclose(file);
	return count;
}

/* Whether this kernel's direct I/O pins pages: since 6.5; before it has mere references. */
static bool transfers_pin(void)
{
	unsigned long long before = count_pins();
	char *block = NULL;

	assert_int_equal(posix_memalign((void **)&block, BLOCK, BLOCK), 0);
	assert_int_equal(pread(slow_device, block, BLOCK, 0), BLOCK);
	free(block);
	return count_pins() > before;
}

#define RANGE	(64 * 1024u)	/* of file1, and of the tests below a block long */

/* --- tests -------------------------------------------------------------------------- */

static void test_read_beside_the_range(void **state)
{
	const uint32_t place = FILE_SIZE / 2;
	int fd1 = make_whole("file1", 'a', FILE_SIZE), fd2 = make_whole("file2", 'b', BLOCK);
	char *memory = map_file(fd1, PROT_READ | PROT_WRITE);
	struct transfer reading = { .memory = memory + place, .block = 7 };
	struct exchrange_range range = {
		.file1_fd = fd1, .file1_offset = RANGE, .file2_fd = fd2, .length = BLOCK,
	};
	bool together = is_one_folio(memory, RANGE, place);
	int error;

	(void)state;
	stop_slow_device();
	begin_transfer(&reading);
	error = device_exchange(&range);
	assert_all(fd1, 0, RANGE, 'a');
	assert_all(fd1, RANGE, RANGE + BLOCK, error ? 'a' : 'b');
	assert_all(fd2, 0, BLOCK, error ? 'b' : 'a');
	end_transfer(&reading);
	assert_int_equal(error, together ? EBUSY : 0);
	if (error)
		assert_int_equal(device_exchange(&range), 0);

	assert_all(fd1, 0, RANGE, 'a');
	assert_all(fd1, RANGE, RANGE + BLOCK, 'b');
	assert_all(fd1, RANGE + BLOCK, place, 'a');
	assert_all(fd1, place, place + BLOCK, slow_byte(7));
	assert_all(fd1, place + BLOCK, FILE_SIZE, 'a');
	assert_all(fd2, 0, BLOCK, 'a');
	munmap(memory, FILE_SIZE);
	close(fd1);
	close(fd2);
}

/* A read into a block of file1 hangs: EBUSY, and then file1 has what was read. */
static void be_refused(const struct exchrange_range *range)
{
	int fd1 = range->file1_fd, error;
	char *memory = map_file(fd1, PROT_READ | PROT_WRITE);
	struct transfer reading = { .memory = memory + RANGE, .block = 8 };

	stop_slow_device();
	begin_transfer(&reading);
	error = device_exchange(range);
	end_transfer(&reading);
	assert_int_equal(error, EBUSY);
	assert_all(fd1, 0, RANGE, 'a');
	assert_all(fd1, RANGE, RANGE + BLOCK, slow_byte(8));
	assert_all(fd1, RANGE + BLOCK, FILE_SIZE, 'a');
	assert_all(range->file2_fd, 0, BLOCK, 'b');
	munmap(memory, FILE_SIZE);
}

static struct exchrange_range make_range(void)
{
	return (struct exchrange_range) {
		.file1_fd	= make_whole("file1", 'a', FILE_SIZE),
		.file1_offset	= RANGE,
		.file2_fd	= make_whole("file2", 'b', BLOCK),
		.length		= BLOCK,
	};
}

static void test_read_that_hangs_is_ebusy(void **state)
{
	struct exchrange_range range = make_range();

	(void)state;
	be_refused(&range);
	/* What btrfs would give up when it is written back: see main(). */
	assert_int_equal(ftruncate(range.file1_fd, 0), 0);
	close(range.file1_fd);
	close(range.file2_fd);
}

/* What is read is the file's whose page it was, so it goes where the page goes. */
static void test_read_in_the_range(void **state)
{
	struct exchrange_range range = make_range();
	int fd1 = range.file1_fd, fd2 = range.file2_fd;

	(void)state;
	be_refused(&range);
	assert_int_equal(device_exchange(&range), 0);
	assert_all(fd1, 0, RANGE, 'a');
	assert_all(fd1, RANGE, RANGE + BLOCK, 'b');
	assert_all(fd1, RANGE + BLOCK, FILE_SIZE, 'a');
	assert_all(fd2, 0, BLOCK, slow_byte(8));
	close(fd1);
	close(fd2);
}

/* One block changes places, and file2's end comes nearer, within the folio. */
static void test_read_before_a_nearer_end(void **state)
{
	const uint32_t place = 4 * BLOCK, end = 100 * 1024 + 100;
	int fd1 = make_whole("file1", 'a', BLOCK), fd2 = make_whole("file2", 'b', FILE_SIZE);
	char *memory = map_file(fd2, PROT_READ | PROT_WRITE);
	struct transfer reading = { .memory = memory + place, .block = 9 };
	struct exchrange_range range = {
		.file1_fd = fd1, .file2_fd = fd2,
		.flags = EXCHRANGE_TO_EOF | EXCHRANGE_FILE1_WRITTEN,
	};
	/* What is behind block 0 does not move: that is told from what moves where transfers pin. */
	bool waits = !transfers_pin() || is_one_folio(memory, 0, place);
	int error;

	(void)state;
	assert_int_equal(ftruncate(fd1, end), 0);
	stop_slow_device();
	begin_transfer(&reading);
	error = device_exchange(&range);
	if (error)
		assert_all(fd2, place + BLOCK, FILE_SIZE, 'b');
	end_transfer(&reading);
	assert_int_equal(error, waits ? EBUSY : 0);
	if (error)
		assert_int_equal(device_exchange(&range), 0);

	assert_int_equal(lseek(fd2, 0, SEEK_END), end);
	assert_all(fd2, 0, BLOCK, 'a');
	assert_all(fd2, BLOCK, place, 'b');
	assert_all(fd2, place, place + BLOCK, slow_byte(9));
	assert_all(fd2, place + BLOCK, end, 'b');
	munmap(memory, FILE_SIZE);
	close(fd1);
	close(fd2);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

/* An exchange, and how many seconds it takes. */
static int time_exchange(struct exchrange_range *range, double *seconds)
{
	double begin = now();
	int error = device_exchange(range);

	*seconds = now() - begin;
	return error;
}

/* A page is pinned for an O_DIRECT write, too, which takes no right to write to the file. */
static void test_reader_stops_nobody(void **state)
{
	int fd1 = make_whole("file1", 'a', FILE_SIZE), fd2 = make_whole("file2", 'b', BLOCK);
	int reader = open_path(path_of("file1"), O_RDONLY);
	char *memory = map_file(reader, PROT_READ);
	struct transfer writing = {
		.memory = memory + RANGE, .to_device = true, .block = 10,
	};
	struct exchrange_range range = {
		.file1_fd = fd1, .file1_offset = RANGE, .file2_fd = fd2, .length = BLOCK,
	};
	int error;

	(void)state;
	assert_true(memory[RANGE] == 'a');
	stop_slow_device();
	begin_transfer(&writing);
	/* It takes until end_transfer(): who waits for it gets EBUSY. */
	error = device_exchange(&range);
	end_transfer(&writing);

	assert_int_equal(error, 0);
	assert_all(fd1, RANGE, RANGE + BLOCK, 'b');
	assert_all(fd2, 0, BLOCK, 'a');
	assert_true(memory[RANGE] == 'b');
	munmap(memory, FILE_SIZE);
	close(reader);
	close(fd1);
	close(fd2);
	fill_slow_device();
}

/* --- others who have a page of a file that is mapped for writing ------------------------ */

static void run_on(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	assert_int_equal(sched_setaffinity(0, sizeof(cpus), &cpus), 0);
}

/* Every second read of a page makes it an active one: the CPU puts it on a list of its own. */
static void activate_page(int fd, char *memory)
{
	char bytes[BLOCK];
	int i;

	(void)memory;
	for (i = 0; i < 4; i++) {
		assert_int_equal(pread(fd, bytes, BLOCK, RANGE), BLOCK);
		assert_int_equal(pread(fd, bytes, BLOCK, 2 * RANGE), BLOCK);
	}
}

/* So it does with one that it locks, or whose mapping goes. */
static void lock_page(int fd, char *memory)
{
	(void)fd;
	assert_int_equal(mlock(memory + RANGE, BLOCK), 0);
}

/* What no CPU has to do at once it does when it comes to it, or has to.  Whether that took long. */
static bool exchange_listed_page(void (*list_page)(int fd, char *memory), int cpu)
{
	struct exchrange_range range = make_range();
	int fd1 = range.file1_fd, fd2 = range.file2_fd;
	char *memory = map_file(fd1, PROT_READ | PROT_WRITE);
	double seconds;

	run_on(cpu);
	list_page(fd1, memory);
	run_on(0);
	assert_int_equal(time_exchange(&range, &seconds), 0);
	assert_all(fd1, 0, RANGE, 'a');
	assert_all(fd1, RANGE, RANGE + BLOCK, 'b');
	assert_all(fd1, RANGE + BLOCK, FILE_SIZE, 'a');
	assert_all(fd2, 0, BLOCK, 'a');
	munmap(memory, FILE_SIZE);
	close(fd1);
	close(fd2);
	return seconds >= 0.8;
}

/* EBUSY, or as long as that takes, each time: it waits for the CPU. */
static void test_page_on_a_list_of_a_cpu(void **state)
{
	int cpu, cpus = sysconf(_SC_NPROCESSORS_ONLN), round, long_ones = 0;
	cpu_set_t before;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	for (round = 0; round < 5; round++)
		for (cpu = 0; cpu < cpus; cpu++) {
			long_ones += exchange_listed_page(activate_page, cpu);
			long_ones += exchange_listed_page(lock_page, cpu);
		}
	print_message("# %d exchanges of %d took long\n", long_ones, 2 * round * cpus);
	assert_true(long_ones < round);
	assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
}

static atomic_bool stop_reading;

static void *read_all(void *fd)
{
	char *bytes = malloc(FILE_SIZE);

	while (!atomic_load(&stop_reading))
		if (pread(*(int *)fd, bytes, FILE_SIZE, 0) != FILE_SIZE)
			break;
	free(bytes);
	return NULL;
}

static void *read_mapped(void *fd)
{
	volatile const char *memory = map_file(*(int *)fd, PROT_READ);
	unsigned int i;

	for (i = 0; !atomic_load(&stop_reading); i = (i + BLOCK) % FILE_SIZE)
		(void)memory[i];
	munmap((void *)memory, FILE_SIZE);
	return NULL;
}

/* By reads, and by mappings, which the exchange takes away. */
static void test_reads_stop_nobody(void **state)
{
	struct exchrange_range range = make_range();
	char *memory = map_file(range.file1_fd, PROT_READ | PROT_WRITE);
	double seconds, longest = 0;
	pthread_t thread[4];
	unsigned int i;

	(void)state;
	atomic_store(&stop_reading, false);
	for (i = 0; i < COUNT(thread); i++)
		assert_int_equal(pthread_create(&thread[i], NULL, i % 2 ? read_mapped : read_all,
						&range.file1_fd), 0);
	for (i = 0; i < 60; i++) {
		assert_int_equal(time_exchange(&range, &seconds), 0);
		longest = seconds > longest ? seconds : longest;
	}
	atomic_store(&stop_reading, true);
	for (i = 0; i < COUNT(thread); i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	print_message("# %u exchanges beside reads, %.3f s at the most\n", 60, longest);
	munmap(memory, FILE_SIZE);
	close(range.file1_fd);
	close(range.file2_fd);
}

/* In the pipe the page is as it was before; the file's is what the exchange has made it. */
static void exchange_page_in_a_pipe(int access, int protection, int expected)
{
	struct exchrange_range range = make_range();
	int fd1 = open_path(path_of("file1"), access), fd2 = range.file2_fd, pipes[2], error;
	char *memory = map_file(fd1, protection), bytes[BLOCK];
	loff_t offset = RANGE;

	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(splice(fd1, &offset, pipes[1], NULL, BLOCK, 0), BLOCK);
	error = device_exchange(&range);
	assert_int_equal(error, expected);
	assert_all(fd1, RANGE, RANGE + BLOCK, error ? 'a' : 'b');
	assert_all(fd2, 0, BLOCK, error ? 'b' : 'a');
	assert_int_equal(read(pipes[0], bytes, BLOCK), BLOCK);
	assert_true(bytes[0] == 'a' && !memcmp(bytes, bytes + 1, BLOCK - 1));
	if (error)
		assert_int_equal(device_exchange(&range), 0);
	munmap(memory, FILE_SIZE);
	close(pipes[0]);
	close(pipes[1]);
	close(fd1);
	close(range.file1_fd);
	close(fd2);
}

/* Where transfers do not pin, the page may be one's that a device writes to. */
static void test_page_in_a_pipe(void **state)
{
	(void)state;
	exchange_page_in_a_pipe(O_RDONLY, PROT_READ, 0);
	exchange_page_in_a_pipe(O_RDWR, PROT_READ | PROT_WRITE, transfers_pin() ? 0 : EBUSY);
}

/* --- reads that end while exchanges go on ---------------------------------------------- */

#define READERS	24

struct race {
	char		*memory;
	atomic_bool	hold, end;
	atomic_int	busy;
	atomic_int	read[READERS];	/* the block that the page of each has, or -1 */
	atomic_ullong	failed;
};

struct reader {
	struct race	*race;
	unsigned int	number;
	pthread_t	thread;
};

static uint32_t place_of(unsigned int reader)
{
	return FILE_SIZE / 2 + reader * BLOCK;
}

static void *read_on(void *argument)
{
	struct reader *reader = argument;
	struct race *race = reader->race;
	unsigned int seed = reader->number;

	while (!atomic_load(&race->end)) {
		int block = rand_r(&seed) % SLOW_BLOCKS;

		usleep(rand_r(&seed) % (1000 * SLOW_MS));
		atomic_fetch_add(&race->busy, 1);
		if (!atomic_load(&race->hold)) {
			if (pread(slow_device, race->memory + place_of(reader->number), BLOCK,
				  (off_t)block * BLOCK) != BLOCK)
				atomic_fetch_add(&race->failed, 1);
			atomic_store(&race->read[reader->number], block);
		}
		atomic_fetch_sub(&race->busy, 1);
	}
	return NULL;
}

static void hold_readers(struct race *race)
{
	atomic_store(&race->hold, true);
	while (atomic_load(&race->busy))
		usleep(500);
}

static void assert_race(struct race *race, int fd1, int fd2, int error)
{
	unsigned int i;

	assert_all(fd1, 0, RANGE, 'a');
	assert_all(fd1, RANGE, RANGE + BLOCK, error ? 'a' : 'b');
	assert_all(fd1, RANGE + BLOCK, FILE_SIZE / 2, 'a');
	assert_all(fd2, 0, BLOCK, error ? 'b' : 'a');
	for (i = 0; i < READERS; i++) {
		int block = atomic_load(&race->read[i]);

		assert_all(fd1, place_of(i), place_of(i) + BLOCK,
			   block < 0 ? 'a' : slow_byte(block));
	}
}

/* With all of them held: both files anew, whose first has one mapping all the time. */
static void write_anew(struct race *race, int fd1, int fd2)
{
	char *bytes = malloc(FILE_SIZE);
	unsigned int i;

	assert_non_null(bytes);
	assert_int_equal(fallocate(fd1, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				   FILE_SIZE), 0);
	memset(bytes, 'a', FILE_SIZE);
	assert_int_equal(pwrite(fd1, bytes, FILE_SIZE, 0), FILE_SIZE);
	memset(bytes, 'b', BLOCK);
	assert_int_equal(pwrite(fd2, bytes, BLOCK, 0), BLOCK);
	assert_int_equal(fsync(fd1), 0);
	assert_int_equal(fsync(fd2), 0);
	free(bytes);
	for (i = 0; i < READERS; i++)
		atomic_store(&race->read[i], -1);
}

static void test_reads_beside_exchanges(void **state)
{
	unsigned int round, rounds = 300 / test_share() + 30, done = 0, seed = 1, i;
	int fd1 = make_whole("file1", 'a', FILE_SIZE), fd2 = make_whole("file2", 'b', BLOCK);
	struct exchrange_range range = {
		.file1_fd = fd1, .file1_offset = RANGE, .file2_fd = fd2, .length = BLOCK,
	};
	/* The readers go on where the test fails. */
	static struct race race;
	static struct reader reader[READERS];

	(void)state;
	race.memory = map_file(fd1, PROT_READ | PROT_WRITE);
	atomic_store(&race.hold, true);
	for (i = 0; i < READERS; i++) {
		reader[i] = (struct reader) { .race = &race, .number = i };
		assert_int_equal(pthread_create(&reader[i].thread, NULL, read_on, &reader[i]), 0);
	}
	for (round = 0; round < rounds; round++) {
		int error;

		hold_readers(&race);
		write_anew(&race, fd1, fd2);
		atomic_store(&race.hold, false);
		usleep(1000 * SLOW_MS + rand_r(&seed) % (500 * SLOW_MS));
		error = device_exchange(&range);
		hold_readers(&race);
		assert_race(&race, fd1, fd2, error);
		if (error)
			assert_int_equal(error, EBUSY);
		done += !error;
	}
	atomic_store(&race.end, true);
	for (i = 0; i < READERS; i++)
		assert_int_equal(pthread_join(reader[i].thread, NULL), 0);
	print_message("# %u exchanges of %u beside reads\n", done, rounds);
	assert_int_equal(atomic_load(&race.failed), 0);
	assert_true(done > rounds / 2);
	munmap(race.memory, FILE_SIZE);
	close(fd1);
	close(fd2);
}

/* --- a read into a mapping that is gone when the exchange begins ------------------------ */

static void *read_block(void *memory)
{
	return (void *)(uintptr_t)(pread(slow_device, memory, BLOCK, 7 * BLOCK) == BLOCK);
}

/* The byte that the file begins with, as the cache has it, and as the disk has it. */
static void read_twice(int fd, char byte[2])
{
	int i;

	for (i = 0; i < 2; i++) {
		assert_int_equal(pread(fd, &byte[i], 1, 0), 1);
		assert_int_equal(fsync(fd), 0);
		assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	}
}

/* One exchange at some time of the read; whether the read was under way when the mapping went. */
static bool exchange_after_unmapping(unsigned int delay, unsigned int round)
{
	struct exchrange_range range = {
		.file1_fd = make_whole("file1", 'a', BLOCK),
		.file2_fd = make_whole("file2", 'b', BLOCK),
		.length = BLOCK, .flags = EXCHRANGE_DSYNC,
	};
	int i, fd[2] = { range.file1_fd, range.file2_fd };
	char *memory = map_file(fd[0], PROT_READ | PROT_WRITE), byte[2];
	pthread_t thread;
	void *was_read;

	assert_int_equal(pthread_create(&thread, NULL, read_block, memory), 0);
	usleep(4000);
	munmap(memory, FILE_SIZE);
	usleep(delay);
	assert_int_equal(device_exchange(&range), 0);
	assert_int_equal(pthread_join(thread, &was_read), 0);
	for (i = 0; i < 2; i++) {
		read_twice(fd[i], byte);
		if (byte[0] != byte[1])
			fail_msg("round %u: file%d has %#x in the cache and %#x on the disk",
				 round, i + 1, byte[0], byte[1]);
		close(fd[i]);
	}
	return was_read;
}

/* Nobody waits for it: what it brings may be lost, but nobody sees it first. */
static void test_read_into_a_removed_mapping(void **state)
{
	unsigned int round, rounds = 300 / test_share() + 100, reads = 0, seed = 1;

	(void)state;
	for (round = 0; round < rounds; round++)
		reads += exchange_after_unmapping(rand_r(&seed) % (1000 * SLOW_MS), round);
	print_message("# %u exchanges of %u beside reads into a mapping that is gone\n",
		      reads, rounds);
	assert_true(reads > rounds / 4);
}

/* --- a disk that takes longer than an exchange waits for transfers ------------------------ */

static void *exchange(void *range)
{
	return (void *)(uintptr_t)device_exchange(range);
}

/* The exchange has to write file1 back first; a read into file2 ends soon after that. */
static int exchange_on_a_disk_that_waits(struct exchrange_range *range, struct transfer *reading)
{
	pthread_t thread;
	void *error;

	stop_slow_device();
	begin_transfer(reading);
	assert_int_equal(run("dmsetup suspend --noflush --nolockfs " FAILING_NAME), 0);
	assert_int_equal(pthread_create(&thread, NULL, exchange, range), 0);
	usleep(1500000);
	assert_int_equal(run("dmsetup resume " FAILING_NAME), 0);
	end_transfer(reading);
	assert_int_equal(pthread_join(thread, &error), 0);
	return (int)(uintptr_t)error;
}

/* What was spent on writing back is not taken from the second that a read has to end. */
static void test_time_of_the_disk_does_not_count(void **state)
{
	char *disk = strdup(getenv("SCRATCH_DEV1")), *memory, *bytes = malloc(FILE_SIZE);
	struct exchrange_range range = { .length = FILE_SIZE };
	int error, tries = 0;

	(void)state;
	assert_non_null(disk);
	assert_non_null(bytes);
	make_failing_disk(disk);
	setenv("SCRATCH_DEV1", FAILING_DISK, 1);
	enter_scratch(kind->mkfs, "defaults");
	/* On a machine with much other work it may not end in that second. */
	do {
		struct transfer reading = { .block = 11 };

		range.file1_fd = make_whole("file1", 'a', FILE_SIZE);
		range.file2_fd = make_whole("file2", 'b', FILE_SIZE);
		memory = map_file(range.file2_fd, PROT_READ | PROT_WRITE);
		reading.memory = memory;
		memset(bytes, 'c', FILE_SIZE);
		assert_int_equal(pwrite(range.file1_fd, bytes, FILE_SIZE, 0), FILE_SIZE);
		error = exchange_on_a_disk_that_waits(&range, &reading);
		if (!error) {
			assert_all(range.file1_fd, 0, BLOCK, slow_byte(11));
			assert_all(range.file1_fd, BLOCK, FILE_SIZE, 'b');
			assert_all(range.file2_fd, 0, FILE_SIZE, 'c');
		}
		munmap(memory, FILE_SIZE);
		close(range.file1_fd);
		close(range.file2_fd);
	} while (error == EBUSY && ++tries < 3);
	leave_scratch();
	setenv("SCRATCH_DEV1", disk, 1);
	assert_int_equal(drop_failing_disk(), 0);
	assert_int_equal(error, 0);
	free(bytes);
	free(disk);
}

/*
 * btrfs itself gives up a page that a device makes dirty after it was written back: "folio is
 * marked dirty without notifying the fs" (Linux 6.12), with any fsync in the place of the
 * exchange.
 */
int main(int argc, char **argv)
{
	const struct CMUnitTest any[] = {
		cmocka_unit_test(test_reader_stops_nobody),
		cmocka_unit_test(test_page_on_a_list_of_a_cpu),
		cmocka_unit_test(test_reads_stop_nobody),
		cmocka_unit_test(test_page_in_a_pipe),
		cmocka_unit_test(test_read_that_hangs_is_ebusy),
	};
	const struct CMUnitTest all[] = {
		cmocka_unit_test(test_reader_stops_nobody),
		cmocka_unit_test(test_page_on_a_list_of_a_cpu),
		cmocka_unit_test(test_reads_stop_nobody),
		cmocka_unit_test(test_page_in_a_pipe),
		cmocka_unit_test(test_read_beside_the_range),
		cmocka_unit_test(test_read_in_the_range),
		cmocka_unit_test(test_read_before_a_nearer_end),
		cmocka_unit_test(test_reads_beside_exchanges),
		cmocka_unit_test(test_read_into_a_removed_mapping),
		cmocka_unit_test(test_time_of_the_disk_does_not_count),
	};

	start(argc, argv);
	return is_btrfs() ?
	       run_as_ktap("pinned pages", any, make_slow_device, drop_slow_device) :
	       run_as_ktap("pinned pages", all, make_slow_device, drop_slow_device);
}
