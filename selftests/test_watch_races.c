// SPDX-License-Identifier: GPL-2.0
/*
 * Watches while exchanges run: who has a file mapped and keeps to the protocol never
 * parses a mixture of two contents, and who does not keep to it does.
 *
 * WATCH_READS in the environment is how often the races are read: 1000000 is the long
 * form.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common.h"
#include "watch.h"

static const struct file_spec plain = { SHAPE_PLAIN, 4 * BLOCK };
static const struct file_spec scattered = { SHAPE_SCATTERED, 100 * BLOCK };

static unsigned long race_reads(void)
{
	const char *text = getenv("WATCH_READS");

	return text ? strtoul(text, NULL, 0) : 20000;
}

/* --- under way ---------------------------------------------------------------------- */

struct swapper {
	int		fd[2];
	uint64_t	offset1, length;	/* 0: whole files */
	bool		rests;			/* as long as each swap took */
	atomic_bool	stop;
	atomic_int	swaps;
	atomic_int	error;
};

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static void *swap_on_and_on(void *argument)
{
	struct swapper *swapper = argument;
	struct exchrange_range range = {
		.file1_fd	= swapper->fd[0],
		.file1_offset	= swapper->offset1,
		.file2_fd	= swapper->fd[1],
		.length		= swapper->length,
		.flags		= swapper->length ? 0 : EXCHRANGE_TO_EOF,
	};

	while (!swapper->error && !atomic_load(&swapper->stop)) {
		int64_t start = now_us();

		swapper->error = device_exchange(&range);
		swapper->swaps++;
		if (swapper->rests)
			usleep(now_us() - start);
	}
	return NULL;
}

/* On a busy machine a writer, or who looks at it, may stand still for long. */
static int64_t in_a_minute(void)
{
	return now_us() + 60000000;
}

static pthread_t start_swapper(struct swapper *swapper)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, swap_on_and_on, swapper), 0);
	return thread;
}

