// SPDX-License-Identifier: GPL-2.0
/*
 * What fails, and who is killed: the database has all of a transaction or nothing of it, and the
 * connection goes on with what the database has.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pair.h"

/* --- SQLite's allocator --------------------------------------------------------------------- */

static sqlite3_mem_methods real_memory;
static int allocations_left = -1;	/* until one fails; below zero: none will */

static bool fails_now(void)
{
	return allocations_left >= 0 && allocations_left-- == 0;
}

static void *failing_malloc(int bytes)
{
	return fails_now() ? NULL : real_memory.xMalloc(bytes);
}

static void *failing_realloc(void *memory, int bytes)
{
	return fails_now() ? NULL : real_memory.xRealloc(memory, bytes);
}

/* In a child whose SQLite has been told nothing else. */
static void take_failing_allocator(void)
{
	sqlite3_mem_methods methods;

	sqlite3_shutdown();
	sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_memory);
	methods = real_memory;
	methods.xMalloc = failing_malloc;
	methods.xRealloc = failing_realloc;
	sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
	load_vfs(NULL);
}

static void with_failing_memory(const struct manner *manner, const char *pragmas)
{
	unsigned int n;

	take_failing_allocator();
	for (n = 0; ; n += test_share()) {
		sqlite3 *db;
		int code;

		renew_pair();
		db = attach(manner, pragmas);
		allocations_left = n;
		code = try(db, "%s", transfer);
		if (allocations_left >= 0) {
			allocations_left = -1;
			assert_int_equal(code, SQLITE_OK);
			close_database(db);
			break;
		}
		assert_goes_on(db);
	}
	assert_true(n > 50);
}

/* The databases are opened, changed, the change ends by @end, and they are closed. */
static int live_once(const struct manner *manner, const char *pragmas, const char *end)
{
	char uri[100];
	sqlite3 *db;
	int code;

	snprintf(uri, sizeof(uri), "file:x.db?%s", manner->uri);
	code = sqlite3_open_v2(uri, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI, NULL);
	if (code == SQLITE_OK)
		code = try(db, "ATTACH 'file:y.db?%s' AS y; " SPILL "PRAGMA y.cache_size=4; %s",
			   manner->uri, pragmas);
	if (code == SQLITE_OK)
		code = try(db, "BEGIN; UPDATE t SET c = c - 1, b = hex(randomblob(200)); UPDATE u SET c = c + 1, b = hex(randomblob(250)); %s",
			   end);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	return code;
}

/* Says what it was, and has changed nothing; or does without the memory.  False: none failed. */
static bool assert_lives_once(const struct manner *manner, const char *pragmas, const char *end,
			      unsigned int n)
{
	const sqlite3_int64 before = renew_pair();
	sqlite3_int64 want = before;
	bool failed;
	int code;

	allocations_left = n;
	code = live_once(manner, pragmas, end);
	failed = allocations_left < 0;
	allocations_left = -1;
	if (code == SQLITE_OK && strcmp(end, "COMMIT") == 0)
		want -= 200;
	if (code != SQLITE_OK && code != SQLITE_NOMEM)
		fail_msg("allocation %u of \"%s\", %s: SQLite's code is %d", n, pragmas, end, code);
	assert_int_equal(assert_pair(), want);
	return failed;
}

static void with_failing_life(const struct manner *manner, const char *pragmas)
{
	static const char *const ends[] = { "COMMIT", "ROLLBACK" };
	unsigned int i, n;

	take_failing_allocator();
	for (i = 0; i < COUNT(ends); i++) {
		/* SQLite says that it cannot, whatever the memory is. */
		if (strstr(pragmas, "journal_mode=OFF") && i > 0)
			continue;
		for (n = i; assert_lives_once(manner, pragmas, ends[i], n); n += test_share())
			continue;
		print_message("# %s, %s: %u allocations\n", pragmas, ends[i], n);
		assert_true(n > 200);
	}
}

static void no_memory(const struct manner *manner)
{
	unsigned int i;

	for (i = 0; i < MODES; i += mode_step()) {
		enter_empty_folder();
		make_both();
		run_in_child(with_failing_memory, manner, modes[i]);
		run_in_child(with_failing_life, manner, modes[i]);
	}
}

