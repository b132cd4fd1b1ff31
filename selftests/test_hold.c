// SPDX-License-Identifier: GPL-2.0
/*
 * EXCHRANGE_IOC_HOLD and `exchrange hold`: what a hold keeps out and what not, for how long, who
 * may have one and how many, and how it is seen.
 */
#include <fcntl.h>
#include <linux/landlock.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "scripts.h"

/* Since 6.2. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE	(1ULL << 14)
#endif

#define PARAMETER	"/sys/module/exchrange/parameters/holds_max_user"

static const struct file_spec plain = { SHAPE_PLAIN, 4 * BLOCK };

/* A descriptor, or an errno below zero. */
static int try_hold(int fd)
{
	const struct exchrange_hold hold = { .fd = fd };
	int ret = ioctl(device, EXCHRANGE_IOC_HOLD, &hold);

	return ret < 0 ? -errno : ret;
}

static int hold_path(const char *path)
{
	int fd = open_path(path, O_RDONLY), held = try_hold(fd);

	if (held < 0)
		fail_msg("%s: no hold: %s", path, strerror(-held));
	close(fd);
	return held;
}

/* --- what it keeps out --------------------------------------------------------------------- */

/* 0 or an errno. */
static int try_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static int open_for_writing(const char *path)
{
	return try_open(path, O_WRONLY);
}

static int open_for_both(const char *path)
{
	return try_open(path, O_RDWR);
}

static int open_to_append(const char *path)
{
	return try_open(path, O_WRONLY | O_APPEND);
}

static int open_to_truncate(const char *path)
{
	return try_open(path, O_RDONLY | O_TRUNC);
}

static int truncate_it(const char *path)
{
	return truncate(path, 1) ? errno : 0;
}

static int open_by_proc(const char *path)
{
	int fd = open_path(path, O_RDONLY), error;
	char name[64];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	error = try_open(name, O_RDWR);
	close(fd);
	return error;
}

static int open_by_handle(const char *path)
{
	struct {
		struct file_handle	handle;
		uint8_t			bytes[MAX_HANDLE_SZ];
	} room = { .handle.handle_bytes = MAX_HANDLE_SZ };
	int mount = open_path(mount_point, O_RDONLY), id, fd, error;

	assert_int_equal(name_to_handle_at(AT_FDCWD, path, &room.handle, &id, 0), 0);
	fd = open_by_handle_at(mount, &room.handle, O_RDWR);
	error = fd < 0 ? errno : 0;
	close(fd);
	close(mount);
	return error;
}

/* By what a save does; the answer of the command is 1, and it says so. */
static int save_it(const char *path)
{
	struct exchrange_update *update = exchrange_update_begin(device, path, NULL);
	int error;

	if (!update)
		return errno;
	error = exchrange_update_commit(update, 0) ? errno : 0;
	exchrange_update_drop(update);
	return error;
}

static const struct attempt {
	const char	*name;
	int		(*make)(const char *path);
} attempts[] = {
	{ "opening for writing", open_for_writing },
	{ "opening for reading and writing", open_for_both },
	{ "opening to append", open_to_append },
	{ "opening to truncate", open_to_truncate },
	{ "truncate", truncate_it },
	{ "opening by /proc", open_by_proc },
	{ "opening by a handle", open_by_handle },
	{ "a save", save_it },
};

/* Root is kept out, too, and nothing has changed; afterwards it may. */
static void test_attempt(void **state)
{
	const struct attempt *attempt = *state;
	struct picture before;
	int file, held;

	/* overlayfs has handles only if it is asked for them. */
	if (is_overlay() && attempt->make == open_by_handle)
		skip();
	file = make_file("file", plain, 1);
	before = take_picture(file);
	close(file);
	held = hold_path(path_of("file"));
	assert_int_equal(attempt->make(path_of("file")), ETXTBSY);
	file = open_path(path_of("file"), O_RDONLY);
	assert_unchanged(&before, file);
	close(file);
	close(held);
	assert_int_equal(attempt->make(path_of("file")), 0);
	drop_picture(&before);
}

