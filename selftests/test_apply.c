// SPDX-License-Identifier: GPL-2.0
/*
 * exchrange apply: the files of one directory get the contents of another's at one moment;
 * whatever is wrong is said, with a name, and nothing has changed.
 */
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scripts.h"

/*
 * new/ and live/: a certificate and a key that differ, a file in a folder that differs, one
 * that is equal; and what is in live/ alone.
 */
static int make_trees(void **state)
{
	(void)state;
	if (enter_folder("apply"))
		return -1;
	return run("cd %s/apply && mkdir -p new/conf/deep live/conf/deep && cd new"
		   " && echo 'new cert' >cert && seq 20000 >key && echo new >conf/deep/site && echo same >conf/same"
		   " && cd ../live && seq 9000 >cert && echo 'old key' >key && echo old >conf/deep/site && echo same >conf/same"
		   " && echo ours >alone && chmod 640 key && chown 1:2 key && ln key ../link"
		   " && cd .. && cp -a live was && cp -a new given", mount_point);
}

/* After each refusal. */
#define UNCHANGED	" && diff -r live was && diff -r new given"

static void test_all_files_get_their_contents(void **state)
{
	(void)state;
	check("inode=$(stat -c '%i %a %u %g %h' live/key); before=$(stat -c '%Y.%Z' live/conf/same live/alone);"
	      " exchrange apply --dsync new live >out && diff -r new given"
	      " && cmp live/cert new/cert && cmp live/key new/key && cmp live/conf/deep/site new/conf/deep/site"
	      " && test \"$inode\" = \"$(stat -c '%i %a %u %g %h' live/key)\" && cmp link new/key"
	      " && test \"$before\" = \"$(stat -c '%Y.%Z' live/conf/same live/alone)\" && grep -qx ours live/alone"
	      " && printf 'cert\\nconf/deep/site\\nkey\\n3 files changed, 1 was equal\\n' | diff - out"
	      " && test \"$(ls -A live)\" = \"$(ls -A was)\" && test \"$(ls -A new)\" = \"$(ls -A given)\"");
	/* Then there is nothing to do. */
	check("exchrange apply new live/ >/dev/null && exchrange apply new/ live >out && echo '0 files changed, 4 were equal' | diff - out");
}

static void test_a_dry_run_changes_nothing(void **state)
{
	(void)state;
	check("exchrange apply --dry-run new live >out" UNCHANGED
	      " && printf 'cert\\nconf/deep/site\\nkey\\n3 files would be changed, 1 was equal\\n' | diff - out");
	/* And says what would be wrong. */
	check("chattr +i live/key; ! exchrange apply --dry-run new live 2>err; chattr -i live/key;"
	      " grep -q 'live/key: is immutable' err" UNCHANGED);
}

static void test_from_another_file_system(void **state)
{
	(void)state;
	check("rm -rf /dev/shm/new && cp -a new /dev/shm/new && truncate -s 300k /dev/shm/new/cert"
	      " && exchrange apply /dev/shm/new live >/dev/null && diff -r /dev/shm/new live | grep -v '^Only in live: alone$';"
	      " cmp /dev/shm/new/cert live/cert && rm -r /dev/shm/new");
}

/* Of links, the ones that are named. */
static void test_links_to_the_directories(void **state)
{
	(void)state;
	check("ln -s new n && ln -s live l && exchrange apply n l >/dev/null && cmp new/key live/key && test -L l");
}