/* --- system calls of SQLite's own VFS -------------------------------------------------------- */

static int calls_left = -1;
static int call_error;
static sqlite3_vfs *unix_vfs;

static bool call_fails(void)
{
	if (calls_left < 0 || calls_left-- > 0)
		return false;
	errno = call_error;
	return true;
}

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_unlink)(const char *);
static int (*real_open)(const char *, int, int);

static ssize_t failing_pwrite(int fd, const void *buffer, size_t length, off_t offset)
{
	return call_fails() ? -1 : real_pwrite(fd, buffer, length, offset);
}

static int failing_ftruncate(int fd, off_t size)
{
	return call_fails() ? -1 : real_ftruncate(fd, size);
}

static int failing_unlink(const char *name)
{
	return call_fails() ? -1 : real_unlink(name);
}

static int failing_open(const char *name, int flags, int mode)
{
	return call_fails() ? -1 : real_open(name, flags, mode);
}

/* Returns the name that it has. */
static const char *replace(const char *name, sqlite3_syscall_ptr by, sqlite3_syscall_ptr *real)
{
	*real = unix_vfs->xGetSystemCall(unix_vfs, name);
	/* Which of the two it takes depends on how SQLite was built. */
	if (!*real && strcmp(name, "pwrite64") == 0) {
		name = "pwrite";
		*real = unix_vfs->xGetSystemCall(unix_vfs, name);
	}
	assert_non_null(*real);
	assert_int_equal(unix_vfs->xSetSystemCall(unix_vfs, name, by), SQLITE_OK);
	return name;
}

/*
 * The first call fails, the second... until a transaction makes no more.  With @again the
 * others after it, too.
 */
static void with_failing_calls(const char *main_uri, const struct manner *manner,
			       const char *pragmas, bool again)
{
	unsigned int n;

	for (n = 0; ; n += 1 + test_share() / 10) {
		const sqlite3_int64 before = renew_pair();
		sqlite3 *db;
		int code;

		db = attach_to(main_uri, manner, pragmas);
		assert_int_equal(number_of(db, "SELECT count(*) FROM t, u WHERE t.a = u.a"), 200);
		calls_left = n;
		code = try(db, "%s", transfer);
		if (calls_left >= 0) {
			calls_left = -1;
			assert_int_equal(code, SQLITE_OK);
			close_database(db);
			return;
		}
		/* Every call from there on, which is where a rollback fails too. */
		if (again) {
			calls_left = 0;
			(void)try(db, "SELECT * FROM t, u WHERE t.a = u.a");
		}
		calls_left = -1;
		if (code == SQLITE_OK)
			assert_int_equal(number_of(db, "SELECT sum(c) FROM t"), before - 200);
		assert_goes_on(db);
	}
}

static void failing_calls(const struct manner *manner)
{
	static const struct {
		const char		*name;
		sqlite3_syscall_ptr	by, *real;
		int			error;
	} calls[] = {
		{ "pwrite64", (void *)failing_pwrite, (void *)&real_pwrite, EIO },
		{ "pwrite64", (void *)failing_pwrite, (void *)&real_pwrite, ENOSPC },
		{ "ftruncate", (void *)failing_ftruncate, (void *)&real_ftruncate, EIO },
		{ "unlink", (void *)failing_unlink, (void *)&real_unlink, EIO },
		{ "open", (void *)failing_open, (void *)&real_open, EMFILE },
	};
	unsigned int i, j;
	const char *name;

	unix_vfs = sqlite3_vfs_find("unix");
	for (i = 0; i < MODES; i += mode_step())
		for (j = 0; j < COUNT(calls); j++) {
			enter_empty_folder();
			make_both();
			call_error = calls[j].error;
			name = replace(calls[j].name, calls[j].by, calls[j].real);
			with_failing_calls(manner->uri, manner, modes[i], false);
			with_failing_calls(manner->uri, manner, modes[i], true);
			/* SQLite looks at no error after the deletion of its super-journal. */
			if (strstr(modes[i], "PRAGMA") == NULL)
				with_failing_calls("vfs=unix", manner, modes[i], false);
			unix_vfs->xSetSystemCall(unix_vfs, name, *calls[j].real);
		}
}

