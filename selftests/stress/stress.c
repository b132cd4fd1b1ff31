// SPDX-License-Identifier: GPL-2.0
/*
 * stress MOUNTPOINT [--seed N] [--operations N] [--threads N]
 *
 * Random operations of many kinds, exchanges above all, on files that are compared
 * with a byte-by-byte model: each thread on files of its own, then all of them on the
 * same pairs.  The operations of all threads together, in both tests, are N.
 *
 * What a thread does to its own files depends on the seed, the number of threads, the
 * number of operations and the file system alone: the same again with the seed that
 * was printed.  Of shared pairs only what is asked for is the same, not in which order
 * the threads get there.
 */
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/btrfs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include "stress.h"

#define VERIFY_EVERY	300u	/* operations of a thread */
#define MANY		10000u	/* operations, among which is every kind */

uint64_t seed;
unsigned int thread_count = 4;
unsigned long operation_count = 20000;
uint8_t pool[POOL];
atomic_bool stop;

/* When a test began. */
static struct timespec beginning;

/* Somebody has complained, in whichever test. */
static atomic_bool failed;

/* Of this thread; a helper that gives up ends the program from there. */
static _Thread_local struct worker *current_worker;
static _Thread_local bool complained;

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

uint64_t draw(struct worker *worker, uint64_t limit)
{
	worker->random += 0x9e3779b97f4a7c15ull;
	return limit ? mix(worker->random) % limit : 0;
}

bool one_in(struct worker *worker, unsigned int times)
{
	return draw(worker, times) == 0;
}

uint64_t draw_magnitude(struct worker *worker, unsigned int bits)
{
	unsigned int magnitude = draw(worker, bits + 1);

	return draw(worker, 1ull << magnitude);
}

static char *history_line(struct worker *worker)
{
	return worker->history[atomic_load(&worker->done) % HISTORY];
}

/* What one operation says twice, as COMMIT does, goes on in its line. */
void begin(struct worker *worker, const char *format, ...)
{
	char *line = history_line(worker);
	const size_t size = sizeof(worker->history[0]);
	va_list arguments;
	size_t length;

	if (strtoul(line, NULL, 10) != atomic_load(&worker->done) || !line[0])
		snprintf(line, size, "%lu:", atomic_load(&worker->done));
	length = strlen(line);
	length += snprintf(line + length, size - length, " ");
	va_start(arguments, format);
	if (length < size)
		vsnprintf(line + length, size - length, format, arguments);
	va_end(arguments);
}

void end(struct worker *worker, unsigned int row, int error)
{
	char *line = history_line(worker);
	size_t length = strlen(line);

	snprintf(line + length, sizeof(worker->history[0]) - length, " = %d;",
		 error);
	worker->counts[row][error < (int)ERRNOS ? error : EINVAL]++;
}

static void print_history(struct worker *worker)
{
	unsigned long done = atomic_load(&worker->done), i;

	fprintf(stderr, "# seed %" PRIu64 ", --threads %u, --operations %lu, %s: thread %u, operation %lu; the last ones:\n",
		seed, thread_count, operation_count, mount_point,
		worker->number, done);
	for (i = done < HISTORY - 1 ? 0 : done - HISTORY + 1; i <= done; i++)
		fprintf(stderr, "#   %s\n", worker->history[i % HISTORY]);
}

void complain(struct worker *worker, const char *format, ...)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	va_list arguments;

	atomic_store(&stop, true);
	atomic_store(&failed, true);
	if (complained)
		return;
	complained = true;
	pthread_mutex_lock(&mutex);
	fprintf(stderr, "\n# WRONG: ");
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "\n");
	print_history(worker);
	pthread_mutex_unlock(&mutex);
}

static void report_at_exit(void)
{
	if (current_worker)
		print_history(current_worker);
}

struct worker *make_workers(unsigned int phase, unsigned long operations)
{
	struct worker *workers = calloc(thread_count, sizeof(*workers));
	unsigned int i;

	clock_gettime(CLOCK_MONOTONIC, &beginning);
	assert_non_null(workers);
	for (i = 0; i < thread_count; i++) {
		workers[i].number = i;
		workers[i].random = mix(mix(seed) + 2 * i + phase);
		workers[i].goal = operations / thread_count;
		workers[i].buffer = mmap(NULL, FILE_MAX + block_size,
					 PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		assert_ptr_not_equal(workers[i].buffer, MAP_FAILED);
	}
	return workers;
}

void drop_workers(struct worker *workers)
{
	unsigned int i;

	for (i = 0; i < thread_count; i++)
		munmap(workers[i].buffer, FILE_MAX + block_size);
	free(workers);
}

static void show_progress(struct worker *workers, const char *name)
{
	static struct timespec last;
	bool terminal = isatty(STDERR_FILENO);
	unsigned long done = 0, goal = 0;
	struct timespec now;
	unsigned int i;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!terminal && now.tv_sec - last.tv_sec < 5)
		return;
	last = now;
	for (i = 0; i < thread_count; i++) {
		done += atomic_load(&workers[i].done);
		goal += workers[i].goal;
	}
	fprintf(stderr, "%s%s: %lu of %lu operations%s", terminal ? "\r" : "# ",
		name, done, goal, terminal ? " " : "\n");
}