static const struct refusal {
	const char	*name;
	const char	*make;
	const char	*text1, *text2;
	const char	*file, *reason;		/* as JSON has it */
} refusals[] = {
	{ "a file that is not there", "echo x >new/more; cp new/more given",
	  "live/more: is not there", "make an empty one first", "more", "missing" },
	{ "a directory that is not there", "mkdir new/more given/more; echo x >new/more/x; echo x >given/more/x",
	  "live/more: is not there", "apply makes no directory", "more", "missing" },
	{ "an empty directory that is not there", "mkdir new/more given/more",
	  "live/more: is not there", "apply makes no directory", "more", "missing" },
	{ "a link on one side", "ln -s cert new/link; ln -s cert given/link; cp live/cert live/link; cp live/cert was/link",
	  "new/link: is a symbolic link", "take it out of new", "link", "link" },
	{ "a link on the other side", "for d in new given; do echo x >$d/link; done; for d in live was; do ln -s cert $d/link; done",
	  "live/link: is a symbolic link", "take it out of new", "link", "link" },
	{ "a link out of the directory", "echo x >new/out; echo x >given/out; for d in live was; do ln -s ../link $d/out; done",
	  "live/out: is a symbolic link", "", "out", "link" },
	{ "a link to a directory", "for d in new given; do mkdir $d/out; echo x >$d/out/link; done; for d in live was; do ln -s .. $d/out; done",
	  "live/out: is a symbolic link", "", "out", "link" },
	{ "a directory for a file", "for d in new given; do echo x >$d/d; done; for d in live was; do mkdir $d/d; done",
	  "live/d: is a directory, and new/d is a regular file", "", "d", "not-regular" },
	{ "a file for a directory", "for d in new given; do mkdir $d/d; done; for d in live was; do echo x >$d/d; done",
	  "live/d: is a regular file, and new/d is a directory", "", "d", "not-regular" },
	{ "a FIFO", "for d in new given; do mkfifo $d/p; done; for d in live was; do echo x >$d/p; done; rm given/p",
	  "new/p: is not a regular file", "take it out of new", "p", "not-regular" },
	{ "a device on the other side", "for d in new given; do echo x >$d/n; done; mknod live/n c 1 3; rm -r was; cp -a live was",
	  "live/n: is neither a file nor a directory", "", "n", "not-regular" },
	{ "a file with two names and two contents", "rm -f live/conf/same was/conf/same; ln live/cert live/conf/same; ln was/cert was/conf/same",
	  "live/cert and conf/same: are one file", "two contents", "conf/same", "two-contents" },
};

static const char *member(json_object *object, const char *name)
{
	json_object *value;

	return json_object_object_get_ex(object, name, &value) ?
	       json_object_get_string(value) : NULL;
}

/* The state that the answer has for the file, with its reason. */
static void assert_state(const char *answer, const char *file, const char *state,
			 const char *reason)
{
	json_object *array = json_tokener_parse(answer), *found = NULL;
	size_t i;

	if (!array)
		fail_msg("is no JSON: %s", answer);
	for (i = 0; i < json_object_array_length(array); i++) {
		json_object *object = json_object_array_get_idx(array, i);

		if (!strcmp(member(object, "file"), file))
			found = object;
	}
	if (!found || strcmp(member(found, "state"), state))
		fail_msg("%s is not %s: %s", file, state, answer);
	if (reason)
		assert_string_equal(member(found, "reason"), reason);
	else
		assert_null(member(found, "reason"));
	json_object_put(array);
}

static struct outcome apply(const char *arguments)
{
	return run_and_keep("cd %s/apply && exchrange apply %s", mount_point, arguments);
}

static void test_refused(void **state)
{
	const struct refusal *refusal = *state;
	struct outcome outcome;

	assert_int_equal(make_trees(NULL), 0);
	check(refusal->make);
	outcome = apply("--json new live");
	assert_int_equal(outcome.status, 1);
	if (!strstr(outcome.err, refusal->text1) || !strstr(outcome.err, refusal->text2) ||
	    !strstr(outcome.err, "live: nothing was changed\n"))
		fail_msg("says %s", outcome.err);
	assert_state(outcome.out, refusal->file, "refused", refusal->reason);
	assert_state(outcome.out, "key", "differs", NULL);
	drop_outcome(&outcome);
	check("find live new -type p -delete; rm -f live/n was/n new/n given/n; diff -r --no-dereference live was && cmp live/cert was/cert && cmp live/key was/key");
}

/* All that is wrong is said at once. */
static void test_all_refusals_are_said(void **state)
{
	(void)state;
	check("touch new/1 new/2; ln -s 1 new/3; ! exchrange apply new live 2>err"
	      " && for f in live/1 live/2 new/3; do grep -q \"$f: is\" err || exit 1; done; rm new/[123]" UNCHANGED);
}

static void test_json(void **state)
{
	struct outcome outcome;

	(void)state;
	outcome = apply("--json --dry-run new live");
	assert_int_equal(outcome.status, 0);
	assert_state(outcome.out, "key", "differs", NULL);
	assert_state(outcome.out, "conf/same", "equal", NULL);
	drop_outcome(&outcome);
	check("mv live/cert live/q && mv new/cert new/q; chattr +i live/q");
	outcome = apply("--json new live");
	check("chattr -i live/q");
	assert_int_equal(outcome.status, 1);
	assert_state(outcome.out, "q", "differs", NULL);
	drop_outcome(&outcome);
	outcome = apply("--json new live");
	assert_string_equal(outcome.err, "");
	assert_int_equal(outcome.status, 0);
	assert_state(outcome.out, "q", "applied", NULL);
	assert_state(outcome.out, "conf/deep/site", "applied", NULL);
	assert_state(outcome.out, "conf/same", "equal", NULL);
	drop_outcome(&outcome);
}