/* --- no space ---------------------------------------------------------------------------------- */

/* A file may have no more bytes: what write(2) says then is as good as a full disk. */
static void beyond_a_limit(const struct manner *manner, const char *pragmas)
{
	struct rlimit limit = { 300000, RLIM_INFINITY };
	sqlite3 *db;

	signal(SIGXFSZ, SIG_IGN);
	db = attach(manner, pragmas);
	execute(db, "SELECT * FROM t, u");
	setrlimit(RLIMIT_FSIZE, &limit);
	assert_int_equal(try(db, "BEGIN; UPDATE u SET b = hex(zeroblob(100)); INSERT INTO t(b) SELECT zeroblob(4000) FROM t; COMMIT") & 0xff,
			 SQLITE_FULL);
	if (!sqlite3_get_autocommit(db))
		execute(db, "ROLLBACK");
	assert_int_equal(number_of(db, "SELECT count(*) FROM t"), 200);
	execute(db, "UPDATE u SET b = hex(zeroblob(150))");
	assert_goes_on(db);
}

static void no_space(const struct manner *manner)
{
	unsigned int i;

	for (i = 0; i < MODES; i += mode_step()) {
		enter_empty_folder();
		make_both();
		run_in_child(beyond_a_limit, manner, modes[i]);
	}
}

static void mount_small(void)
{
	assert_int_equal(run("umount -q " SCRATCH "; mkdir -p " SCRATCH " && %s $SCRATCH_DEV1 && mount $SCRATCH_DEV1 " SCRATCH,
			     on_btrfs() ? "mkfs.btrfs -q -f -b 300M" :
			     "mkfs.xfs -q -f -i exchange=0 -d size=300m"), 0);
	assert_int_equal(chdir(SCRATCH), 0);
}

/* Of a file system that really is full: nothing has changed, and then it can be tried again. */
static void full_file_system(void **state)
{
	static const char *const larger =
		"BEGIN; UPDATE t SET b = zeroblob(20000 + a), c = c + 1; COMMIT";
	unsigned int i;
	uint64_t want;
	sqlite3 *db;

	(void)state;
	begin_by(&by_exchange);
	if (!getenv("SCRATCH_DEV1"))
		skip();
	mount_small();
	make_both();
	db = open_by(&by_exchange, "x.db");
	for (i = 0; i < MODES; i++) {
		/* Who keeps its locks has to be closed where a rollback finds no space either. */
		if (strstr(modes[i], "y.") || strstr(modes[i], "locking_mode"))
			continue;
		execute(db, "%s", modes[i]);
		execute(db, SPILL "UPDATE t SET b = NULL; VACUUM");
		want = digest(db);
		assert_int_not_equal(run("sync; dd if=/dev/zero of=fill bs=1M conv=fsync 2>&1"), 0);
		(void)run("dd if=/dev/zero of=rest bs=4k conv=fsync 2>&1");
		assert_int_equal(try(db, "%s", larger) & 0xff, SQLITE_FULL);
		if (!sqlite3_get_autocommit(db))
			(void)try(db, "ROLLBACK");
		assert_true(digest(db) == want);
		assert_int_equal(run("rm fill rest; sync"), 0);
		execute(db, "%s", larger);
		assert_true(digest(db) != want);
	}
	close_database(db);
	assert_whole("x.db");
	assert_int_equal(chdir(mount_point), 0);
	assert_int_equal(run("umount " SCRATCH), 0);
}

