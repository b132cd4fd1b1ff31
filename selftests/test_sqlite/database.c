// SPDX-License-Identifier: GPL-2.0
/* Databases for tests. */
#include <dirent.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "database.h"

const struct manner by_exchange = { "exchange", "vfs=exchrange", .exchanges = true };
const struct manner by_journal = { "journal", "vfs=exchrange&exchrange=journal" };

/* Where make puts it, and make install. */
static const char *extension(void)
{
	const char *path = getenv("EXCHRANGE_VFS");

	return path ?: "/usr/local/lib/sqlite3/exchrange_vfs";
}

void load_vfs(const char *entry)
{
	char *message = NULL;
	sqlite3 *db;

	assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
	sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1, NULL);
	if (sqlite3_load_extension(db, extension(), entry, &message))
		fail_msg("%s: %s", extension(), message);
	close_database(db);
}

bool has_vectors(void)
{
	static int answer = -1;
	sqlite3 *db;

	if (answer >= 0)
		return answer;
	db = open_database("probe.db", by_exchange.uri);
	answer = strncmp(text_of(db, "PRAGMA exchrange"), "one ", 4) == 0;
	close_database(db);
	unlink("probe.db");
	return answer;
}

bool on_btrfs(void)
{
	struct statfs fs;

	assert_int_equal(statfs(mount_point, &fs), 0);
	return fs.f_type == BTRFS_SUPER_MAGIC;
}

static void need(const struct manner *manner)
{
	if (!manner->exchanges || has_vectors())
		return;
	/* With a device it must be there, else nobody would see that nothing is tested. */
	if (access("/dev/exchrange", F_OK) == 0)
		fail_msg("%s has no back end for the VFS", mount_point);
	skip();
}

void enter_empty_folder(void)
{
	assert_int_equal(run("rm -rf '%s/sqlite' && mkdir '%s/sqlite'", mount_point, mount_point), 0);
	assert_int_equal(chdir(path_of("sqlite")), 0);
}

void begin_by(const struct manner *manner)
{
	need(manner);
	enter_empty_folder();
}

static void test_by_exchange(void **state)
{
	const struct both *row = *state;

	begin_by(&by_exchange);
	row->test(&by_exchange);
}

static void test_by_journal(void **state)
{
	const struct both *row = *state;

	begin_by(&by_journal);
	row->test(&by_journal);
}

/* --- the program's tests ------------------------------------------------------------------ */

static struct CMUnitTest *program;
static size_t program_size;

void add_test(const char *group, const char *name, CMUnitTestFunction test, const void *row)
{
	struct CMUnitTest *all, *added;
	char *full;

	all = realloc(program, (program_size + 1) * sizeof(*program));
	if (!all || asprintf(&full, "%s: %s", group, name) < 0) {
		perror("add_test");
		exit(1);
	}
	program = all;
	added = &program[program_size++];
	memset(added, 0, sizeof(*added));
	added->name = full;
	added->test_func = test;
	added->initial_state = (void *)row;
}

static const struct manner *chosen;	/* NULL: both */

bool choose_manner(const char *word)
{
	if (!strcmp(word, "exchanges"))
		chosen = &by_exchange;
	else if (!strcmp(word, "journals"))
		chosen = &by_journal;
	return chosen;
}

void add_by(const struct manner *manner, const char *group, const char *name,
	    CMUnitTestFunction test, const void *row)
{
	char full[100];

	if (chosen && chosen != manner)
		return;
	snprintf(full, sizeof(full), "%s%s", group, manner->exchanges ? "" : ", by journals");
	add_test(full, name, test, row);
}

void add_both(const char *group, const struct both *tests, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++) {
		add_by(&by_exchange, group, tests[i].name, test_by_exchange, &tests[i]);
		add_by(&by_journal, group, tests[i].name, test_by_journal, &tests[i]);
	}
}

int run_program(void)
{
	return run_group("sqlite", program, program_size, NULL, NULL);
}

pid_t start_child(void)
{
	pid_t pid = fork();

	/* A child's failure ends the child, and not its copy of the other tests. */
	if (pid == 0)
		setenv("CMOCKA_TEST_ABORT", "1", 1);
	return pid;
}

/* --- databases ---------------------------------------------------------------------------- */