/* Names, owners and attributes are no contents. */
static void test_what_may_change(void **state)
{
	int file = make_file("file", plain, 1), held;
	struct picture before = take_picture(file);

	(void)state;
	close(file);
	held = hold_path(path_of("file"));
	file = open_path(path_of("file"), O_RDONLY);
	assert_int_equal(fchmod(file, 0640), 0);
	assert_int_equal(fchown(file, 1, 1), 0);
	assert_int_equal(fsetxattr(file, "user.x", "y", 1, 0), 0);
	/* Another test program may have left one. */
	unlink(path_of("link"));
	assert_int_equal(link(path_of("file"), path_of("link")), 0);
	assert_int_equal(rename(path_of("file"), path_of("renamed")), 0);
	assert_int_equal(run("echo other >%s && mv %s %s", path_of("other"), path_of("other"),
			     path_of("renamed")), 0);
	assert_int_equal(open_for_writing(path_of("renamed")), 0);
	assert_int_equal(open_for_writing(path_of("link")), ETXTBSY);
	assert_int_equal(unlink(path_of("link")), 0);
	{
		struct picture after = take_picture(file);

		assert_true(same_bytes(&before, &after));
		drop_picture(&after);
	}
	close(file);
	close(held);
	unlink(path_of("renamed"));
	drop_picture(&before);
}

/* --- who is there first ------------------------------------------------------------------- */

static void test_open_for_writing(void **state)
{
	int file = make_file("file", plain, 1), reading = open_path(path_of("file"), O_RDONLY);

	(void)state;
	assert_int_equal(try_hold(file), -ETXTBSY);
	assert_int_equal(try_hold(reading), -ETXTBSY);
	close(file);
	file = try_hold(reading);
	assert_true(file >= 0);
	close(file);
	close(reading);
}

/* A mapping is a writer, when its descriptor is closed too. */
static void test_mapped_for_writing(void **state)
{
	int file = make_file("file", plain, 1), reading = open_path(path_of("file"), O_RDONLY);
	void *mapping = mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, file, 0);

	(void)state;
	assert_true(mapping != MAP_FAILED);
	close(file);
	assert_int_equal(try_hold(reading), -ETXTBSY);
	munmap(mapping, BLOCK);
	file = try_hold(reading);
	assert_true(file >= 0);
	close(file);
	close(reading);
}

/* Returns when it runs; its number is in a file. */
static void start_program(void)
{
	assert_int_equal(run("%s 100 & echo $! >%s; until [ \"$(readlink /proc/$!/exe)\" = %s ]; do sleep 0.1; done",
			     path_of("program"), path_of("pid"), path_of("program")), 0);
}

/* As many as want, beside a program that runs it. */
static void test_several(void **state)
{
	int first, second;

	(void)state;
	assert_int_equal(run("cp /bin/sleep %s", path_of("program")), 0);
	first = hold_path(path_of("program"));
	start_program();
	second = hold_path(path_of("program"));
	close(first);
	assert_int_equal(open_for_writing(path_of("program")), ETXTBSY);
	close(second);
	first = hold_path(path_of("program"));
	assert_int_equal(run("read pid <%s && kill $pid; while readlink /proc/$pid/exe; do sleep 0.1; done", path_of("pid")), 0);
	assert_int_equal(open_for_writing(path_of("program")), ETXTBSY);
	close(first);
	assert_int_equal(open_for_writing(path_of("program")), 0);
}

/* --- what is executed, without a hold --------------------------------------------------------- */

/* The kernel holds it: no descriptor can be had that an exchange takes. */
static void test_a_program_that_runs(void **state)
{
	int file = make_file("file", plain, 1), program;

	(void)state;
	close(file);
	assert_int_equal(run("cp /bin/sleep %s", path_of("program")), 0);
	/* And a program that somebody may write to does not begin. */
	program = open_path(path_of("program"), O_RDWR);
	assert_int_equal(run("%s 0 2>/dev/null; test $? = 126", path_of("program")), 0);
	close(program);
	start_program();
	assert_int_equal(open_for_both(path_of("program")), ETXTBSY);
	assert_int_equal(run("cd %s && exchrange swap program file 2>said; test $? = 1 && grep -q 'program: is a program that is running' said"
			     " && exchrange swap file program 2>said; test $? = 1 && grep -q 'program: is a program that is running' said"
			     " && cmp -s program /bin/sleep; s=$?; kill $(cat pid); exit $s", mount_point), 0);
}