/* Of three databases the last one finds no space, when the others are complete. */
static void third_has_no_space(const struct manner *manner, const char *pragmas)
{
	struct rlimit limit = { 300000, RLIM_INFINITY };
	sqlite3 *db = attach(manner, ""), *plain;

	signal(SIGXFSZ, SIG_IGN);
	execute(db, "ATTACH 'file:z.db?%s' AS z; CREATE TABLE z.v(b)", manner->uri);
	execute(db, "PRAGMA main.cache_size=2000; PRAGMA y.cache_size=2000; PRAGMA z.cache_size=2000");
	execute(db, "%s", pragmas);
	execute(db, "BEGIN; UPDATE t SET c = c - 1; UPDATE u SET c = c + 1; INSERT INTO v VALUES(zeroblob(400000))");
	setrlimit(RLIMIT_FSIZE, &limit);
	assert_int_equal(try(db, "COMMIT") & 0xff, SQLITE_FULL);
	if (!sqlite3_get_autocommit(db))
		execute(db, "ROLLBACK");
	if (!keeps_locks(db)) {
		assert_int_equal(assert_pair(), 2000);
		plain = open_plainly("z.db");
		assert_int_equal(number_of(plain, "SELECT count(*) FROM v"), 0);
		close_database(plain);
	}
	assert_int_equal(number_of(db, "SELECT count(*) FROM v"), 0);
	execute(db, "INSERT INTO v VALUES(1)");
	assert_goes_on(db);
}

static void third_of_three_fails(const struct manner *manner)
{
	unsigned int i;

	for (i = 0; i < MODES; i += mode_step()) {
		enter_empty_folder();
		make_both();
		run_in_child(third_has_no_space, manner, modes[i]);
	}
}

/* --- killed ------------------------------------------------------------------------------------- */

static void write_script(const struct manner *manner, const char *other)
{
	FILE *script = fopen("script", "w");
	unsigned int i;

	assert_non_null(script);
	fprintf(script, ".load %s\n.open 'file:x.db?%s'\n",
		getenv("EXCHRANGE_VFS") ?: "/usr/local/lib/sqlite3/exchrange_vfs", manner->uri);
	fprintf(script, "ATTACH 'file:y.db?%s' AS y;\n" SPILL "\n", other);
	for (i = 0; i < 3; i++)
		fprintf(script, "%s;\n.print acknowledged\n", transfer);
	fprintf(script, "VACUUM;\n");
	fclose(script);
}

/* False: it ended before it made so many of these calls. */
static bool kill_at(const struct manner *manner, const char *other, const char *call,
		    unsigned int when)
{
	sqlite3_int64 sum, acknowledged = 0;
	struct outcome outcome;
	const char *line;
	bool ended;

	enter_empty_folder();
	make_both();
	write_script(manner, other);
	outcome = run_and_keep("strace -qq -f -o /dev/null -e trace=%s -e inject=%s:signal=KILL:when=%u sqlite3 <script",
			       call, call, when);
	for (line = outcome.out; (line = strstr(line, "acknowledged")); line++)
		acknowledged++;
	ended = outcome.status == 0;
	if (!ended && outcome.status != 128 + SIGKILL)
		fail_msg("%s: %s", call, outcome.err);
	drop_outcome(&outcome);

	if (manner->exchanges && other == manner->uri)
		assert_int_equal(count_files("x.db-") + count_files("y.db-"), 0);
	sum = assert_pair();
	/* 10 a row at first, one less with each transaction. */
	assert_uint_in_range((2000 - sum) / 200, acknowledged, acknowledged + 1);
	return !ended;
}

/*
 * Before each call that changes something: what was acknowledged is there.  With another VFS's
 * database in the same transaction it is both, too.
 */
static void killed(const struct manner *manner)
{
	static const char *const calls[] = { "pwrite64", "openat", "unlink", "ftruncate", "ioctl",
		"fdatasync", "fsync", "fcntl" };
	const char *others[] = { manner->uri, "vfs=unix" };
	unsigned int i, j, when, kills = 0;

	if (run("command -v strace >/dev/null"))
		skip();
	for (i = 0; i < COUNT(others); i++)
		for (j = 0; j < COUNT(calls); j += test_share() < 10 ? 1 : 4)
			for (when = 1; kill_at(manner, others[i], calls[j], when); kills++)
				when += test_share();
	assert_true(kills >= (test_share() > 1 ? 5 : 50));
}

void add_faults(void)
{
	static const struct both tests[] = {
		{ "no memory", no_memory },
		{ "failing calls", failing_calls },
		{ "no space", no_space },
		{ "third of three fails", third_of_three_fails },
		{ "killed", killed },
	};

	add_both("faults", tests, COUNT(tests));
	add_by(&by_exchange, "faults", "full file system", full_file_system, NULL);
}
