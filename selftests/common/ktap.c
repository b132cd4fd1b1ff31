// SPDX-License-Identifier: GPL-2.0
/*
 * KTAP, as Documentation/dev-tools/ktap.rst of the kernel has it and kselftest's and
 * KUnit's tools read it, from what cmocka prints.  cmocka's own TAP differs from version
 * to version: one has no version line, one calls a skipped test "not ok", and none has the
 * name of a skipped test where a reader looks for it.
 *
 * stdout becomes a stream whose lines are rewritten on their way to descriptor 1.  What a
 * command that a test runs writes there itself goes past it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common.h"

/* Exit statuses of a kernel selftest: see tools/testing/selftests/kselftest.h. */
enum {
	ALL_PASSED	= 0,
	ONE_FAILED	= 1,
	ALL_SKIPPED	= 4,
};

static struct {
	unsigned int	planned, passed, failed, skipped;
} results;

/* What run-tests puts before each line, where several programs are subtests. */
static const char *indent(void)
{
	const char *text = getenv("TEST_INDENT");

	return text ? text : "";
}

static void take_plan(unsigned int planned)
{
	results.planned = planned;
	dprintf(STDOUT_FILENO, "%s1..%u%s\n", indent(), planned,
		planned ? "" : " # SKIP no test has such a name");
}

/* @text is behind "ok " or "not ok ": a number, and the name in one of two places. */
static void take_result(bool good, const char *text)
{
	static const char skip_mark[] = "# SKIP ", name_mark[] = "- ";
	unsigned long number = strtoul(text, (char **)&text, 10);
	bool skipped;

	text += strspn(text, " ");
	skipped = !strncmp(text, skip_mark, strlen(skip_mark));
	if (skipped)
		text += strlen(skip_mark);
	if (!strncmp(text, name_mark, strlen(name_mark)))
		text += strlen(name_mark);
	/* cmocka 2 has the mark behind the name, and then why. */
	if (skipped || strstr(text, " # SKIP")) {
		results.skipped++;
		dprintf(STDOUT_FILENO, "%sok %lu - %s%s\n", indent(), number, text,
			skipped ? " # SKIP" : "");
		return;
	}
	*(good ? &results.passed : &results.failed) += 1;
	dprintf(STDOUT_FILENO, "%s%s %lu - %s\n", indent(), good ? "ok" : "not ok",
		number, text);
}

/* The next result has this number; any other is what some command has printed. */
static bool is_next(const char *number)
{
	return strtoul(number, NULL, 10) ==
	       results.passed + results.failed + results.skipped + 1;
}

static void take_line(const char *line)
{
	unsigned int planned;

	if (!strncmp(line, "TAP version", 11))
		return;
	if (!results.planned && sscanf(line, "1..%u", &planned) == 1)
		take_plan(planned);
	else if (!strncmp(line, "ok ", 3) && is_next(line + 3))
		take_result(true, line + 3);
	else if (!strncmp(line, "not ok ", 7) && is_next(line + 7))
		take_result(false, line + 7);
	else if (*line)
		dprintf(STDOUT_FILENO, "%s%s%s\n", indent(), *line == '#' ? "" : "# ", line);
}

/* Of stdout: whole lines are taken, the rest waits for its end. */
static ssize_t take_text(void *cookie, const char *text, size_t size)
{
	static char line[1024];
	static size_t length;
	size_t i;

	(void)cookie;
	for (i = 0; i < size; i++) {
		if (text[i] != '\n')
			line[length++] = text[i];
		if (text[i] == '\n' || length == sizeof(line) - 1) {
			line[length] = '\0';
			length = 0;
			take_line(line);
		}
	}
	return size;
}

/* From here on, and to the end of the process. */
static bool rewrite_stdout(void)
{
	static const cookie_io_functions_t functions = { .write = take_text };
	FILE *stream = fopencookie(NULL, "w", functions);

	if (!stream)
		return false;
	fflush(stdout);
	stdout = stream;
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	return true;
}

static int exit_status(void)
{
	unsigned int seen = results.passed + results.failed + results.skipped;

	if (results.failed || seen != results.planned)
		return ONE_FAILED;
	return results.passed ? ALL_PASSED : ALL_SKIPPED;
}

int run_group(const char *name, const struct CMUnitTest *tests, size_t count,
	      CMFixtureFunction setup, CMFixtureFunction teardown)
{
	const char *format = getenv("CMOCKA_MESSAGE_OUTPUT");
	int failed;

	/* Whoever asks for cmocka's XML, or its colours, gets that. */
	if (format && strcasecmp(format, "TAP"))
		return _cmocka_run_group_tests(name, tests, count, setup, teardown) ?
		       ONE_FAILED : ALL_PASSED;
	if (!rewrite_stdout())
		return ONE_FAILED;
	cmocka_set_message_output(CM_OUTPUT_TAP);
	dprintf(STDOUT_FILENO, "%sKTAP version 1\n", indent());
	failed = _cmocka_run_group_tests(name, tests, count, setup, teardown);
	fflush(stdout);
	return failed ? ONE_FAILED : exit_status();
}

int skip_all(const char *reason)
{
	dprintf(STDOUT_FILENO, "%sKTAP version 1\n%s1..0 # SKIP %s\n", indent(), indent(), reason);
	return ALL_SKIPPED;
}
