// SPDX-License-Identifier: GPL-2.0
/*
 * A worker: a process that becomes nobody, makes calls with a quiet pair of files that
 * nobody else touches, looking at it after each error, and then, with threads beside
 * that meddle, all other calls.  It is killed at any time, and the next one goes on.
 */
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include "fuzz.h"

#define QUIET_CALLS	400u	/* of a life */
#define LIFE_CALLS	5000u
#define QUIET_SIZE	(2 * BLOCK)

static struct slot *slot;
static struct generator generator;

struct quiet_file {
	ssize_t	size;
	uint8_t	bytes[QUIET_SIZE + 1];	/* one more, to see that there is none */
};

static struct quiet_file quiet_files[2];

static struct quiet_file read_quiet_file(int which)
{
	struct quiet_file file;

	file.size = pread(quiet_descriptor(which), file.bytes,
			  sizeof(file.bytes), 0);
	return file;
}

/* After a success: the files are what they are, but stay small. */
static void look_at_quiet_files(void)
{
	int which;

	for (which = 0; which < 2; which++) {
		struct stat st;
		int fd = quiet_descriptor(which);

		if (fstat(fd, &st) ||
		    (st.st_size > QUIET_SIZE && ftruncate(fd, QUIET_SIZE))) {
			perror("quiet file");
			_exit(CANNOT_LIVE);
		}
		quiet_files[which] = read_quiet_file(which);
	}
}

static void make_quiet_files(void)
{
	int which;

	for (which = 0; which < 2; which++) {
		int fd = quiet_descriptor(which);
		size_t size = below(&generator, QUIET_SIZE) + 1, i;
		uint8_t bytes[QUIET_SIZE];

		for (i = 0; i < size; i++)
			bytes[i] = content_byte(which + 1, i);
		if (ftruncate(fd, 0) ||
		    pwrite(fd, bytes, size, 0) != (ssize_t)size) {
			perror("quiet file");
			_exit(CANNOT_LIVE);
		}
	}
	look_at_quiet_files();
}

static void check_quiet_files(int error)
{
	int which;

	slot->checks++;
	for (which = 0; which < 2; which++) {
		const struct quiet_file *before = &quiet_files[which];
		struct quiet_file now = read_quiet_file(which);
		ssize_t i;

		if (now.size == before->size &&
		    !memcmp(now.bytes, before->bytes, now.size))
			continue;
		for (i = 0; i < now.size && i < before->size; i++)
			if (now.bytes[i] != before->bytes[i])
				break;
		printf("# quiet file %c is not what it was: first at byte %zd of %zd, was %zd; the call had answered %d (%s)\n",
		       'a' + which, i, now.size, before->size, error,
		       strerror(error));
		print_call(slot);
		slot->failures++;
		_exit(REPORTED);
	}
}

/* A call that succeeds may change the pair, if it is there to change files. */
static bool may_change(const struct call *call, int error)
{
	uint64_t flags = call->request == EXCHANGE ? call->range.flags :
			 call->request == VECTOR ? call->vector.flags :
						   call->commit.flags;

	return error == 0 && !(flags & EXCHRANGE_DRY_RUN) &&
	       (call->request == EXCHANGE || call->request == COMMIT ||
		call->request == VECTOR);
}

/* What the VFS does without a word from the device: each of these has to fail. */
static int read_write_or_map(void)
{
	static uint8_t bytes[64];
	void *mapped;

	switch (below(&generator, 5)) {
	case 0:
		return read(device, bytes, sizeof(bytes)) < 0 ? errno : 0;
	case 1:
		return write(device, bytes, sizeof(bytes)) < 0 ? errno : 0;
	case 2:
		return pread(device, bytes, sizeof(bytes), 8) < 0 ? errno : 0;
	case 3:
		return pwrite(device, bytes, sizeof(bytes), 8) < 0 ? errno : 0;
	}
	mapped = mmap(NULL, BLOCK, below(&generator, 8),
		      one_in(&generator, 2) ? MAP_SHARED : MAP_PRIVATE, device,
		      below(&generator, 4) * BLOCK);
	return mapped == MAP_FAILED ? errno : 0;
}

/* Some of these are no ioctl at all. */
static int generic_call(const struct call *call)
{
	struct pollfd pollfd = { device, next_random(&generator) };

	switch (below(&generator, 4)) {
	case 0:
		return poll(&pollfd, 1, 0) < 0 ? errno : 0;
	case 1:
		return lseek(device, any_number(&generator),
			     below(&generator, 6)) < 0 ? errno : 0;
	default:
		return ioctl(device, call->cmd, call->address) < 0 ? errno : 0;
	}
}