static void test_called_wrong(void **state)
{
	static const struct wrong wrongs[] = {
		{ "exchrange apply", 2, "takes two directories, not 0", "usage: exchrange apply" },
		{ "exchrange apply new", 2, "takes two directories, not 1", "--help" },
		{ "exchrange apply new live more", 2, "not 3", "--help" },
		{ "exchrange apply --frob new live", 2, "unknown option '--frob'", "--help" },
		{ "exchrange apply new missing", 1, "missing: no such directory", "nothing was changed" },
		{ "exchrange apply missing live", 1, "missing: no such directory", "" },
		{ "exchrange apply new live/key", 1, "live/key: is not a directory", "" },
		{ "exchrange apply live ./live/", 1, "are one directory", "" },
		{ "exchrange apply '' live", 1, ": no such directory", "" },
	};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(wrongs); i++)
		assert_complains(wrongs[i].arguments, wrongs[i].status, wrongs[i].text1,
				 wrongs[i].text2);
	check("diff -r live was");
}

/* As many as a commit takes, equal ones not counted; and one more. */
static void test_many_files(void **state)
{
	(void)state;
	check("for i in $(seq 100 131); do echo new $i >new/$i; echo old >live/$i; done; rm new/cert new/key new/conf/deep/site"
	      " && exchrange apply new live >out && tail -n 1 out | grep -qx '32 files changed, 1 was equal'"
	      " && for i in $(seq 100 131); do echo new $i | cmp - live/$i || exit 1; done");
	check("for i in $(seq 100 132); do echo newer >new/$i; done; echo old >live/132; rm -r was; cp -a live was;"
	      " ! exchrange apply new live 2>err >out && grep -q 'live: 33 files differ from those of new, and a commit changes 32 at most' err"
	      " && ! test -s out && diff -r live was && echo newer >live/107 && exchrange apply new live >/dev/null && cmp new/132 live/132");
}

/* Two names of one file, and one contents for both. */
static void test_a_file_with_two_names(void **state)
{
	(void)state;
	check("ln -f live/key live/again && cp new/key new/again && exchrange apply new live >out && cmp live/key new/key"
	      " && test live/again -ef live/key && grep -qx again out && tail -n 1 out | grep -qx '4 files changed, 1 was equal'");
	/* One file on both sides is equal. */
	check("echo newer >new/key && cp new/key new/again && ln -f live/cert new/cert && exchrange apply new live >out && ! grep -q cert out");
}

static void test_who_may_not(void **state)
{
	(void)state;
	check("chown -R 65534:65534 live new was given && chown 0:0 live/key was/key && chmod 644 live/key was/key;"
	      " ! " AS_NOBODY "exchrange apply new live 2>err && grep -q 'live/key: permission denied' err" UNCHANGED);
	/* An equal one need not be written to. */
	check("cp new/key live/key; " AS_NOBODY "exchrange apply new live >/dev/null && cmp live/cert new/cert");
	check("chmod 0 new/cert; ! " AS_NOBODY "exchrange apply new live 2>err && grep -q 'new/cert: permission denied' err");
}

static void test_a_program_that_runs(void **state)
{
	(void)state;
	check("cp --remove-destination /bin/sleep live/key && cp live/key was/key && { live/key 1000 >/dev/null 2>&1 & } && running=$!;"
	      " ! exchrange apply new live 2>err; kill $running; grep -q 'live/key: is a program that is running' err" UNCHANGED);
}

/* A mount below the directory: its files cannot change at the same moment. */
static void test_two_mounts(void **state)
{
	(void)state;
	check("mount --bind live/conf live/conf && ! exchrange apply new live 2>err; umount live/conf;"
	      " grep -q 'live/cert and live/conf/deep/site: are on two mounts' err" UNCHANGED);
}

static void test_no_back_end(void **state)
{
	(void)state;
	check("rm -rf /dev/shm/live && cp -a live /dev/shm/live && ! exchrange apply new /dev/shm/live 2>err"
	      " && grep -q 'there is no back end for tmpfs' err && diff -r /dev/shm/live was && rm -r /dev/shm/live" UNCHANGED);
}

