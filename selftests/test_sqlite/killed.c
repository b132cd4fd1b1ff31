// SPDX-License-Identifier: GPL-2.0
/*
 * A process that is killed before any one of its system calls, from the opening of the databases
 * to their closing: SQLite's own VFS finds what was acknowledged, and whole databases; and where
 * they are committed by exchanges, nothing beside them.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pair.h"

/* Shared with the process that is killed. */
static unsigned int *acknowledged;

static void transact(const struct manner *manner, const char *other, const char *pragmas)
{
	sqlite3 *db;
	int i;

	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	db = open_by(manner, "x.db");
	execute(db, "ATTACH 'file:y.db?%s' AS y; " SPILL "PRAGMA y.cache_size=4; %s", other,
		pragmas);
	for (i = 0; i < 2; i++) {
		execute(db, "%s", transfer);
		++*acknowledged;
		execute(db, "BEGIN; UPDATE t SET c = 0; ROLLBACK");
	}
	close_database(db);
}

/* To the next stop; false: it has ended by itself. */
static bool go_on(pid_t pid, int signal, int *status)
{
	assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, signal), 0);
	assert_int_equal(waitpid(pid, status, 0), pid);
	if (WIFSTOPPED(*status))
		return true;
	assert_true(WIFEXITED(*status));
	assert_int_equal(WEXITSTATUS(*status), 0);
	return false;
}

/* Kills it before its call number @when, counted from 0.  False: it makes no more so many. */
static bool kill_before(pid_t pid, unsigned int when)
{
	unsigned int stops = 0;
	int status, signal = 0;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	assert_int_equal(ptrace(PTRACE_SETOPTIONS, pid, NULL,
				PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL), 0);
	while (go_on(pid, signal, &status)) {
		signal = WSTOPSIG(status) == (SIGTRAP | 0x80) ? 0 : WSTOPSIG(status);
		/* It stops before each call and after it. */
		if (signal || stops++ != 2 * when)
			continue;
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		return true;
	}
	return false;
}

static bool kill_at(const struct manner *manner, const char *other, const char *pragmas,
		    unsigned int when)
{
	const bool exchanges = manner->exchanges && other == manner->uri;
	const sqlite3_int64 before = renew_pair();
	bool killed;
	pid_t pid;

	*acknowledged = 0;
	pid = start_child();
	if (pid == 0) {
		transact(manner, other, pragmas);
		_exit(0);
	}
	killed = kill_before(pid, when);
	if (exchanges)
		assert_int_equal(count_files(""), 4);	/* with . and .. */
	/* 1 a row is a transaction. */
	assert_uint_in_range((before - assert_pair()) / 200, *acknowledged, *acknowledged + 1);
	return killed;
}

/* What SQLite's own VFS does not commit atomically in these modes. */
static bool is_unsafe(const char *pragmas)
{
	return strstr(pragmas, "OFF") || strstr(pragmas, "MEMORY");
}

static void before_each_call(const struct manner *manner)
{
	const char *others[] = { manner->uri, "vfs=unix" };
	unsigned int i, j, when, kills = 0;

	acknowledged = mmap(NULL, sizeof(*acknowledged), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(acknowledged != MAP_FAILED);
	make_both();
	for (i = 0; i < COUNT(others); i++)
		for (j = 0; j < MODES; j += mode_step()) {
			if (others[i] != manner->uri && is_unsafe(modes[j]))
				continue;
			/* Each run of a share begins with another call. */
			for (when = j; kill_at(manner, others[i], modes[j], when); kills++)
				when += test_share();
		}
	print_message("# killed %u times\n", kills);
	assert_true(kills > 2000 / test_share());
	munmap(acknowledged, sizeof(*acknowledged));
}

void add_killed(void)
{
	static const struct both tests[] = { { "before each call", before_each_call } };

	add_both("killed", tests, COUNT(tests));
}