static int exchange_whole(int file1, int file2)
{
	const struct exchrange_range range = {
		.file1_fd = file1, .file2_fd = file2, .flags = EXCHRANGE_TO_EOF,
	};

	return device_exchange(&range);
}

/* A mapped library is no program to the kernel: what was not written to becomes the other's. */
static void test_a_mapped_library(void **state)
{
	int file1 = make_file("library", plain, 1), file2 = make_file("file", plain, 2);
	uint8_t *mapping;

	(void)state;
	mapping = mmap(NULL, plain.size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file1, 0);
	assert_true(mapping != MAP_FAILED);
	assert_int_equal(mprotect(mapping, BLOCK, PROT_READ | PROT_EXEC), 0);
	/* As a relocation. */
	mapping[BLOCK + 1] = 7;
	assert_int_equal(mapping[0], content_byte(1, 0));
	assert_int_equal(exchange_whole(file1, file2), 0);
	assert_int_equal(mapping[0], content_byte(2, 0));
	assert_int_equal(mapping[BLOCK], content_byte(1, BLOCK));
	assert_int_equal(mapping[BLOCK + 1], 7);
	assert_int_equal(mapping[2 * BLOCK], content_byte(2, 2 * BLOCK));
	munmap(mapping, plain.size);
	close(file1);
	close(file2);
}

/* bash reads on where it was: the second line of the other script. */
static void test_a_script_under_its_shell(void **state)
{
	(void)state;
	assert_int_equal(run("cd %s && printf 'exchrange swap script other\\necho old\\n' >script"
			     " && printf 'exchrange swap script other\\necho new\\n' >other"
			     " && test \"$(bash script)\" = new"
			     " && test \"$(exchrange hold script -- bash other 2>/dev/null)\" = old"
			     " && grep -q new script", mount_point), 0);
}

/* --- for how long ------------------------------------------------------------------------- */

static void test_copies_of_the_descriptor(void **state)
{
	int held, copy, status;
	pid_t pid;

	(void)state;
	close(make_file("file", plain, 1));
	held = hold_path(path_of("file"));
	assert_int_equal(fcntl(held, F_GETFD), FD_CLOEXEC);
	copy = dup(held);
	close(held);
	assert_int_equal(open_for_writing(path_of("file")), ETXTBSY);
	pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	close(copy);
	assert_int_equal(open_for_writing(path_of("file")), ETXTBSY);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(open_for_writing(path_of("file")), 0);
}

/* --- who may ------------------------------------------------------------------------------ */

struct asked {
	const char	*path;
	int		flags;
};

static int errno_of_hold(void *argument)
{
	const struct asked *asked = argument;
	int fd = open(asked->path, asked->flags | O_CLOEXEC), held;

	if (fd < 0)
		return 250;
	held = try_hold(fd);
	return held < 0 ? -held : 0;
}

static const struct right {
	const char	*name;
	const char	*before, *after;	/* in the mount point */
	bool		nobody;
	int		flags;
	int		error;
} rights[] = {
	{ "nobody, who may write", "chmod 666 file", "true", true, O_RDONLY, 0 },
	{ "nobody, who may only read", "chown 1 file; chmod 644 file", "true", true, O_RDONLY, EACCES },
	{ "root, where nobody may write", "chmod 444 file", "true", false, O_RDONLY, 0 },
	{ "for writing only", "true", "true", false, O_WRONLY, EBADF },
	{ "O_PATH", "true", "true", false, O_PATH, EBADF },
	{ "immutable", "chattr +i file", "chattr -i file", false, O_RDONLY, EPERM },
	{ "append-only", "chattr +a file", "chattr -a file", false, O_RDONLY, EPERM },
	{ "on a mount for reading", "mount --bind file file && mount -o remount,bind,ro file", "umount file",
	  false, O_RDONLY, EROFS },
	{ "a directory", "rm file && mkdir file", "rmdir file", false, O_RDONLY, EISDIR },
	{ "a FIFO", "rm file && mkfifo file", "rm file", false, O_RDONLY | O_NONBLOCK, EINVAL },
	{ "a file system without a back end", "rm file && ln -s /dev/shm/file file && echo x >/dev/shm/file",
	  "rm file /dev/shm/file", false, O_RDONLY, EOPNOTSUPP },
};

