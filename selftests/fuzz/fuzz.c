// SPDX-License-Identifier: GPL-2.0
/*
 * Random calls of the device, as nobody, with every kind of descriptor and memory,
 * beside threads that change the arguments, the descriptors and the files meanwhile.
 * Nothing hangs, no error comes that Documentation/uapi.md does not have, no call that
 * failed has changed a file; the kernel log and the file systems are for the guest to
 * check.
 *
 *	fuzz MOUNTPOINT [--seed N] [--calls N] [--threads N]
 *
 * The same seed gives each worker the same numbers again; what comes of them depends on
 * who runs when.
 */
#include <fcntl.h>
#include <getopt.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"

#define HANG_SECONDS	300	/* a debug kernel under emulation is slow */
#define MAX_FAILURES	10	/* of a worker */

struct shared *shared;

static unsigned int workers = 2;
static uint64_t calls = 100000;

/* The supervisor's own notes of a worker. */
static struct child {
	pid_t	pid;		/* 0: none */
	bool	killed;
	uint64_t seen;		/* calls, at that time: */
	time_t	seen_at;
} children[MAX_WORKERS];

static time_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

static void prepare_loud_files(void)
{
	static const struct file_spec many = { SHAPE_SCATTERED, MASTER_SIZE };
	unsigned int i;
	char name[32];

	for (i = 0; i < LOUD_FILES; i++) {
		const struct file_spec plain = { i % 3, 10240u << i };

		snprintf(name, sizeof(name), FOLDER "/f%u", i);
		close(make_file(name, plain, i + 1));
	}
	close(make_file(FOLDER "/many", many, LOUD_FILES + 1));
	master = make_file(FOLDER "/master", many, LOUD_FILES + 2);
	assert_int_equal(link(path_of(FOLDER "/f0"), path_of(FOLDER "/f0.link")), 0);
	assert_int_equal(mkfifo(path_of(FOLDER "/fifo"), 0666), 0);
	assert_int_equal(chmod(path_of(FOLDER "/fifo"), 0666), 0);
}

static int set_immutable(bool on)
{
	int flags;

	assert_int_equal(ioctl(handed[IMMUTABLE], FS_IOC_GETFLAGS, &flags), 0);
	flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
	return ioctl(handed[IMMUTABLE], FS_IOC_SETFLAGS, &flags);
}

static int open_swap_file(void)
{
	const char *path = path_of(FOLDER "/swap");
	int fd;

	assert_int_equal(run("truncate -s 0 '%s' && chmod 600 '%s'"
			     " && { [ %s != btrfs ] || chattr +C '%s'; }"
			     " && dd if=/dev/zero of='%s' bs=64k count=1 status=none"
			     " && mkswap -q '%s'",
			     path, path, kind->name, path, path, path), 0);
	fd = open_path(path, O_RDWR);
	assert_int_equal(swapon(path, 0), 0);
	return fd;
}

/* Writable descriptors that nobody could not open: of files made for this alone. */
static void prepare_handed(void)
{
	static const struct file_spec plain = { SHAPE_PLAIN, 4 * BLOCK };
	const char *block_device = getenv("SCRATCH_DEV2");

	handed[IMMUTABLE] = make_file(FOLDER "/immutable", plain, 20);
	assert_int_equal(set_immutable(true), 0);
	handed[SWAP_FILE] = open_swap_file();
	if (block_device)
		handed[BLOCK_DEVICE] = open_path(block_device, O_RDONLY);
	if (!is_btrfs())
		return;
	assert_int_equal(run("btrfs -q subvolume create '%s'",
			     path_of(FOLDER "/subvolume")), 0);
	handed[READ_ONLY_SUBVOLUME] = make_file(FOLDER "/subvolume/file", plain,
						21);
	assert_int_equal(run("btrfs property set '%s' ro true",
			     path_of(FOLDER "/subvolume")), 0);
}

static void make_folder(enum place place)
{
	const char *path = path_of(FOLDER);

	assert_int_equal(run("rm -rf '%s'", path), 0);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(chown(path, NOBODY, NOBODY), 0);
	folders[place] = open_path(path, O_RDONLY | O_DIRECTORY);
}

/* On the other of the two file systems, where there is one. */
static void prepare_other(void)
{
	static const struct file_spec plain = { SHAPE_PLAIN, 16 * BLOCK };
	const char *tested = mount_point;
	const char *other = getenv(is_btrfs() ? "XFS_DIR" : "BTRFS_DIR");

	if (!other) {
		printf("# there is no other file system\n");
		return;
	}
	mount_point = other;
	make_folder(OTHER_FOLDER);
	close(make_file(FOLDER "/g0", plain, 30));
	close(make_file(FOLDER "/g1", plain, 31));
	mount_point = tested;
}