sqlite3 *open_database(const char *name, const char *uri)
{
	char full[200];
	sqlite3 *db;
	int code;

	snprintf(full, sizeof(full), "file:%s?%s", name, uri);
	code = sqlite3_open_v2(full, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
			       SQLITE_OPEN_URI, NULL);
	if (code)
		fail_msg("%s: %s", full, sqlite3_errmsg(db));
	sqlite3_busy_timeout(db, 60000);
	sqlite3_extended_result_codes(db, 1);
	return db;
}

sqlite3 *open_by(const struct manner *manner, const char *name)
{
	return open_database(name, manner->uri);
}

sqlite3 *open_plainly(const char *name)
{
	return open_database(name, "vfs=unix");
}

void close_database(sqlite3 *db)
{
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

int try(sqlite3 *db, const char *format, ...)
{
	va_list arguments;
	char *text;
	int code;

	va_start(arguments, format);
	assert_true(vasprintf(&text, format, arguments) >= 0);
	va_end(arguments);
	code = sqlite3_exec(db, text, NULL, NULL, NULL);
	free(text);
	return code;
}

void execute(sqlite3 *db, const char *format, ...)
{
	va_list arguments;
	char *text;

	va_start(arguments, format);
	assert_true(vasprintf(&text, format, arguments) >= 0);
	va_end(arguments);
	if (sqlite3_exec(db, text, NULL, NULL, NULL))
		fail_msg("%s: %s (%d)", text, sqlite3_errmsg(db),
			 sqlite3_extended_errcode(db));
	free(text);
}

static const char *first_of(sqlite3 *db, const char *text)
{
	static char answer[256];
	sqlite3_stmt *statement;
	int code;

	if (sqlite3_prepare_v2(db, text, -1, &statement, NULL))
		fail_msg("%s: %s (%d)", text, sqlite3_errmsg(db), sqlite3_extended_errcode(db));
	code = sqlite3_step(statement);
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		fail_msg("%s: %s (%d)", text, sqlite3_errmsg(db), sqlite3_extended_errcode(db));
	snprintf(answer, sizeof(answer), "%s", code == SQLITE_ROW &&
		 sqlite3_column_text(statement, 0) ?
		 (const char *)sqlite3_column_text(statement, 0) : "");
	sqlite3_finalize(statement);
	return answer;
}

const char *text_of(sqlite3 *db, const char *format, ...)
{
	va_list arguments;
	const char *answer;
	char *text;

	va_start(arguments, format);
	assert_true(vasprintf(&text, format, arguments) >= 0);
	va_end(arguments);
	answer = first_of(db, text);
	free(text);
	return answer;
}

sqlite3_int64 number_of(sqlite3 *db, const char *format, ...)
{
	va_list arguments;
	sqlite3_int64 answer;
	char *text;

	va_start(arguments, format);
	assert_true(vasprintf(&text, format, arguments) >= 0);
	va_end(arguments);
	answer = atoll(first_of(db, text));
	free(text);
	return answer;
}

uint64_t digest(sqlite3 *db)
{
	uint64_t sum = 14695981039346656037u;
	sqlite3_stmt *statement;
	int code;

	if (sqlite3_prepare_v2(db, "SELECT a, b, c FROM t ORDER BY a", -1, &statement, NULL))
		fail_msg("digest: %s", sqlite3_errmsg(db));
	while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
		const unsigned char *bytes = sqlite3_column_blob(statement, 1);
		int length = sqlite3_column_bytes(statement, 1), i;

		for (i = 0; i < length; i++)
			sum = (sum ^ bytes[i]) * 1099511628211u;
		sum = (sum ^ (uint64_t)sqlite3_column_int64(statement, 0)) * 1099511628211u;
		sum = (sum ^ (uint64_t)sqlite3_column_int64(statement, 2)) * 1099511628211u;
	}
	if (code != SQLITE_DONE)
		fail_msg("digest: %s (%d)", sqlite3_errmsg(db), sqlite3_extended_errcode(db));
	sqlite3_finalize(statement);
	return sum;
}

void assert_whole(const char *name)
{
	sqlite3 *db = open_plainly(name);

	assert_string_equal(text_of(db, "PRAGMA integrity_check"), "ok");
	close_database(db);
}

unsigned int count_files(const char *prefix)
{
	unsigned int count = 0;
	struct dirent *entry;
	DIR *folder = opendir(".");

	assert_non_null(folder);
	while ((entry = readdir(folder)))
		count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
	closedir(folder);
	return count;
}