static int carry_out(const struct call *call)
{
	int ret;

	if (call->request == READ_WRITE_MAP)
		return read_write_or_map();
	if (call->request == GENERIC)
		return generic_call(call);
	ret = ioctl(device, call->cmd, call->address);
	if (ret >= 0 && call->request == WATCH)
		return use_watch(&generator, ret);
	if (ret >= 0 && call->request == STAGE)
		return use_staging(&generator, ret, slot->quiet);
	/* At once: others open the file for writing. */
	if (ret >= 0 && call->request == HOLD)
		return close(ret) ? errno : 0;
	if (ret <= 0)
		return ret ? errno : 0;
	printf("# an ioctl returned %d\n", ret);
	print_call(slot);
	slot->failures++;
	return 0;
}

static void judge(const struct call *call, int error)
{
	bool *reported;

	if (error >= ERRNOS) {
		printf("# an errno that user space has no name for: %d\n", error);
		print_call(slot);
		slot->failures++;
		error = ERRNOS - 1;
	}
	slot->counts[call->request][error]++;
	if (is_documented(call->request, error))
		return;
	slot->failures++;
	reported = &shared->reported[call->request][error];
	if (*reported)
		return;
	*reported = true;
	printf("# not documented for this request: %s\n",
	       error ? strerrorname_np(error) : "success");
	print_call(slot);
}

static int make_one_call(struct call *call)
{
	int error;

	slot->call = *call;
	error = carry_out(call);
	judge(call, error);
	if (slot->quiet) {
		if (may_change(call, error))
			look_at_quiet_files();
		else
			check_quiet_files(error);
	}
	slot->calls++;
	return error;
}

static void make_calls(uint64_t count)
{
	uint64_t end = slot->calls + count;
	struct call call;

	if (end > slot->limit)
		end = slot->limit;
	while (slot->calls < end) {
		make_call(&generator, &call, slot->quiet);
		if (make_one_call(&call) || call.request != START_COMMIT ||
		    call.memory != GOOD || slot->calls == end)
			continue;
		fetch_struct(&call);
		make_commit(&generator, &call);
		make_one_call(&call);
	}
}

/* Some lives have limits: on the size of files, or on memory. */
static void set_limits(void)
{
	const struct rlimit blocks = { 2 * BLOCK, 2 * BLOCK };
	const struct rlimit little = { 1, 1 };

	switch (below(&generator, 6)) {
	case 0:
		setrlimit(RLIMIT_FSIZE, &blocks);
		break;
	case 1:
		setrlimit(RLIMIT_AS, &little);
		break;
	case 2:
		/* A page more would have to be locked, and may not. */
		setrlimit(RLIMIT_MEMLOCK, &little);
		mlockall(MCL_FUTURE);
		break;
	}
}

static void nothing(int signal)
{
	(void)signal;
}

/* Alarms that interrupt a call, without SA_RESTART; and no death from a limit. */
static void set_signals(void)
{
	const struct sigaction alarm = { .sa_handler = nothing };
	unsigned int pause = 2000 + below(&generator, 50000);
	const struct itimerval timer = { { 0, pause }, { 0, pause } };

	signal(SIGXFSZ, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGALRM, &alarm, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

static void become_nobody(void)
{
	if (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY) ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL)) {
		perror("nobody");
		_exit(CANNOT_LIVE);
	}
}

static void open_quiet_folder(void)
{
	char name[32];

	snprintf(name, sizeof(name), "worker%u", slot->worker);
	mkdirat(folders[TEST_FOLDER], name, 0755);
	folders[QUIET_FOLDER] = openat(folders[TEST_FOLDER], name,
				       O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* One process, until its calls are made or it is killed. */
void live(struct slot *mine)
{
	slot = mine;
	slot->quiet = true;
	generator = make_generator(slot, 0);
	become_nobody();
	open_quiet_folder();
	open_descriptors();
	map_memory();
	make_quiet_files();
	set_signals();
	make_calls(QUIET_CALLS);

	slot->quiet = false;
	close_quiet_descriptors();
	if (!start_meddling(slot))
		_exit(CANNOT_LIVE);
	set_limits();
	make_calls(LIFE_CALLS - QUIET_CALLS);
	_exit(0);
}