static void stop_swapper(struct swapper *swapper, pthread_t thread)
{
	atomic_store(&swapper->stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(swapper->error, 0);
}

/* Until the page was seen odd, and that many swaps were made: a minute at most. */
static bool see_odd(const struct exchrange_watch_page *page, struct swapper *swapper, int swaps)
{
	const int64_t give_up = in_a_minute();
	bool odd = false;

	while ((!odd || swapper->swaps < swaps) && !swapper->error && now_us() < give_up) {
		odd |= sequence_of(page) & 1;
		sched_yield();
	}
	return odd && swapper->swaps >= swaps;
}

static void test_odd_while_it_changes(void **state)
{
	struct pair pair = make_pair(scattered);
	struct swapper swapper = { .fd = { pair.fd[0], pair.fd[1] } };
	pthread_t thread = start_swapper(&swapper);
	bool odd[2];
	int i;

	(void)state;
	for (i = 0; i < 2; i++)
		odd[i] = see_odd(pair.page[i], &swapper, 10);
	stop_swapper(&swapper, thread);
	for (i = 0; i < 2; i++) {
		assert_true(odd[i]);
		assert_int_equal(sequence_of(pair.page[i]), 2 * swapper.swaps);
	}
	drop_pair(&pair);
}

static bool is_of(unsigned int seed, uint64_t offset, const uint8_t bytes[16])
{
	int i;

	for (i = 0; i < 16 && bytes[i] == content_byte(seed, offset + i); i++)
		;
	return i == 16;
}

/* Which seed some blocks of the file are of: 1 or 2, or 0 for a mixture. */
static unsigned int read_seed(int fd)
{
	unsigned int seen = 0;
	uint64_t offset;
	uint8_t bytes[16];

	for (offset = 0; offset < scattered.size; offset += 9 * BLOCK) {
		assert_int_equal(pread(fd, bytes, sizeof(bytes), offset), sizeof(bytes));
		if (is_of(1, offset, bytes))
			seen |= 1;
		else if (is_of(2, offset, bytes))
			seen |= 2;
		else
			fail_msg("neither of the two at 0x%llx",
				 (unsigned long long)offset);
	}
	return seen == 3 ? 0 : seen;
}

/* Who begins to watch in the middle of an exchange must not take it for the end of one. */
static void test_watch_that_begins_in_the_middle(void **state)
{
	struct pair pair = make_pair(scattered);
	struct swapper swapper = { .fd = { pair.fd[0], pair.fd[1] }, .rests = true };
	unsigned int born_odd = 0, valid = 0, torn = 0, turns;
	const int64_t give_up = in_a_minute();
	pthread_t thread;

	(void)state;
	unmap_page(pair.page[0]);
	close(pair.watch[0]);
	thread = start_swapper(&swapper);
	for (turns = 0; now_us() < give_up && (born_odd < 5 || valid < 5); turns++) {
		struct exchrange_watcher watcher;
		uint32_t sequence;
		unsigned int seed;

		assert_int_equal(exchrange_watch_open(device, pair.fd[0], &watcher), 0);
		born_odd += sequence_of(watcher.page) & 1;
		sequence = exchrange_watch_read_begin(&watcher);
		seed = read_seed(pair.fd[0]);
		if (!exchrange_watch_read_retry(&watcher, sequence)) {
			valid++;
			torn += !seed;
		}
		exchrange_watch_close(&watcher);
	}
	stop_swapper(&swapper, thread);
	print_message("# %u watches, %u began odd, %u readings were valid\n", turns,
		      born_odd, valid);
	assert_int_equal(torn, 0);
	assert_true(born_odd >= 5);
	assert_true(valid >= 5);
	pair.watch[0] = watch_file(pair.fd[0]);
	pair.page[0] = map_page(pair.watch[0]);
	drop_pair(&pair);
}

/* Many at once on one file, each with a range and another file of its own. */
static void test_many_exchanges_of_one_file(void **state)
{
	struct swapper swappers[4] = { };
	struct pair pair = make_pair(plain);
	pthread_t threads[COUNT(swappers)];
	bool odd[COUNT(swappers)];
	unsigned int swaps = 0;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(swappers); i++) {
		char name[16];

		snprintf(name, sizeof(name), "other%zu", i);
		swappers[i].fd[0] = pair.fd[0];
		swappers[i].fd[1] = make_file(name, plain, 3 + i);
		swappers[i].offset1 = i * BLOCK;
		swappers[i].length = BLOCK;
		threads[i] = start_swapper(&swappers[i]);
	}
	for (i = 0; i < COUNT(swappers); i++)
		odd[i] = see_odd(pair.page[0], &swappers[i], 100);
	for (i = 0; i < COUNT(swappers); i++) {
		stop_swapper(&swappers[i], threads[i]);
		assert_true(odd[i]);
		swaps += swappers[i].swaps;
		close(swappers[i].fd[1]);
	}
	assert_int_equal(pair.page[0]->count, swaps);
	assert_int_equal(sequence_of(pair.page[0]) & 1, 0);
	/* Where they overlap, they share an odd number. */
	assert_uint_in_range(sequence_of(pair.page[0]), 2, 2 * swaps);
	assert_int_equal(pair.page[1]->count, 0);
	assert_int_equal(read_count(pair.watch[0]), swaps);
	drop_pair(&pair);
}

struct opener {
	int		fd;
	atomic_bool	*stop;
	atomic_ulong	watches;
	int		error;
};

static void *open_and_close(void *argument)
{
	struct opener *opener = argument;
	unsigned long size = sysconf(_SC_PAGESIZE);

	while (!atomic_load(opener->stop)) {
		int watch = try_watch(opener->fd);
		const struct exchrange_watch_page *page = try_map(watch);
		struct pollfd pollfd = { watch, POLLIN };

		if (!page || page->size < 32)
			opener->error = watch < 0 ? -watch : ENOMEM;
		if (opener->watches % 2)
			close(watch);
		poll(&pollfd, 1, opener->watches % 3);
		if (page)
			munmap((void *)page, size);
		if (opener->watches++ % 2 == 0)
			close(watch);
	}
	return NULL;
}

static void test_watches_come_and_go(void **state)
{
	int fd[2] = { make_file("file1", plain, 1), make_file("file2", plain, 2) };
	struct swapper swapper = { .fd = { fd[0], fd[1] } };
	const int64_t give_up = in_a_minute();
	pthread_t threads[3], swapping = start_swapper(&swapper);
	struct opener openers[COUNT(threads)] = { };
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(openers); i++) {
		openers[i].fd = fd[i % 2];
		openers[i].stop = &swapper.stop;
		assert_int_equal(pthread_create(&threads[i], NULL, open_and_close,
						&openers[i]), 0);
	}
	for (i = 0; i < COUNT(openers); i++)
		while ((openers[i].watches < 10 || swapper.swaps < 500) && !swapper.error &&
		       now_us() < give_up)
			usleep(1000);
	stop_swapper(&swapper, swapping);
	assert_true(swapper.swaps >= 500);
	for (i = 0; i < COUNT(openers); i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(openers[i].error, 0);
		assert_true(openers[i].watches >= 10);
	}
	close(fd[0]);
	close(fd[1]);
}

