// SPDX-License-Identifier: GPL-2.0
/* The demo's exit status is that of its findings, and its last line says so. */
#include <stdio.h>
#include <string.h>

#include "common.h"

/* The demo with @options exits with @status and prints each of @lines, the last one last. */
static void check_demo(const char *options, int status, const char * const *lines)
{
	struct outcome outcome = run_and_keep("/usr/libexec/exchrange/demo %s %s", options,
					      mount_point);
	const char *found = outcome.out, *line = NULL;
	size_t i;

	for (i = 0; found && lines[i]; i++) {
		line = lines[i];
		found = strstr(outcome.out, line);
	}
	if (outcome.status != status || !found || strcmp(found, line))
		print_message("# %s\n# exit status %d; looked for '%s'\n", outcome.out,
			      outcome.status, line);
	assert_int_equal(outcome.status, status);
	assert_non_null(found);
	assert_string_equal(found, line);
	drop_outcome(&outcome);
}

static void test_succeeds(void **state)
{
	static const char * const lines[] = { "\nAll 6 findings are ok.\n", NULL };

	(void)state;
	check_demo("", 0, lines);
}

/*
 * Swaps by copying, in place: at its end all is as after an exchange, but meanwhile the file
 * is half the one and half the other.
 */
static void test_fails_for_a_mixture(void **state)
{
	static const char * const lines[] = {
		"\n  ok      every swap succeeded\n",
		"\n  ok      the contents have changed places\n",
		"\n  ok      the reader with a watch has seen the old file and the new one\n",
		"\n  FAILED  and no mixture of them\n",
		"\n1 of 6 findings FAILED\n",
		NULL
	};

	(void)state;
	assert_int_equal(run("printf '%%s\n' '#!/bin/sh -e'"
			     " 'cp \"$1\" /tmp/1; cp \"$2\" /tmp/2; truncate -s 0 \"$2\"'"
			     " '{ head -c 20000; sleep 0.2; cat; } </tmp/1 >>\"$2\"; cat /tmp/2 >\"$1\"'"
			     " >/tmp/copy && chmod +x /tmp/copy"), 0);
	check_demo("--with /tmp/copy", 1, lines);
}

/* Each reading is whole, but nothing has happened. */
static void test_fails_without_a_swap(void **state)
{
	static const char * const lines[] = {
		"\n  FAILED  the contents have changed places\n",
		"\n  FAILED  the reader with a watch has seen the old file and the new one\n",
		"\n  ok      and no mixture of them\n",
		"\n  FAILED  inotify has told of both files\n",
		"\n3 of 6 findings FAILED\n",
		NULL
	};

	(void)state;
	check_demo("--with true", 1, lines);
}

static void test_fails_where_a_swap_fails(void **state)
{
	static const char * const lines[] = {
		"\n  FAILED  every swap succeeded\n",
		"\n4 of 6 findings FAILED\n",
		NULL
	};

	(void)state;
	check_demo("--with false", 1, lines);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_succeeds),
		cmocka_unit_test(test_fails_for_a_mixture),
		cmocka_unit_test(test_fails_without_a_swap),
		cmocka_unit_test(test_fails_where_a_swap_fails),
	};

	start(argc, argv);
	return run_as_ktap("demo", tests, NULL, NULL);
}