/* Files of several subvolumes, which btrfs changes in one transaction. */
static void test_subvolumes(void **state)
{
	(void)state;
	if (!is_btrfs())
		skip();
	check("btrfs -q subvolume create live/sub && mkdir new/sub && echo old >live/sub/x && echo new >new/sub/x"
	      " && exchrange apply new live >/dev/null && cmp new/sub/x live/sub/x && cmp new/key live/key"
	      "; ret=$?; btrfs -q subvolume delete live/sub; exit $ret");
}

/* A full disk shows up while the contents are staged. */
static void test_no_space(void **state)
{
	(void)state;
	enter_scratch(kind->mkfs_small, "");
	assert_int_equal(make_trees(NULL), 0);
	check("cp -a new /dev/shm/new && head -c 20m /dev/urandom >/dev/shm/new/key && sync; ! cat /dev/zero >fill 2>/dev/null;"
	      " ! exchrange apply /dev/shm/new live 2>/tmp/err; rm -r /dev/shm/new; cat /tmp/err;"
	      " grep -q 'live/[a-z]*: no space left' /tmp/err && grep -q 'live: nothing was changed' /tmp/err" UNCHANGED);
	leave_scratch();
}

/* Two of three are staged, and it stands still until GO_ON. */
#define HALF_STAGED	"rm -f trace; { strace -qq -o trace -e trace=fchdir -e inject=fchdir:signal=STOP:when=5"	\
			" exchrange apply new live 2>err >out & } && apply=$!; "				\
			UNTIL("grep -qs 'stopped by SIGSTOP' trace")
#define GO_ON		"pkill -CONT -x exchrange; "

static void test_a_change_meanwhile(void **state)
{
	(void)state;
	check(HALF_STAGED "echo more >>live/cert; echo more >>was/cert; " GO_ON "! wait $apply && ! test -s out"
	      " && grep -q 'live/cert: has changed meanwhile' err && grep -q 'live: nothing was changed; try again' err" UNCHANGED
	      " && exchrange apply new live >/dev/null && cmp new/cert live/cert && cmp new/key live/key");
}

/* What was read is of no one moment. */
static void test_a_change_of_what_is_read(void **state)
{
	(void)state;
	check(HALF_STAGED "echo more >>new/cert; echo more >>given/cert; " GO_ON "! wait $apply && ! test -s out"
	      " && grep -q 'new/cert: changed while it was read' err && grep -q 'live: nothing was changed' err" UNCHANGED);
}

/* A file, and its directory, that becomes a link out of it. */
static void test_links_that_come_meanwhile(void **state)
{
	(void)state;
	check("mkdir other && echo outside >other/key && echo outside >other/site; "
	      HALF_STAGED "mv live/key key; ln -s ../other/key live/key; " GO_ON "! wait $apply; rm live/key; mv key live/key; grep -q 'live/key: has become a symbolic link' err" UNCHANGED
	      " && grep -qx outside other/key");
	check(HALF_STAGED "mv live/conf conf; ln -s ../other live/conf; " GO_ON "wait $apply; rm live/conf; mv conf live/conf;"
	      " grep -qx outside other/site && grep -qx outside other/key && cmp live/conf/deep/site new/conf/deep/site");
}

#define TEST(name)	cmocka_unit_test_setup(name, make_trees)

int main(int argc, char **argv)
{
	static const struct CMUnitTest others[] = {
		TEST(test_all_files_get_their_contents),
		TEST(test_a_dry_run_changes_nothing),
		TEST(test_from_another_file_system),
		TEST(test_links_to_the_directories),
		TEST(test_all_refusals_are_said),
		TEST(test_json),
		TEST(test_called_wrong),
		TEST(test_many_files),
		TEST(test_a_file_with_two_names),
		TEST(test_who_may_not),
		TEST(test_a_program_that_runs),
		TEST(test_two_mounts),
		TEST(test_no_back_end),
		TEST(test_subvolumes),
		TEST(test_no_space),
		TEST(test_a_change_meanwhile),
		TEST(test_a_change_of_what_is_read),
		TEST(test_links_that_come_meanwhile),
	};
	static const struct table table = {
		.group		= "apply",
		.rows		= refusals,
		.row_size	= sizeof(refusals[0]),
		.row_count	= COUNT(refusals),
		.test		= test_refused,
		.others		= others,
		.other_count	= COUNT(others),
	};

	start(argc, argv);
	return run_table(&table);
}