/* --- the race ----------------------------------------------------------------------------------- */

/*
 * Contents of words: the version, the number of words, words that follow from the
 * version, and a sum of all in the end.
 */
#define WORDS		(4 * BLOCK / 8)
#define MOST_WORDS	(12 * BLOCK / 8)

struct race {
	const char	*name;
	bool		sizes;		/* that change */
	bool		reads;		/* pread(2), not a mapping */
	unsigned long	divisor;	/* of the number of readings */
};

static const struct race race_rows[] = {
	{ "mapped", .divisor = 1 },
	{ "mapped, of changing sizes", .sizes = true, .divisor = 4 },
	{ "a read for each block", .reads = true, .divisor = 8 },
};

struct writer {
	const struct race	*race;
	int			file, staging;
	atomic_bool		stop;
	atomic_ulong		commits;
	int			error;
};

static size_t write_contents(uint64_t *words, uint64_t version, bool sizes)
{
	size_t count = sizes ? 100 + version * 7919 % (MOST_WORDS - 100) : WORDS, i;
	uint64_t sum = 0;

	words[0] = version;
	words[1] = count;
	for (i = 2; i < count - 1; i++)
		words[i] = version * 0x9e3779b97f4a7c15ull + i;
	for (i = 0; i < count - 1; i++)
		sum = sum * 31 + words[i];
	words[count - 1] = sum;
	return count;
}

/* Each word is loaded once: it may be another one then. */
static uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static bool is_whole(const uint64_t *words, size_t count)
{
	uint64_t sum = 0;
	size_t i;

	if (count < 3 || load(&words[1]) != count)
		return false;
	for (i = 0; i < count - 1; i++)
		sum = sum * 31 + load(&words[i]);
	return load(&words[count - 1]) == sum;
}

static int commit_version(const struct writer *writer, uint64_t version)
{
	static uint64_t words[MOST_WORDS];
	size_t size = write_contents(words, version, writer->race->sizes) * sizeof(*words);

	if (ftruncate(writer->staging, 0) ||
	    pwrite(writer->staging, words, size, 0) != (ssize_t)size)
		return errno;
	return swap_files(writer->staging, writer->file);
}

static void *commit_on_and_on(void *argument)
{
	struct writer *writer = argument;
	uint64_t version;

	for (version = 2; !writer->error && !atomic_load(&writer->stop); version++) {
		writer->error = commit_version(writer, version);
		atomic_fetch_add(&writer->commits, 1);
	}
	return NULL;
}

static sigjmp_buf behind_the_end;

static void jump(int signal)
{
	(void)signal;
	siglongjmp(behind_the_end, 1);
}

struct reader {
	const struct race	*race;
	int			fd;
	const uint64_t		*mapped;	/* MOST_WORDS of it */
	unsigned long		bus_errors;
};

/* By single reads, which are each of one moment. */
static bool parse_by_reads(const struct reader *reader, size_t count)
{
	static uint64_t words[MOST_WORDS];
	size_t size = count * sizeof(*words), offset;

	for (offset = 0; offset < size; offset += BLOCK)
		if (pread(reader->fd, (char *)words + offset, BLOCK, offset) < 0)
			return false;
	return is_whole(words, count);
}

/* A page of the mapping may have gone behind the end since the size was asked for. */
static bool parse_mapped(struct reader *reader, size_t count)
{
	if (sigsetjmp(behind_the_end, 1)) {
		reader->bus_errors++;
		return false;
	}
	return is_whole(reader->mapped, count);
}

static bool parse(struct reader *reader)
{
	size_t count = WORDS;
	struct stat st;

	if (reader->race->sizes) {
		if (fstat(reader->fd, &st))
			return false;
		count = st.st_size / sizeof(uint64_t);
	}
	return reader->race->reads ? parse_by_reads(reader, count) :
				     parse_mapped(reader, count);
}

/* Without the protocol: mixtures are seen, soon. */
static unsigned long count_torn_without(struct reader *reader, unsigned long *readings)
{
	const int64_t give_up = in_a_minute();
	unsigned long torn = 0;

	for (*readings = 0; torn < 5 && now_us() < give_up; (*readings)++)
		torn += !parse(reader);
	return torn;
}