/* Half a second of waiting for one thread, then a look at all. */
static void join(pthread_t thread, struct worker *workers, const char *name)
{
	struct timespec until;

	do {
		show_progress(workers, name);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 500 * 1000 * 1000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
	} while (pthread_timedjoin_np(thread, NULL, &until) == ETIMEDOUT);
}

void run_workers(struct worker *workers, void *(*run)(void *worker),
		 const char *name)
{
	pthread_t *threads = calloc(thread_count, sizeof(*threads));
	unsigned int i;

	assert_non_null(threads);
	for (i = 0; i < thread_count; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run,
						&workers[i]), 0);
	for (i = 0; i < thread_count; i++)
		join(threads[i], workers, name);
	free(threads);
}

static void name_row(char *name, size_t size, unsigned int row)
{
	static const char * const names[] = {
		"write", "O_DIRECT write", "store", "truncate", "punch hole",
		"zero range", "preallocate", "reflink", "dedupe", "snapshot",
		"fsync", "fdatasync", "syncfs", "drop cache", "recreate", "read",
		"O_DIRECT read",
	};
	static const char * const flags[] = {
		" TO_EOF", " DSYNC", " DRY_RUN", " FILE1_WRITTEN",
	};
	unsigned int i;

	if (row < COUNT(names)) {
		snprintf(name, size, "%s", names[row]);
		return;
	}
	if (row >= VECTOR) {
		snprintf(name, size, "%s", row == VECTOR ? "vector" : "vector DRY_RUN");
		return;
	}
	snprintf(name, size, "%s", row < COMMIT ? "exchange" : "commit");
	for (i = 0; i < COUNT(flags); i++)
		if ((row - EXCHANGE) >> i & 1)
			strncat(name, flags[i], size - strlen(name) - 1);
}

static void print_row(const struct worker *workers, unsigned int row)
{
	unsigned int total[ERRNOS] = { }, any = 0, i, error;
	char name[64];

	for (i = 0; i < thread_count; i++) {
		for (error = 0; error < ERRNOS; error++) {
			total[error] += workers[i].counts[row][error];
			any += workers[i].counts[row][error];
		}
	}
	if (!any)
		return;
	name_row(name, sizeof(name), row);
	printf("# %s %u", name, total[0]);
	for (error = 1; error < ERRNOS; error++)
		if (total[error])
			printf(", %s %u", strerrorname_np(error), total[error]);
	printf("\n");
}

void print_counts(const struct worker *workers, const char *name)
{
	struct timespec now;
	unsigned int row;

	clock_gettime(CLOCK_MONOTONIC, &now);
	printf("# %s: in %.1f s these operations that worked, and errors:\n", name,
	       now.tv_sec - beginning.tv_sec + (now.tv_nsec - beginning.tv_nsec) / 1e9);
	for (row = 0; row < OPERATIONS; row++)
		print_row(workers, row);
	fflush(stdout);
}

void make_folder(const char *name)
{
	assert_int_equal(run("mkdir -p %s/" FOLDER " && cd %s/" FOLDER " && %s %s",
			     mount_point, mount_point,
			     is_btrfs() ? "btrfs -q subvolume create" : "mkdir",
			     name), 0);
}

