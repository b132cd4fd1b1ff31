// SPDX-License-Identifier: GPL-2.0
/*
 * What a save holds of the file meanwhile, and what it does to those who hold it: programs
 * that run, leases, locks, watchers.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scripts.h"

static int make_folder(void **state)
{
	(void)state;
	return enter_folder("held") ||
	       run("cd %s/held && printf '#!/bin/sh\\necho old\\n' >job && chmod 755 job", mount_point);
}

static const char *file(void)
{
	return path_of("held/f");
}

/* --- programs -------------------------------------------------------------------------- */

static void test_a_script_runs_while_it_is_saved(void **state)
{
	(void)state;
	check("EDITOR='./job >during 2>&1; printf \"#!/bin/sh\\necho new\\n\" >$1; #' exchrange edit job; cat during;"
	      " grep -qx old during && test \"$(./job)\" = new"
	      " && { printf '#!/bin/sh\\n'; " BEGUN "./job >during 2>&1; printf 'echo newer\\n'; } | exchrange write job;"
	      " cat during; grep -qx new during && test \"$(./job)\" = newer");
}

/* From begin to commit, and after it; by a path. */
static void test_a_program_runs_beside_an_update(void **state)
{
	int echo = open_path("/bin/echo", O_RDONLY);
	struct exchrange_update *update;

	(void)state;
	check("cp /bin/true job");
	update = exchrange_update_begin(device, path_of("held/job"), NULL);
	assert_non_null(update);
	check("./job");
	assert_int_equal(exchrange_update_clone(update, echo), 0);
	check("./job");
	assert_int_equal(exchrange_update_commit(update, 0), 0);
	check("test \"$(./job hello)\" = hello");
	exchrange_update_drop(update);
	close(echo);
}

/* It is told by the commit. */
static void test_a_program_that_runs(void **state)
{
	(void)state;
	assert_complains("cp /bin/sleep job && { ./job 100 & p=$!; " UNTIL("test $(readlink /proc/$p/exe) = $PWD/job")
			 "echo x | exchrange write job; s=$?;"
			 " kill $p; cmp /bin/sleep job && exit $s; }", 1, "job: is a program that is running", "");
}

/* --- leases ---------------------------------------------------------------------------- */

/*
 * A child that has a lease of f and gives it up some time after it is asked to; seconds below
 * zero are never.
 */