static void test_right(void **state)
{
	const struct right *right = *state;
	struct asked asked = { path_of("file"), right->flags };
	int error;

	close(make_file("file", plain, 1));
	assert_int_equal(run("cd %s && { %s; }", mount_point, right->before), 0);
	error = (right->nobody ? as_nobody : as_root)(errno_of_hold, &asked);
	assert_int_equal(run("cd %s && { %s; }", mount_point, right->after), 0);
	assert_int_equal(error, right->error);
}

/* Landlock without the right to truncate: a sandbox that may only read. */
static int hold_in_sandbox(void *argument)
{
	const struct landlock_ruleset_attr attributes = {
		.handled_access_fs = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE,
	};
	int ruleset = syscall(SYS_landlock_create_ruleset, &attributes,
			      sizeof(attributes.handled_access_fs), 0);

	/* No such right before 6.2. */
	if (ruleset < 0)
		return 251;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    syscall(SYS_landlock_restrict_self, ruleset, 0))
		return 252;
	return errno_of_hold(argument);
}

static void test_landlock(void **state)
{
	struct asked asked = { path_of("file"), O_RDONLY };
	int error;

	(void)state;
	close(make_file("file", plain, 1));
	error = as_root(hold_in_sandbox, &asked);
	if (error == 251)
		skip();
	assert_int_equal(error, EACCES);
}

/* --- limits --------------------------------------------------------------------------------- */

static struct exchrange_query query_of(int fd)
{
	struct exchrange_query query = { .fd = fd };

	assert_int_equal(exchrange_query(device, &query), 0);
	return query;
}

/* How many more the caller gets at a time. */
static int count_more(void *argument)
{
	int fd = open(argument, O_RDONLY | O_CLOEXEC), held, count = 0;

	while ((held = try_hold(fd)) >= 0)
		count++;
	return held == -EUSERS ? count : 200;
}

static void test_limit_of_each_user(void **state)
{
	int mine;

	(void)state;
	close(make_file("file", plain, 1));
	assert_int_equal(run("chmod 666 %s && echo 5 >" PARAMETER, path_of("file")), 0);
	/* Those of a process that has ended come back. */
	assert_int_equal(as_nobody(count_more, (void *)path_of("file")), 5);
	assert_int_equal(as_nobody(count_more, (void *)path_of("file")), 5);
	mine = hold_path(path_of("file"));
	assert_int_equal(as_nobody(count_more, (void *)path_of("file")), 5);
	assert_int_equal(as_root(count_more, (void *)path_of("file")), 4);
	close(mine);
	assert_int_equal(open_for_writing(path_of("file")), 0);
}

/* QUERY counts no further, so that nobody is kept waiting for its lock. */
static void test_more_than_are_counted(void **state)
{
	const struct rlimit many = { 11000, 11000 };
	int fd, held[10002];
	size_t i;

	(void)state;
	close(make_file("file", plain, 1));
	fd = open_path(path_of("file"), O_RDONLY);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &many), 0);
	assert_int_equal(run("echo 20000 >" PARAMETER), 0);
	for (i = 0; i < COUNT(held); i++) {
		held[i] = try_hold(fd);
		assert_true(held[i] >= 0);
	}
	assert_int_equal(query_of(fd).holds, 10000);
	assert_int_equal(query_of(fd).holder, getpid());
	for (i = 0; i < COUNT(held); i++)
		close(held[i]);
	assert_int_equal(query_of(fd).holds, 0);
	assert_int_equal(open_for_writing(path_of("file")), 0);
	close(fd);
}

static int restore_limit(void **state)
{
	(void)state;
	return run("echo 1024 >" PARAMETER);
}

static int hold_without_descriptors(void *argument)
{
	int fd = open(argument, O_RDONLY | O_CLOEXEC);
	const struct rlimit none = { 0, 0 };

	if (fd < 0 || setrlimit(RLIMIT_NOFILE, &none))
		return 1;
	return try_hold(fd) == -EMFILE ? 0 : 2;
}

/* After an error there is no hold. */
static void test_no_descriptor_left(void **state)
{
	(void)state;
	close(make_file("file", plain, 1));
	assert_int_equal(as_root(hold_without_descriptors, (void *)path_of("file")), 0);
	assert_int_equal(open_for_writing(path_of("file")), 0);
}