static int open_below(const char *name)
{
	char path[192];

	snprintf(path, sizeof(path), "%s/" FOLDER "/%s", mount_point, name);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int make_snapshot(const char *folder, const char *name)
{
	struct btrfs_ioctl_vol_args_v2 args = { .flags = BTRFS_SUBVOL_RDONLY };
	int parent = open_below(""), error = 0;

	snprintf(args.name, sizeof(args.name), "%s", name);
	args.fd = open_below(folder);
	if (ioctl(parent, BTRFS_IOC_SNAP_CREATE_V2, &args))
		error = errno;
	close(args.fd);
	close(parent);
	return error;
}

int delete_snapshot(const char *name)
{
	struct btrfs_ioctl_vol_args args = { };
	int parent = open_below(""), error = 0;

	snprintf(args.name, sizeof(args.name), "%s", name);
	if (ioctl(parent, BTRFS_IOC_SNAP_DESTROY, &args))
		error = errno;
	close(parent);
	return error;
}

static void open_own_files(struct worker *worker)
{
	unsigned int i;
	char name[32];

	for (i = 0; i < FOLDERS; i++) {
		snprintf(name, sizeof(name), "own-%u-%u", worker->number, i);
		make_folder(name);
	}
	for (i = 0; i < FILES; i++)
		open_own_file(worker, &worker->files[i]);
	worker->elsewhere = memfd_create("elsewhere", MFD_CLOEXEC);
	assert_true(worker->elsewhere >= 0);
}

static void close_own_files(struct worker *worker)
{
	unsigned int i;

	for (i = 0; i < FILES; i++)
		close_own_file(&worker->files[i]);
	close(worker->elsewhere);
}

/* From the disk, and what the page cache has of it. */
static void verify_on_disk(struct worker *worker)
{
	unsigned int i;

	if (syncfs(worker->files[0].fd))
		complain(worker, "syncfs: %s", strerror(errno));
	for (i = 0; i < FILES && !atomic_load(&stop); i++) {
		struct file *file = &worker->files[i];

		verify_bytes(worker, file, file->fd, "after syncfs");
		posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
		verify_bytes(worker, file, file->direct_fd, "by O_DIRECT after syncfs");
		verify_bytes(worker, file, file->fd, "from disk after syncfs");
	}
}

static void *work_on_own(void *argument)
{
	struct worker *worker = argument;

	current_worker = worker;
	while (atomic_load(&worker->done) < worker->goal && !atomic_load(&stop)) {
		operate(worker);
		if (atomic_fetch_add(&worker->done, 1) % VERIFY_EVERY == VERIFY_EVERY - 1)
			verify_all(worker);
	}
	if (!atomic_load(&stop))
		verify_on_disk(worker);
	current_worker = NULL;
	return NULL;
}

/* With many operations: no kind was left out, or always failed. */
static void assert_all_kinds(const struct worker *workers, unsigned long operations)
{
	unsigned int row, i;
	char name[64];

	if (operations < MANY)
		return;
	for (row = 0; row < OPERATIONS; row++) {
		bool none = row != READ && row != READ_DIRECT &&
			    (row != SNAPSHOT || is_btrfs());

		for (i = 0; i < thread_count; i++)
			none &= !workers[i].counts[row][0];
		name_row(name, sizeof(name), row);
		if (none)
			fail_msg("seed %lu: not one success of '%s'", seed, name);
	}
}

void test_own_pairs(void **state)
{
	unsigned long operations = operation_count / 4 * 3;
	struct worker *workers = make_workers(0, operations);
	unsigned int i;

	(void)state;
	for (i = 0; i < thread_count; i++)
		open_own_files(&workers[i]);
	run_workers(workers, work_on_own, "own pairs");
	print_counts(workers, "own pairs");
	if (atomic_load(&stop))
		fail_msg("something is wrong: see above");
	assert_all_kinds(workers, operations);
	for (i = 0; i < thread_count; i++)
		close_own_files(&workers[i]);
	drop_workers(workers);
}

/* Leaves what failed where it is. */
static int clean_up(void **state)
{
	(void)state;
	return atomic_load(&failed) ? 0 : run("rm -rf %s/" FOLDER, mount_point);
}

static uint64_t ask_block_size(void)
{
	struct statfs fs;

	if (statfs(mount_point, &fs)) {
		fprintf(stderr, "%s: %s\n", mount_point, strerror(errno));
		exit(1);
	}
	return fs.f_bsize;
}

static void take_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed",	required_argument, NULL, 's' },
		{ "operations",	required_argument, NULL, 'o' },
		{ "threads",	required_argument, NULL, 't' },
		{ }
	};
	char *arguments[2] = { argv[0] };
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (option == 'o')
			operation_count = strtoul(optarg, NULL, 0);
		else if (option == 't')
			thread_count = strtoul(optarg, NULL, 0);
	}
	if (optind != argc - 1 || !thread_count || thread_count > 256) {
		fprintf(stderr, "usage: %s MOUNTPOINT [--seed N] [--operations N] [--threads N]\n",
			argv[0]);
		exit(2);
	}
	arguments[1] = argv[optind];
	start(COUNT(arguments), arguments);
	block_size = ask_block_size();
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		{ "own pairs", test_own_pairs },
		{ "shared pairs", test_shared_pairs },
	};
	unsigned int i;

	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return 1;
	take_options(argc, argv);
	printf("# seed %" PRIu64 ", --threads %u, --operations %lu\n", seed,
	       thread_count, operation_count);
	fflush(stdout);
	atexit(report_at_exit);
	for (i = 0; i < POOL; i++)
		pool[i] = content_byte(seed, i);
	if (run("rm -rf %s/" FOLDER, mount_point))
		return 1;
	return run_as_ktap("stress", tests, NULL, clean_up);
}