/* With it, @readings times, and more where the writer has hardly been met. */
static unsigned long count_torn_with(struct reader *reader, unsigned long *readings,
				     unsigned long *retries)
{
	const unsigned long wanted = *readings;
	const int64_t give_up = in_a_minute();
	struct exchrange_watcher watcher;
	unsigned long torn = 0, i;
	uint32_t sequence;
	bool whole;

	assert_int_equal(exchrange_watch_open(device, reader->fd, &watcher), 0);
	for (i = 0, *retries = 0; i < wanted || (*retries < 20 && now_us() < give_up); i++) {
		for (;;) {
			sequence = exchrange_watch_read_begin(&watcher);
			whole = parse(reader);
			if (!exchrange_watch_read_retry(&watcher, sequence))
				break;
			(*retries)++;
		}
		torn += !whole;
	}
	*readings = i;
	exchrange_watch_close(&watcher);
	return torn;
}

static void test_race(void **state)
{
	const struct sigaction action = { .sa_handler = jump };
	const struct race *race = *state;
	struct writer writer = {
		.race		= race,
		.file		= make_file("file1", plain, 1),
		.staging	= make_file("file2", plain, 2),
	};
	struct reader reader = {
		.race	= race,
		.fd	= open_path(path_of("file1"), O_RDONLY),
		.mapped	= mmap(NULL, MOST_WORDS * 8, PROT_READ, MAP_SHARED, writer.file, 0),
	};
	unsigned long readings = race_reads() / race->divisor;
	unsigned long torn_without, without, torn, retries;
	pthread_t thread;

	assert_ptr_not_equal(reader.mapped, MAP_FAILED);
	sigaction(SIGBUS, &action, NULL);
	assert_int_equal(commit_version(&writer, 1), 0);
	assert_int_equal(pthread_create(&thread, NULL, commit_on_and_on, &writer), 0);
	torn_without = count_torn_without(&reader, &without);
	torn = count_torn_with(&reader, &readings, &retries);
	atomic_store(&writer.stop, true);
	pthread_join(thread, NULL);
	print_message("# %s: %lu commits; without the protocol %lu of %lu torn; with it %lu of %lu, read again %lu times; %lu SIGBUS\n",
		      race->name, writer.commits, torn_without, without, torn, readings,
		      retries, reader.bus_errors);
	assert_int_equal(writer.error, 0);
	assert_true(torn_without >= 5);
	assert_int_equal(torn, 0);
	assert_true(retries >= 20);
	signal(SIGBUS, SIG_DFL);
	munmap((void *)reader.mapped, MOST_WORDS * 8);
	close(reader.fd);
	close(writer.file);
	close(writer.staging);
}

/* -1 for SIGBUS. */
static int load_byte(const uint8_t *byte)
{
	if (sigsetjmp(behind_the_end, 1))
		return -1;
	return __atomic_load_n(byte, __ATOMIC_RELAXED);
}

/* What the documents say of a file that gets shorter, and of one that gets longer. */
static void test_mapping_behind_the_end(void **state)
{
	static const struct file_spec longer = { SHAPE_PLAIN, 3 * BLOCK };
	static const struct file_spec shorter = { SHAPE_PLAIN, BLOCK };
	const struct sigaction action = { .sa_handler = jump };
	int fd1 = make_file("file1", longer, 1), fd2 = make_file("file2", shorter, 2);
	const uint8_t *mapped = mmap(NULL, 3 * BLOCK, PROT_READ, MAP_SHARED, fd1, 0);

	(void)state;
	assert_int_equal(load_byte(mapped + 2 * BLOCK), content_byte(1, 2 * BLOCK));
	assert_int_equal(swap_files(fd1, fd2), 0);
	sigaction(SIGBUS, &action, NULL);
	assert_int_equal(load_byte(mapped), content_byte(2, 0));
	assert_int_equal(load_byte(mapped + 2 * BLOCK), -1);
	/* Longer again: there it is. */
	assert_int_equal(swap_files(fd1, fd2), 0);
	assert_int_equal(load_byte(mapped + 2 * BLOCK), content_byte(1, 2 * BLOCK));
	signal(SIGBUS, SIG_DFL);
	munmap((void *)mapped, 3 * BLOCK);
	close(fd1);
	close(fd2);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest others[] = {
		cmocka_unit_test(test_odd_while_it_changes),
		cmocka_unit_test(test_watch_that_begins_in_the_middle),
		cmocka_unit_test(test_many_exchanges_of_one_file),
		cmocka_unit_test(test_watches_come_and_go),
		cmocka_unit_test(test_mapping_behind_the_end),
	};
	static const struct table table = {
		.group		= "race",
		.rows		= race_rows,
		.row_size	= sizeof(race_rows[0]),
		.row_count	= COUNT(race_rows),
		.test		= test_race,
		.others		= others,
		.other_count	= COUNT(others),
	};

	start(argc, argv);
	return run_table(&table);
}