static void remove_all(void)
{
	const char *other = getenv(is_btrfs() ? "XFS_DIR" : "BTRFS_DIR");

	assert_int_equal(set_immutable(false), 0);
	assert_int_equal(swapoff(path_of(FOLDER "/swap")), 0);
	if (is_btrfs())
		assert_int_equal(run("btrfs property set '%s/subvolume' ro false",
				     path_of(FOLDER)), 0);
	assert_int_equal(run("rm -rf '%s' '%s/" FOLDER "'", path_of(FOLDER),
			     other ?: mount_point), 0);
}

static uint64_t count_calls(void)
{
	uint64_t sum = 0;
	unsigned int i;

	for (i = 0; i < workers; i++)
		sum += shared->slots[i].calls;
	return sum;
}

static void start_worker(unsigned int i)
{
	struct slot *slot = &shared->slots[i];

	fflush(stdout);
	children[i] = (struct child) { fork(), false, slot->calls, now() };
	if (children[i].pid == 0)
		live(slot);
	assert_true(children[i].pid > 0);
}

/* A worker's process has ended: as it should have, or by a signal of its own. */
static void note_end(unsigned int i, int status)
{
	struct slot *slot = &shared->slots[i];
	bool as_told = children[i].killed && WIFSIGNALED(status) &&
		       WTERMSIG(status) == SIGKILL;

	children[i].pid = 0;
	/* With REPORTED it has said so itself, and counted it. */
	if (!as_told && status && !(WIFEXITED(status) &&
				    WEXITSTATUS(status) == REPORTED)) {
		printf("# worker %u ended with status 0x%x; its last call:\n",
		       i, status);
		print_call(slot);
		slot->failures++;
	}
	/* One that cannot live, or that goes on failing, is not tried for ever. */
	if ((WIFEXITED(status) && WEXITSTATUS(status) == CANNOT_LIVE) ||
	    slot->failures > MAX_FAILURES)
		slot->limit = slot->calls;
	slot->life++;
}

static bool reap_and_start(void)
{
	bool running = false;
	unsigned int i;
	int status;

	for (i = 0; i < workers; i++) {
		struct slot *slot = &shared->slots[i];

		if (children[i].pid &&
		    waitpid(children[i].pid, &status, WNOHANG) > 0)
			note_end(i, status);
		if (!children[i].pid && slot->calls < slot->limit)
			start_worker(i);
		running |= children[i].pid != 0;
	}
	return running;
}

/*
 * Once in a second or three, in the middle of whatever it does.  Not one that stands
 * still: the signal might end what would have been seen as a hang.
 */
static void kill_one_now_and_then(struct generator *generator)
{
	static time_t next;
	unsigned int i = below(generator, workers);

	if (now() < next || !children[i].pid || now() - children[i].seen_at > 1)
		return;
	if (next) {
		children[i].killed = true;
		kill(children[i].pid, SIGKILL);
	}
	next = now() + 1 + below(generator, 3);
}

static void report_hang(unsigned int i)
{
	printf("# worker %u, process %d, has made no progress for %d seconds; its last call:\n",
	       i, children[i].pid, HANG_SECONDS);
	print_call(&shared->slots[i]);
	run("for task in /proc/%d/task/*; do echo \"# $task: $(cat $task/comm)\"; cat $task/stack; done; exit 1",
	    children[i].pid);
	shared->slots[i].failures++;
}

static bool something_hangs(void)
{
	bool hangs = false;
	unsigned int i;

	for (i = 0; i < workers; i++) {
		struct child *child = &children[i];

		if (child->seen != shared->slots[i].calls) {
			child->seen = shared->slots[i].calls;
			child->seen_at = now();
		}
		if (child->pid && now() - child->seen_at >= HANG_SECONDS) {
			report_hang(i);
			hangs = true;
		}
	}
	return hangs;
}

static void tell_progress(void)
{
	static time_t next;
	bool terminal = isatty(STDOUT_FILENO);

	if (now() < next)
		return;
	if (next)
		printf("%s# %llu of %llu calls%s", terminal ? "\r" : "",
		       (unsigned long long)count_calls(),
		       (unsigned long long)calls, terminal ? "" : "\n");
	fflush(stdout);
	next = now() + (terminal ? 1 : 10);
}