static void test_wrong_structs(void **state)
{
	int fd = make_file("file", plain, 1), i;
	struct exchrange_hold hold;

	(void)state;
	for (i = 0; i < 3; i++) {
		hold = (struct exchrange_hold) { .fd = fd };
		hold.reserved[i] = 1;
		assert_int_equal(ioctl(device, EXCHRANGE_IOC_HOLD, &hold), -1);
		assert_int_equal(errno, EINVAL);
	}
	hold = (struct exchrange_hold) { .fd = fd, .flags = 1 };
	assert_int_equal(ioctl(device, EXCHRANGE_IOC_HOLD, &hold), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(try_hold(-1), -EBADF);
	assert_int_equal(exchrange_hold(-1, fd), -1);
	assert_int_equal(errno, EOPNOTSUPP);
	close(fd);
}

/* --- how it is seen ------------------------------------------------------------------------- */

static void test_query(void **state)
{
	pid_t *heir = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd, held, second;
	struct stat st;
	pid_t pid;

	(void)state;
	close(make_file("file", plain, 1));
	fd = open_path(path_of("file"), O_RDONLY);
	assert_true(query_of(fd).features & EXCHRANGE_FEATURE_HOLD);
	assert_int_equal(query_of(fd).holds, 0);
	assert_int_equal(query_of(fd).holder, 0);
	held = hold_path(path_of("file"));
	second = hold_path(path_of("file"));
	assert_int_equal(query_of(fd).holds, 2);
	assert_int_equal(query_of(fd).holder, getpid());
	close(held);
	assert_int_equal(query_of(fd).holds, 1);
	assert_int_equal(run("exchrange query %s | grep -qx '    held       by 1 descriptor, of process %d'",
			     path_of("file"), getpid()), 0);
	assert_int_equal(run("exchrange query --json %s | grep -q '\"holder\": *%d'", path_of("file"), getpid()), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(run("grep -q '^exchrange-hold ino:%lx sdev:' /proc/%d/fdinfo/%d",
			     (unsigned long)st.st_ino, getpid(), second), 0);
	close(second);
	/* Who called is gone, and the descriptor is not. */
	pid = fork();
	if (pid == 0) {
		held = hold_path(path_of("file"));
		pid = fork();
		if (pid == 0)
			pause();
		__atomic_store_n(heir, pid, __ATOMIC_SEQ_CST);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(query_of(fd).holds, 1);
	assert_int_equal(query_of(fd).holder, 0);
	pid = __atomic_load_n(heir, __ATOMIC_SEQ_CST);
	assert_true(pid > 0);
	kill(pid, SIGKILL);
	/* Nobody of ours, so it cannot be waited for. */
	assert_int_equal(run("while exchrange query %s | grep -q held; do sleep 0.1; done", path_of("file")), 0);
	assert_int_equal(open_for_writing(path_of("file")), 0);
	munmap(heir, BLOCK);
	close(fd);
}

/* --- the command ------------------------------------------------------------------------------ */

#define HOLD	"exchrange hold script -- "

static const struct script {
	const char	*name;
	const char	*script;
} scripts[] = {
	{ "it runs while nobody can write",
	  HOLD "sh -c '! (echo echo new >>script) 2>refused && grep -q busy refused && cat script >seen' && cmp seen script && echo x >>script" },
	{ "its status", HOLD "sh -c 'exit 7'; test $? = 7" },
	{ "its signal", HOLD "sh -c 'kill -TERM $$'; test $? = 143" },
	{ "a signal for it", "exchrange hold script -- sh -c 'trap \"exit 9\" TERM; : >begun; while :; do sleep 0.1; done' & p=$!;"
	  UNTIL("test -e begun") "kill $p; wait $p; test $? = 9" },
	{ "one that is not there", HOLD "./none; test $? = 127" },
	{ "one that cannot be run", "touch none; " HOLD "./none; test $? = 126" },
	{ "what it leaves running", HOLD "sh -c 'sleep 100 & echo $! >pid'; echo x >>script; s=$?; kill $(cat pid); exit $s" },
	{ "all files or none", "exec 3>>f; exchrange hold script f -- touch run; test $? = 1 && test ! -e run && echo x >>script" },
	{ "two files", "exchrange hold script f -- sh -c '! (: >>f) 2>/dev/null && ! (: >>script) 2>/dev/null'" },
	/* A shell reads its script while it runs. */
	{ "a script that is edited meanwhile", "printf 'echo echo more >>script\\n' >script; test \"$(sh script 2>/dev/null)\" = more"
	  " && printf 'echo echo more >>script\\n' >script; test -z \"$(exchrange hold script -- sh script 2>/dev/null)\"" },
	{ "--snapshot: it may be edited", "printf 'echo echo more >>script\\n' >script; test -z \"$(exchrange hold --snapshot script -- sh script)\""
	  " && grep -q 'echo more' script" },
	{ "--snapshot: one that is executed", "printf '#!/bin/sh\\necho $0; echo x >>script\\n' >script; chmod 755 script;"
	  " exchrange hold --snapshot ./script -- ./script | grep -q '^/proc/self/fd/[0-9]*$'" },
	{ "--snapshot: a program", "cp /bin/echo job && test \"$(exchrange hold --snapshot ./job -- ./job hello)\" = hello" },
	{ "--snapshot: two files", "echo b >b; test \"$(exchrange hold --snapshot f b f -- cat f b | md5sum)\" = \"$(cat f b | md5sum)\"" },
	{ "--snapshot: while somebody writes", "exec 3>>f; exchrange hold --snapshot f -- cat f | cmp - f" },
};

static int make_folder(void **state)
{
	(void)state;
	return enter_folder("hold") || run("cd %s/hold && echo true >script", mount_point);
}

static void test_script(void **state)
{
	const struct script *script = *state;

	assert_int_equal(make_folder(NULL), 0);
	check(script->script);
}

static void test_called_wrong(void **state)
{
	(void)state;
	assert_complains("exchrange hold script true", 2, "takes '--' and a command", "usage:");
	assert_complains("exchrange hold script --", 2, "takes '--' and a command", "usage:");
	assert_complains("exchrange hold -- true", 2, "at least one file", "usage:");
	assert_complains("exchrange hold --none script -- true", 2, "unknown option '--none'", "usage:");
	assert_complains("exchrange hold --snapshot f script -- sh script", 2, "f: is not among the words", "usage:");
	assert_complains("exchrange hold none -- true", 1, "none: no such file", "");
	assert_complains("exec 3>>f; exchrange hold f -- true", 1, "f: somebody has it open for writing", "");
	assert_complains("chmod 644 f; " AS_NOBODY "exchrange hold f -- true", 1, "f: only who may write to a file may hold it", "");
	assert_complains("exchrange hold /dev/shm -- true", 1, "/dev/shm: is a directory", "");
	assert_complains("exchrange hold f -- exchrange write f </dev/null", 1, "f: is held", "process");
}

/* ------------------------------------------------------------------------------------------- */

static struct any_row rows[COUNT(attempts) + COUNT(rights) + COUNT(scripts)];

int main(int argc, char **argv)
{
	static const struct CMUnitTest others[] = {
		cmocka_unit_test(test_what_may_change),
		cmocka_unit_test(test_open_for_writing),
		cmocka_unit_test(test_mapped_for_writing),
		cmocka_unit_test(test_several),
		cmocka_unit_test(test_a_program_that_runs),
		cmocka_unit_test(test_a_mapped_library),
		cmocka_unit_test(test_a_script_under_its_shell),
		cmocka_unit_test(test_copies_of_the_descriptor),
		cmocka_unit_test(test_landlock),
		cmocka_unit_test_teardown(test_limit_of_each_user, restore_limit),
		cmocka_unit_test_teardown(test_more_than_are_counted, restore_limit),
		cmocka_unit_test(test_no_descriptor_left),
		cmocka_unit_test(test_wrong_structs),
		cmocka_unit_test(test_query),
		cmocka_unit_test_setup(test_called_wrong, make_folder),
	};
	static const struct table table = {
		.group		= "holds",
		.rows		= rows,
		.row_size	= sizeof(rows[0]),
		.row_count	= COUNT(rows),
		.test		= test_any_row,
		.others		= others,
		.other_count	= COUNT(others),
	};
	struct any_row *end = rows;

	end = ADD_ROWS(end, attempts, test_attempt);
	end = ADD_ROWS(end, rights, test_right);
	ADD_ROWS(end, scripts, test_script);
	start(argc, argv);
	umask(022);
	return run_table(&table);
}