static pid_t hold_lease(int kind_of_lease, int seconds)
{
	int tell[2], fd, signal_number;
	sigset_t set;
	char byte;
	pid_t pid;

	assert_int_equal(pipe2(tell, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		sigemptyset(&set);
		sigaddset(&set, SIGIO);
		sigprocmask(SIG_BLOCK, &set, NULL);
		fd = open(file(), kind_of_lease == F_WRLCK ? O_RDWR : O_RDONLY);
		if (fd < 0 || fcntl(fd, F_SETLEASE, kind_of_lease) ||
		    write(tell[1], "", 1) != 1)
			_exit(1);
		sigwait(&set, &signal_number);
		if (seconds < 0)
			pause();
		sleep(seconds);
		fcntl(fd, F_SETLEASE, F_UNLCK);
		_exit(0);
	}
	close(tell[1]);
	assert_int_equal(read(tell[0], &byte, 1), 1);
	close(tell[0]);
	return pid;
}

static void end_holder(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static const struct lease {
	const char	*name;
	int		kind;
	const char	*script;
} leases[] = {
	{ "write waits for a lease", F_RDLCK, "echo new | exchrange write f && echo new | cmp - f" },
	{ "write waits for a lease for writing", F_WRLCK, "echo new | exchrange write f && echo new | cmp - f" },
	{ "edit waits for a lease", F_RDLCK, "EDITOR='echo new >' exchrange edit f && echo new | cmp - f" },
	{ "swap waits for a lease", F_RDLCK, "exchrange swap job f && grep -q old f" },
	{ "start-commit waits for a lease", F_WRLCK, "exchrange start-commit f" },
	{ "query waits for a lease", F_WRLCK, "exchrange query f" },
	{ "--from waits for a lease", F_WRLCK, "exchrange write --from f job && cmp f job" },
};

static void test_lease(void **state)
{
	const struct lease *lease = *state;
	pid_t pid;

	assert_int_equal(make_folder(NULL), 0);
	pid = hold_lease(lease->kind, 1);
	check(lease->script);
	end_holder(pid);
}

/* The kernel takes it away in the end. */
static void test_a_lease_that_nobody_gives_up(void **state)
{
	pid_t pid;

	(void)state;
	assert_int_equal(run("echo 2 >/proc/sys/fs/lease-break-time"), 0);
	pid = hold_lease(F_WRLCK, -1);
	check("timeout 60 sh -c 'echo new | exchrange write f' && echo new | cmp - f");
	end_holder(pid);
	assert_int_equal(run("echo 45 >/proc/sys/fs/lease-break-time"), 0);
}

/* An update that goes on does not keep others from having one. */
static void test_a_lease_beside_an_update(void **state)
{
	struct exchrange_update *update = exchrange_update_begin(device, file(), NULL);
	pid_t pid;

	(void)state;
	assert_non_null(update);
	pid = hold_lease(F_WRLCK, 0);
	assert_int_equal(write(exchrange_update_fd(update), "new\n", 4), 4);
	assert_int_equal(exchrange_update_commit(update, 0), 0);
	end_holder(pid);
	exchrange_update_drop(update);
}

/* --- locks ----------------------------------------------------------------------------- */

static int ask_for_lock(void *argument)
{
	struct flock lock = { .l_type = F_WRLCK };
	int fd = open(file(), O_RDWR);

	(void)argument;
	if (fd < 0 || fcntl(fd, F_GETLK, &lock))
		return 2;
	return lock.l_type != F_UNLCK;
}

static bool is_locked(void)
{
	int status = as_root(ask_for_lock, NULL);

	assert_uint_in_range(status, 0, 1);
	return status;
}

static void lock(int fd, int command)
{
	struct flock whole = { .l_type = F_WRLCK };

	assert_int_equal(fcntl(fd, command, &whole), 0);
	assert_true(is_locked());
}

static void save_and_drop(struct exchrange_update *update)
{
	if (!update)
		fail_msg("begin: %s", strerror(errno));
	assert_int_equal(write(exchrange_update_fd(update), "new\n", 4), 4);
	assert_int_equal(exchrange_update_commit(update, 0), 0);
	exchrange_update_drop(update);
	check("echo new | cmp - f");
}

/* The way for a program that has them. */
static void test_locks_stay_with_keep_locks(void **state)
{
	struct exchrange_update_options keep = {
		EXCHRANGE_UPDATE_KEEP_LOCKS | EXCHRANGE_UPDATE_CLONE | EXCHRANGE_UPDATE_UNCHANGED,
	};
	int fd = open_path(file(), O_RDWR);
	struct exchrange_update *update;

	(void)state;
	lock(fd, F_SETLK);
	update = exchrange_update_begin_fd(device, fd, &keep);
	assert_non_null(update);
	assert_int_equal(ftruncate(exchrange_update_fd(update), 0), 0);
	assert_true(is_locked());
	save_and_drop(update);
	assert_true(is_locked());
	/* And the descriptor is the caller's still. */
	assert_int_equal(pwrite(fd, "N", 1, 0), 1);
	/* One that fails keeps them too. */
	keep.staging = "/dev/shm";
	assert_null(exchrange_update_begin_fd(device, fd, &keep));
	assert_int_equal(errno, EXDEV);
	assert_true(is_locked());
	/* A path has no such way. */
	assert_null(exchrange_update_begin(device, file(), &keep));
	assert_int_equal(errno, EINVAL);
	assert_true(is_locked());
	close(fd);
}

/* Those of an open file, and of flock(2), whatever the way. */
static void test_other_locks_stay(void **state)
{
	int fd = open_path(file(), O_RDWR);

	(void)state;
	lock(fd, F_OFD_SETLK);
	save_and_drop(exchrange_update_begin(device, file(), NULL));
	save_and_drop(exchrange_update_begin_fd(device, fd, NULL));
	assert_true(is_locked());
	close(fd);
}

/* --- watchers ---------------------------------------------------------------------------- */

#define WATCHED								\
	"watched() { inotifywait -m -e modify,close_write,attrib --format %e f >events 2>ready & w=$!;"	\
	UNTIL("grep -q established ready") "eval \"$1\";"	\
	" sleep 1; kill $w; wait $w; cat events >&2; tr '\\n' ' ' <events >seen; }; "

static void test_what_a_watcher_is_told(void **state)
{
	(void)state;
	check(WATCHED "watched 'echo new | exchrange write f' 2>/dev/null; echo -n 'MODIFY CLOSE_WRITE,CLOSE ' | cmp - seen"
	      " && watched 'EDITOR=\"echo edited >\" exchrange edit f' 2>/dev/null; echo -n 'MODIFY CLOSE_WRITE,CLOSE ' | cmp - seen");
}

/* Who reloads at each close after writing has nothing to do. */
static void test_nothing_where_nothing_is_saved(void **state)
{
	(void)state;
	check(WATCHED "token=$(exchrange start-commit f); touch f;"
	      " watched 'EDITOR=true exchrange edit f; EDITOR=false exchrange edit f; echo x | exchrange write --if-unchanged-since $token f;"
	      " exchrange write f <.; exchrange start-commit f; exchrange query f' >/dev/null 2>&1; cat seen; test ! -s seen");
}

#define TEST(name)	cmocka_unit_test_setup(name, make_folder)

int main(int argc, char **argv)
{
	static const struct CMUnitTest others[] = {
		TEST(test_a_script_runs_while_it_is_saved),
		TEST(test_a_program_runs_beside_an_update),
		TEST(test_a_program_that_runs),
		TEST(test_a_lease_that_nobody_gives_up),
		TEST(test_a_lease_beside_an_update),
		TEST(test_locks_stay_with_keep_locks),
		TEST(test_other_locks_stay),
		TEST(test_what_a_watcher_is_told),
		TEST(test_nothing_where_nothing_is_saved),
	};
	static const struct table table = {
		.group		= "what is held",
		.rows		= leases,
		.row_size	= sizeof(leases[0]),
		.row_count	= COUNT(leases),
		.test		= test_lease,
		.others		= others,
		.other_count	= COUNT(others),
	};

	start(argc, argv);
	return run_table(&table);
}