/* False where something hangs: what hangs cannot be waited for. */
static bool supervise(void)
{
	struct generator generator = { shared->seed };

	while (reap_and_start()) {
		kill_one_now_and_then(&generator);
		tell_progress();
		if (something_hangs())
			return false;
		usleep(20000);
	}
	return true;
}

static void share_calls(void)
{
	unsigned int i;

	for (i = 0; i < workers; i++) {
		shared->slots[i].worker = i;
		shared->slots[i].limit = calls / workers +
					 (i < calls % workers);
	}
}

/* Prints what there was, and returns the number of failures. */
static unsigned int sum_up(time_t start)
{
	unsigned int failures = 0, lives = 0, i;
	uint64_t checks = 0;

	for (i = 0; i < workers; i++) {
		failures += shared->slots[i].failures;
		lives += shared->slots[i].life;
		checks += shared->slots[i].checks;
	}
	printf("# %llu calls in %lld s, %u processes, %llu looks at quiet files\n",
	       (unsigned long long)count_calls(), (long long)(now() - start),
	       lives, (unsigned long long)checks);
	print_counts(workers);
	fflush(stdout);
	return failures;
}

static void test_calls(void **state)
{
	unsigned int failures, i;
	time_t start;

	(void)state;
	make_folder(TEST_FOLDER);
	prepare_loud_files();
	prepare_handed();
	prepare_other();
	share_calls();
	start = now();
	if (!supervise()) {
		sum_up(start);
		printf("not ok 1 - something hangs\n");
		fflush(stdout);
		_exit(1);
	}
	failures = sum_up(start);
	remove_all();
	assert_int_equal(failures, 0);
	assert_int_equal(count_calls(), calls);
	for (i = EXCHANGE; i <= VECTOR; i++)
		assert_true(has_success(workers, i));
}

static int try_exchange(void *range)
{
	return device_exchange(range);
}

static void test_device_still_works(void **state)
{
	static const struct file_spec plain = { SHAPE_PLAIN, 10 * BLOCK };
	struct exchrange_range range = {
		.file1_fd	= make_file("file1", plain, 1),
		.file1_offset	= BLOCK,
		.file2_fd	= make_file("file2", plain, 2),
		.length		= 3 * BLOCK,
	};
	struct picture expected[2] = {
		take_picture(range.file1_fd), take_picture(range.file2_fd),
	};
	struct picture after[2];
	int i;

	(void)state;
	model_exchange(&expected[0], &expected[1], range.file1_offset,
		       range.file2_offset, range.length, range.flags);
	assert_int_equal(as_nobody(try_exchange, &range), 0);
	after[0] = take_picture(range.file1_fd);
	after[1] = take_picture(range.file2_fd);
	for (i = 0; i < 2; i++) {
		assert_true(same_bytes(&expected[i], &after[i]));
		drop_picture(&expected[i]);
		drop_picture(&after[i]);
	}
	close(range.file1_fd);
	close(range.file2_fd);
}

static uint64_t number_of(const char *program, const char *text)
{
	char *end;
	uint64_t number = strtoull(text, &end, 0);

	if (*text && !*end)
		return number;
	fprintf(stderr, "%s: %s: not a number\n", program, text);
	exit(2);
}

/* The options; start() takes the rest. */
static void take_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "calls", required_argument, NULL, 'c' },
		{ "threads", required_argument, NULL, 't' },
		{ }
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 's')
			shared->seed = number_of(argv[0], optarg);
		else if (option == 'c')
			calls = number_of(argv[0], optarg);
		else if (option == 't')
			workers = number_of(argv[0], optarg);
		else
			exit(2);
	}
	if (workers < 1 || workers > MAX_WORKERS) {
		fprintf(stderr, "%s: --threads: 1 to %d\n", argv[0], MAX_WORKERS);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls),
		cmocka_unit_test(test_device_still_works),
	};
	static const struct table table = {
		.group		= "fuzz",
		.others		= tests,
		.other_count	= COUNT(tests),
	};

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED ||
	    getrandom(&shared->seed, sizeof(shared->seed), 0) < 0) {
		perror(argv[0]);
		return 1;
	}
	take_options(argc, argv);
	argv[optind - 1] = argv[0];
	start(argc - optind + 1, argv + optind - 1);
	printf("# --seed %llu --calls %llu --threads %u\n",
	       (unsigned long long)shared->seed, (unsigned long long)calls,
	       workers);
	return run_table(&table);
}
