// SPDX-License-Identifier: GPL-2.0
/*
 * What the test programs print is KTAP, whichever cmocka they were built with, and their exit
 * status is a kernel selftest's.  The groups that are looked at are run by this program
 * itself: test_ktap --group NAME.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"

static void passes(void **state)
{
	(void)state;
}

static void is_skipped(void **state)
{
	(void)state;
	print_message("not said to be a comment\n");
	skip();
}

static void fails(void **state)
{
	(void)state;
	print_message("ok 7 - what a command has printed\n");
	fail_msg("two\nlines");
}

static int set_up_nothing(void **state)
{
	(void)state;
	return -1;
}

/* The groups, and what is to come of them without its comments. */
struct group {
	const char		*name;
	CMUnitTestFunction	tests[4];
	CMFixtureFunction	setup;
	const char		*output;
	int			status;
};

static const struct group groups[] = {
	{ "passed", { passes, passes },
	  .output = "KTAP version 1\n1..2\nok 1 - first\nok 2 - second\n" },
	{ "skipped", { is_skipped },
	  .output = "KTAP version 1\n1..1\nok 1 - first # SKIP\n", .status = 4 },
	{ "mixed", { passes, is_skipped, fails, passes },
	  .output = "KTAP version 1\n1..4\nok 1 - first\nok 2 - second # SKIP\n"
		    "not ok 3 - third\nok 4 - fourth\n", .status = 1 },
	/* As many as the status of one that was skipped. */
	{ "failed", { fails, fails, fails, fails },
	  .output = "KTAP version 1\n1..4\nnot ok 1 - first\nnot ok 2 - second\n"
		    "not ok 3 - third\nnot ok 4 - fourth\n", .status = 1 },
	{ "none", { NULL }, .output = "KTAP version 1\n1..0 # SKIP no test has such a name\n",
	  .status = 4 },
};

static int run_one(const struct group *group)
{
	static const char * const names[] = { "first", "second", "third", "fourth" };
	struct CMUnitTest tests[COUNT(names)] = {};
	size_t count = 0;

	for (; count < COUNT(names) && group->tests[count]; count++) {
		tests[count].name = names[count];
		tests[count].test_func = group->tests[count];
	}
	return run_group(group->name, tests, count, group->setup, NULL);
}

static int run_named(const char *name)
{
	static const struct group broken = {
		"broken", { passes }, .setup = set_up_nothing
	};
	size_t i;

	for (i = 0; i < COUNT(groups); i++)
		if (!strcmp(groups[i].name, name))
			return run_one(&groups[i]);
	return run_one(&broken);
}

/* This program; and before it, so that it runs as whoever called this one has not asked it to. */
static char self[128];

#define PLAIN	"unset TEST_FILTER TEST_INDENT CMOCKA_MESSAGE_OUTPUT; "

static void test_output(void **state)
{
	const struct group *group = *state;
	struct outcome outcome;

	outcome = run_and_keep(PLAIN "%s --group %s >/tmp/ktap; s=$?; grep -v '^#' /tmp/ktap; exit $s",
			       self, group->name);
	assert_string_equal(outcome.out, group->output);
	assert_int_equal(outcome.status, group->status);
	drop_outcome(&outcome);
}

static void test_subtests_are_indented(void **state)
{
	(void)state;
	assert_int_equal(run(PLAIN "%s --group mixed >/tmp/ktap;"
			     " TEST_INDENT='  ' %s --group mixed >/tmp/subtests;"
			     " sed 's/^/  /' /tmp/ktap | cmp - /tmp/subtests", self, self), 0);
}

/* Nothing ran, nothing passed. */
static void test_setup_that_fails(void **state)
{
	struct outcome outcome = run_and_keep(PLAIN "%s --group broken", self);

	(void)state;
	assert_int_equal(outcome.status, 1);
	assert_null(strstr(outcome.out, "\nok "));
	drop_outcome(&outcome);
}

/* Whoever asks cmocka for another format gets it. */
static void test_other_format(void **state)
{
	struct outcome outcome = run_and_keep("CMOCKA_MESSAGE_OUTPUT=STDOUT %s --group mixed",
					      self);

	(void)state;
	assert_int_equal(outcome.status, 1);
	assert_null(strstr(outcome.out, "KTAP"));
	drop_outcome(&outcome);
}

/* Perl's own reader of TAP, which knows nothing of cmocka. */
static void test_read_by_perl(void **state)
{
	(void)state;
	if (run("perl -MTAP::Parser -e 1"))
		skip();
	assert_int_equal(run(PLAIN "%s --group mixed | perl -MTAP::Parser -e '"
			     "my $p = TAP::Parser->new({ source => \\*STDIN }); $p->run;"
			     "print join(\" \", scalar $p->passed, scalar $p->failed,"
			     " scalar $p->skipped, scalar $p->parse_errors, $p->tests_planned), \"\\n\"'"
			     " | tee /tmp/counts | grep -qx '3 1 1 0 4' || { cat /tmp/counts; false; }",
			     self), 0);
}

/* The programs as tests with subtests, after all of which comes the verdict. */
static void test_run_tests(void **state)
{
	static const char expected[] =
		"KTAP version 1\n1..4\n"
		"  KTAP version 1\n  1..2\n  ok 1 - first\n  ok 2 - second\n"
		"ok 1 - test_ktap --group passed\n"
		"  KTAP version 1\n  1..1\n  ok 1 - first # SKIP\n"
		"ok 2 - test_ktap --group skipped # SKIP\n"
		"  KTAP version 1\n  1..4\n  ok 1 - first\n  ok 2 - second # SKIP\n"
		"  not ok 3 - third\n  ok 4 - fourth\n"
		"not ok 3 - test_ktap --group mixed\n"
		"not ok 4 - no_such_program\n";
	struct outcome outcome;

	(void)state;
	outcome = run_and_keep(PLAIN "$(dirname %s)/run-tests test_ktap --group passed"
			       " -- test_ktap --group skipped -- test_ktap --group mixed"
			       " -- no_such_program 2>/dev/null >/tmp/ktap; s=$?; grep -v '^ *#' /tmp/ktap; exit $s",
			       self);
	assert_string_equal(outcome.out, expected);
	assert_int_equal(outcome.status, 1);
	drop_outcome(&outcome);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest others[] = {
		cmocka_unit_test(test_subtests_are_indented),
		cmocka_unit_test(test_setup_that_fails),
		cmocka_unit_test(test_other_format),
		cmocka_unit_test(test_read_by_perl),
		cmocka_unit_test(test_run_tests),
	};
	static const struct table table = {
		.group		= "group",
		.rows		= groups,
		.row_size	= sizeof(groups[0]),
		.row_count	= COUNT(groups),
		.test		= test_output,
		.others		= others,
		.other_count	= COUNT(others),
	};

	if (argc == 3 && !strcmp(argv[1], "--group"))
		return run_named(argv[2]);
	start(argc, argv);
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return 1;
	return run_table(&table);
}
