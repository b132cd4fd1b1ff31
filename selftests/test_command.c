// SPDX-License-Identifier: GPL-2.0
/*
 * The command as a person types it, right and wrong: what it does, what it says,
 * its exit status; and that a wrong call changes nothing.
 */
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common.h"

static const struct file_spec small = { SHAPE_PLAIN, 5000 };
static const struct file_spec large = { SHAPE_PLAIN, 1 << 20 };

/* The files a and b in the mount point, which is where the command runs. */
struct files {
	int		fd[2];
	struct picture	before[2];
};

static void make_files(struct files *files, struct file_spec spec1,
		       struct file_spec spec2)
{
	files->fd[0] = make_file("a", spec1, 1);
	files->fd[1] = make_file("b", spec2, 2);
	files->before[0] = take_picture(files->fd[0]);
	files->before[1] = take_picture(files->fd[1]);
}

static void drop_files(struct files *files)
{
	int i;

	for (i = 0; i < 2; i++) {
		close(files->fd[i]);
		drop_picture(&files->before[i]);
	}
}

/* The files are what the model says that they became. */
static void assert_swapped(struct files *files, uint64_t offset1,
			   uint64_t offset2, uint64_t length, uint64_t flags)
{
	struct picture after[2] = {
		take_picture(files->fd[0]), take_picture(files->fd[1]),
	};

	model_exchange(&files->before[0], &files->before[1], offset1, offset2,
		       length, flags);
	assert_true(same_bytes(&files->before[0], &after[0]));
	assert_true(same_bytes(&files->before[1], &after[1]));
	drop_picture(&after[0]);
	drop_picture(&after[1]);
}

static struct outcome exchrange(const char *arguments)
{
	return run_and_keep("cd %s && exchrange %s", mount_point, arguments);
}

/* The command succeeds and has nothing to say. */
static void assert_silent(const char *arguments)
{
	struct outcome outcome = exchrange(arguments);

	assert_string_equal(outcome.err, "");
	assert_string_equal(outcome.out, "");
	assert_int_equal(outcome.status, 0);
	drop_outcome(&outcome);
}

static void assert_complains(const char *arguments, int status,
			     const char *text1, const char *text2)
{
	const struct wrong wrong = { arguments, status, text1, text2 };
	struct outcome outcome = exchrange(arguments);

	assert_complaint(&outcome, &wrong);
}

static void test_swap_whole_files(void **state)
{
	struct files files;

	(void)state;
	make_files(&files, small, large);
	assert_silent("swap a b");
	assert_swapped(&files, 0, 0, 0, EXCHRANGE_TO_EOF);
	drop_files(&files);
}

static void test_swap_ranges_with_units(void **state)
{
	struct files files;

	(void)state;
	make_files(&files, large, large);
	assert_silent("swap --offset1 8k --offset2=40K --length 12288 a b");
	assert_swapped(&files, 8192, 40960, 12288, 0);
	drop_files(&files);
}

static void test_swap_tails(void **state)
{
	struct files files;

	(void)state;
	make_files(&files, small, large);
	assert_silent("swap --offset1 4k --offset2 0 a b --dsync");
	assert_swapped(&files, 4096, 0, 0, EXCHRANGE_TO_EOF);
	drop_files(&files);
}

static void test_swap_what_file1_wrote(void **state)
{
	static const struct file_spec sparse = { SHAPE_HOLES, 3 * BLOCK };
	static const struct file_spec plain = { SHAPE_PLAIN, 3 * BLOCK };
	struct files files;

	(void)state;
	make_files(&files, sparse, plain);
	assert_silent("swap --file1-written a b");
	model_exchange(&files.before[0], &files.before[1], 0, 0, BLOCK, 0);
	assert_swapped(&files, 2 * BLOCK, 2 * BLOCK, BLOCK, 0);
	drop_files(&files);
}

/* c and d are other files, beside a and b. */
#define MAKE_MORE	"cd %s && seq 3000 >c && seq 9 >d && cp c c.was && cp d d.was"

static void test_swap_several_pairs(void **state)
{
	struct files files;

	(void)state;
	make_files(&files, small, large);
	assert_int_equal(run(MAKE_MORE, mount_point), 0);
	assert_silent("swap --dry-run a b c d");
	assert_unchanged(&files.before[0], files.fd[0]);
	assert_unchanged(&files.before[1], files.fd[1]);
	assert_int_equal(run("cd %s && cmp c c.was && cmp d d.was", mount_point), 0);
	assert_silent("swap --dsync a b c d");
	assert_swapped(&files, 0, 0, 0, EXCHRANGE_TO_EOF);
	assert_int_equal(run("cd %s && cmp c d.was && cmp d c.was", mount_point), 0);
	drop_files(&files);
}

/* As many as there may be. */
static void test_swap_32_pairs(void **state)
{
	(void)state;
	assert_int_equal(run("cd %s && rm -rf many && mkdir many && cd many && for i in $(seq 64); do echo $i >$i; done"
			     " && exchrange swap $(seq 64) && for i in $(seq 2 2 64); do"
			     " test $(cat $i) = $((i - 1)) && test $(cat $((i - 1))) = $i || exit 1; done",
			     mount_point), 0);
}

static void test_dry_run_changes_nothing(void **state)
{
	struct files files;

	(void)state;
	make_files(&files, small, large);
	assert_silent("swap --dry-run a b");
	assert_unchanged(&files.before[0], files.fd[0]);
	assert_unchanged(&files.before[1], files.fd[1]);
	drop_files(&files);
}

static void test_symbolic_links_are_followed(void **state)
{
	struct files files;

	(void)state;
	make_files(&files, small, large);
	assert_int_equal(run("ln -sfn b %s/link", mount_point), 0);
	assert_silent("swap a link");
	assert_swapped(&files, 0, 0, 0, EXCHRANGE_TO_EOF);
	drop_files(&files);
}

static void test_dashed_names_after_two_dashes(void **state)
{
	struct files files;

	(void)state;
	make_files(&files, small, large);
	assert_int_equal(run("cd %s && ln -f a ./--length && ln -f b ./-b",
			     mount_point), 0);
	assert_silent("swap -- --length -b");
	assert_swapped(&files, 0, 0, 0, EXCHRANGE_TO_EOF);
	drop_files(&files);
}

static const struct wrong wrongs[] = {
	/* How the command line is wrong */
	{ "frobnicate a b", 2, "unknown subcommand 'frobnicate'", "swap" },
	{ "swap", 2, "swap takes two files, not 0", "usage: exchrange swap" },
	{ "swap a", 2, "swap takes two files, not 1", "--help" },
	{ "swap a b c", 2, "swap takes two files, not 3", "--help" },
	{ "swap --frob a b", 2, "unknown option '--frob'", "--help" },
	{ "swap -x a b", 2, "unknown option '-x'", "--help" },
	{ "swap -xyz a b", 2, "unknown option '-x'", "--help" },
	{ "swap --dsync -xyz a b", 2, "unknown option '-x'", "--help" },
	{ "swap --dsync=yes a b", 2, "'--dsync=yes'", "--help" },
	{ "swap a b --length", 2, "--length needs a value", "--help" },
	{ "swap --length '' a b", 2, "--length ''", "not a number of bytes" },
	{ "swap --length 4q a b", 2, "--length '4q'", "not a number of bytes" },
	{ "swap --length 4kk a b", 2, "--length '4kk'", "not a number" },
	{ "swap --length -1 a b", 2, "--length '-1'", "not a number" },
	{ "swap --offset1 ' 1' a b", 2, "--offset1 ' 1'", "not a number" },
	{ "swap --offset2 9999999999g a b", 2, "--offset2 '9999999999g'",
	  "not a number" },
	{ "swap --offset2 18446744073709551616 a b", 2, "--offset2 '1844",
	  "not a number" },
	{ "swap a b c d e", 2, "swap takes two files, not 5, or several pairs", "--help" },
	{ "swap --offset1 4k a b c d", 2, "--offset1 goes with two files, not with 4", "--help" },
	{ "swap a b c d --length 4k", 2, "--length goes with two files, not with 4", "--help" },
	{ "swap $(seq 66)", 2, "swap takes 32 pairs of files at most, not 33", "--help" },
	{ "query", 2, "query takes at least one file", "usage: exchrange query" },
	{ "query --xml a", 2, "unknown option '--xml'", "--help" },

	/* Which file is wrong, and how */
	{ "swap a missing", 1, "missing: no such file", "" },
	{ "swap missing b", 1, "missing: no such file", "" },
	{ "swap '' b", 1, ": no such file", "" },
	{ "swap a .", 1, ".: is a directory", "name a file" },
	{ "swap a b/c", 1, "b/c: Not a directory", "" },
	{ "swap a fifo", 1, "fifo: is not a regular file", "" },
	{ "swap /dev/null b", 1, "/dev/null: is not a regular file", "" },
	{ "swap a immutable", 1, "immutable: is immutable or append-only",
	  "chattr -i" },
	{ "swap a append", 1, "append: is immutable or append-only",
	  "chattr -i" },
	{ "swap swapfile a", 1, "swapfile: is a swap file", "swapoff" },
	{ "swap a swapfile", 1, "swapfile: is a swap file", "swapoff" },
	{ "swap a running", 1, "running: is", "program that is running" },
	{ "swap a /tmp/other", 1, "not on the same mount", "/tmp" },
	{ "swap a bound/a", 1, "not on the same mount", "/bound" },
	{ "swap a readonly/b", 1, "readonly/b: is on a read-only file system",
	  "remount,rw" },
	{ "swap /tmp/other /tmp/other2", 1, "there is no back end for tmpfs",
	  "only for XFS and btrfs" },

	/* Which of several pairs, and how */
	{ "swap a b c missing", 1, "missing: no such file", "none of the 2 pairs was swapped" },
	{ "swap a b c immutable", 1, "immutable: is immutable or append-only",
	  "none of the 2 pairs was swapped" },
	{ "swap a b c swapfile", 1, "swapfile: is a swap file", "none of the 2 pairs was swapped" },
	{ "swap c d a running", 1, "running: is", "none of the 2 pairs was swapped" },
	{ "swap a b c c", 1, "c and c are one file", "none of the 2 pairs was swapped" },
	{ "swap a a b c", 1, "a and a are one file", "none of the 2 pairs was swapped" },
	{ "swap a b c a", 1, "c and a: a is in an earlier pair too, as a",
	  "none of the 2 pairs was swapped" },
	{ "swap a b c d b ./c", 1, "b and ./c: b is in an earlier pair too, as b",
	  "none of the 3 pairs was swapped" },
	{ "swap a b c bound/d", 1, "not on the same mount", "none of the 2 pairs was swapped" },
	{ "swap a b bound/c bound/d", 1, "not on the same mount", "bound/c" },
	{ "swap a b /tmp/other /tmp/other2", 1, "not on the same mount", "/tmp" },
	{ "swap /tmp/other /tmp/other2 /tmp/other3 /tmp/other4", 1,
	  "there is no back end for tmpfs", "none of the 2 pairs was swapped" },

	/* Which range is wrong, and how */
	{ "swap --offset1 2m a b", 1, "a: --offset1 2097152 is past its end",
	  "it has 5000 bytes" },
	{ "swap --offset2 2m a b", 1, "b: --offset2 2097152 is past its end",
	  "it has 1048576 bytes" },
	{ "swap --length 8k a b", 1, "a: --length 8192 from byte 0 goes past",
	  "it has 5000 bytes" },
	{ "swap --offset2 100 a b", 1, "b: --offset2 100 is not a multiple",
	  "4096" },
	{ "swap --length 100 a b", 1, "--length 100 is not a multiple", "4096" },
	{ "swap --length 5000 a b", 1, "--length 5000 is not a multiple",
	  "the end of both files" },
	{ "swap a a", 1, "are one file", "overlap" },
	{ "swap b --offset2 8k --length 12k b", 1, "are one file", "overlap" },

	{ "swap b --offset2 8k --length 100 b", 1,
	  "--length 100 is not a multiple", "4096" },

	{ "query missing", 1, "missing: no such file", "" },
	{ "query .", 1, ".: is a directory", "" },
	{ "query /dev/null", 1, "/dev/null: is not a regular file", "" },
	{ "query /tmp/other", 1, "there is no back end for tmpfs", "" },
};

/* What the rows above name. */
static int make_surroundings(void **state)
{
	(void)state;
	return run("cd %s && rm -rf fifo immutable append swapfile running && mkfifo fifo"
		   " && touch immutable append && chattr +i immutable && chattr +a append"
		   " && touch swapfile && { [ %s != btrfs ] || chattr +C swapfile; }"
		   " && dd if=/dev/zero of=swapfile bs=64k count=1 status=none"
		   " && chmod 600 swapfile && mkswap -q swapfile && swapon swapfile"
		   " && cp /bin/sleep running && { ./running 10000 >/dev/null 2>&1 & }"
		   " ; cd %s && mkdir -p bound readonly && mount --bind . bound"
		   " && mount --bind . readonly && mount -o remount,bind,ro readonly"
		   " && head -c 9000 /dev/urandom >/tmp/other && for i in 2 3 4; do cp /tmp/other /tmp/other$i; done"
		   " && cp /etc/passwd c && cp /etc/group d",
		   mount_point, kind->name, mount_point);
}

static int end_surroundings(void **state)
{
	(void)state;
	return run("cd %s && chattr -i immutable && chattr -a append && swapoff swapfile"
		   " && umount bound readonly && pkill -x running", mount_point);
}

static void test_wrong(void **state)
{
	const struct wrong *wrong = *state;
	struct files files;

	make_files(&files, small, large);
	assert_complains(wrong->arguments, wrong->status, wrong->text1,
			 wrong->text2);
	assert_unchanged(&files.before[0], files.fd[0]);
	assert_unchanged(&files.before[1], files.fd[1]);
	drop_files(&files);
}

static int swap_without_rights(void *argument)
{
	struct outcome outcome = run_and_keep("cd %s && exchrange swap a b",
					      mount_point);
	bool said = strstr(outcome.err, argument);
	int status = outcome.status;

	drop_outcome(&outcome);
	return said ? status : 200;
}

static void test_no_rights(void **state)
{
	struct files files;

	(void)state;
	make_files(&files, small, large);
	assert_int_equal(fchmod(files.fd[1], 0444), 0);
	assert_int_equal(as_nobody(swap_without_rights,
				   "b: permission denied"), 1);
	assert_int_equal(fchmod(files.fd[1], 0644), 0);
	/* With them, nobody may swap what is nobody's. */
	assert_int_equal(as_nobody(swap_without_rights, ""), 0);
	drop_files(&files);
}

static int swap_with_limit(void *argument)
{
	struct outcome outcome =
		run_and_keep("ulimit -f 8; cd %s && exchrange swap --offset1 512k --offset2 512k a b",
			     mount_point);
	bool said = strstr(outcome.err, argument);
	int status = outcome.status;

	drop_outcome(&outcome);
	return said ? status : 200;
}

/* The limit comes with a signal, which must not keep the command from explaining. */
static void test_file_size_limit(void **state)
{
	struct files files;

	(void)state;
	make_files(&files, large, large);
	assert_int_equal(as_nobody(swap_with_limit, "ulimit -f"), 1);
	assert_unchanged(&files.before[0], files.fd[0]);
	drop_files(&files);
}

/* What only btrfs has: files without checksums, and read-only subvolumes. */
static void test_btrfs_refusals(void **state)
{
	(void)state;
	assert_int_equal(run("cd %s && touch nocow && chattr +C nocow"
			     " && head -c 9000 /dev/urandom >nocow && cp --reflink=never nocow cow"
			     " && btrfs -q subvolume create frozen && cp cow frozen/file"
			     " && btrfs property set frozen ro true",
			     mount_point), 0);
	assert_complains("swap cow nocow", 1, "has checksums", "lsattr");
	assert_complains("swap cow frozen/file", 1,
			 "frozen/file: is on a read-only file system, or in a read-only subvolume",
			 "ro false");
	assert_int_equal(run("btrfs property set %s/frozen ro false && btrfs -q subvolume delete %s/frozen",
			     mount_point, mount_point), 0);
}

static void test_query_text(void **state)
{
	struct outcome outcome;
	struct files files;

	(void)state;
	make_files(&files, small, large);
	outcome = exchrange("query a b");
	assert_int_equal(outcome.status, 0);
	assert_string_equal(outcome.err, "");
	assert_non_null(strstr(outcome.out, "a: can be swapped\n"));
	assert_non_null(strstr(outcome.out, "b: can be swapped\n"));
	assert_non_null(strstr(outcome.out, "through /dev/exchrange"));
	assert_non_null(strstr(outcome.out, "4096 bytes"));
	assert_non_null(strstr(outcome.out,
			       "to-eof dsync dry-run file1-written"));
	drop_outcome(&outcome);
	drop_files(&files);
}

static const char *member(json_object *object, const char *name)
{
	json_object *value;

	assert_true(json_object_object_get_ex(object, name, &value));
	return value ? json_object_get_string(value) : "null";
}

/* With names that need care: json-c reads what the command wrote. */
static void test_query_json(void **state)
{
	struct outcome outcome;
	json_object *array;

	(void)state;
	assert_int_equal(run("cd %s && touch 'a \"quoted\"\nname'", mount_point),
			 0);
	outcome = exchrange("query --json 'a \"quoted\"\nname' /tmp");
	assert_int_equal(outcome.status, 1);
	array = json_tokener_parse(outcome.out);
	assert_non_null(array);
	assert_int_equal(json_object_array_length(array), 1);
	assert_string_equal(member(json_object_array_get_idx(array, 0), "file"),
			    "a \"quoted\"\nname");
	assert_string_equal(member(json_object_array_get_idx(array, 0), "backend"),
			    kind->backend_name);
	assert_string_equal(member(json_object_array_get_idx(array, 0), "route"),
			    "device");
	assert_string_equal(member(json_object_array_get_idx(array, 0), "alignment"),
			    "4096");
	assert_string_equal(member(json_object_array_get_idx(array, 0), "reason"),
			    "null");
	json_object_put(array);
	drop_outcome(&outcome);
}

static void assert_result(const char *arguments, int status, const char *pair1,
			  const char *pair2)
{
	struct outcome outcome = exchrange(arguments);
	json_object *array = json_tokener_parse(outcome.out);

	assert_int_equal(outcome.status, status);
	assert_non_null(array);
	assert_string_equal(member(json_object_array_get_idx(array, 0), "result"), pair1);
	if (pair2) {
		json_object *second = json_object_array_get_idx(array, 1);

		assert_string_equal(member(second, "file1"), "c");
		assert_string_equal(member(second, "result"), pair2);
	}
	json_object_put(array);
	drop_outcome(&outcome);
}

static void test_swap_json(void **state)
{
	struct files files;

	(void)state;
	make_files(&files, small, large);
	assert_int_equal(run(MAKE_MORE, mount_point), 0);
	assert_result("swap --json --dry-run a b c d", 0, "would-swap", "would-swap");
	assert_result("swap --json a b c missing", 1, "not-swapped", "refused");
	assert_result("swap --json a b c immutable", 1, "not-swapped", "refused");
	assert_result("swap --json a b c swapfile", 1, "not-swapped", "refused");
	assert_result("swap --json a swapfile c d", 1, "refused", "not-swapped");
	assert_result("swap --json a a", 1, "refused", NULL);
	assert_unchanged(&files.before[0], files.fd[0]);
	assert_result("swap --json a b c d", 0, "swapped", "swapped");
	assert_swapped(&files, 0, 0, 0, EXCHRANGE_TO_EOF);
	assert_result("swap --json a b", 0, "swapped", NULL);
	drop_files(&files);
}

static void test_help_and_version(void **state)
{
	struct outcome help = exchrange("--help");
	struct outcome swap = exchrange("swap --help");
	struct outcome query = exchrange("query --help");
	struct outcome version = exchrange("--version");
	struct outcome late = exchrange("swap a b --help");
	struct outcome none = exchrange("");

	(void)state;
	assert_int_equal(help.status, 0);
	assert_non_null(strstr(help.out, "usage: exchrange"));
	assert_int_equal(swap.status, 0);
	assert_non_null(strstr(swap.out, "--file1-written"));
	assert_int_equal(late.status, 0);
	assert_string_equal(late.out, swap.out);
	assert_int_equal(query.status, 0);
	assert_non_null(strstr(query.out, "--json"));
	assert_int_equal(version.status, 0);
	assert_string_equal(version.out, "exchrange " EXCHRANGE_VERSION "\n");
	assert_int_equal(none.status, 2);
	assert_non_null(strstr(none.err, "usage: exchrange"));
	drop_outcome(&help);
	drop_outcome(&swap);
	drop_outcome(&query);
	drop_outcome(&version);
	drop_outcome(&late);
	drop_outcome(&none);
}

static void test_full_output_is_an_error(void **state)
{
	struct files files;

	(void)state;
	make_files(&files, small, large);
	assert_complains("query a >/dev/full", 1, "cannot write", "");
	drop_files(&files);
}

static void test_without_the_module(void **state)
{
	struct files files;
	int other;

	(void)state;
	make_files(&files, small, large);
	close(device);
	assert_int_equal(syscall(SYS_delete_module, "exchrange", O_NONBLOCK), 0);

	/* XFS can do it alone; another file system needs the module. */
	if (kind->alone) {
		assert_silent("swap a b");
		assert_swapped(&files, 0, 0, 0, EXCHRANGE_TO_EOF);
	} else {
		assert_complains("swap a b", 1, "/dev/exchrange is not there",
				 "modprobe exchrange");
	}
	/* And so do several pairs. */
	assert_complains("swap a b c d", 1, "a: cannot be swapped together with others without the module",
			 "none of the 2 pairs was swapped");
	other = open("/root/other", O_RDWR | O_CREAT, 0600);
	assert_true(other >= 0);
	close(other);
	assert_complains("swap /root/other /root/other", 1,
			 "/dev/exchrange is not there", "modprobe exchrange");
	assert_complains("query /root/other", 1,
			 "/dev/exchrange is not there", "modprobe exchrange");

	assert_int_equal(run("modprobe exchrange"), 0);
	device = exchrange_open();
	assert_true(device >= 0);
	drop_files(&files);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest others[] = {
		cmocka_unit_test(test_swap_whole_files),
		cmocka_unit_test(test_swap_ranges_with_units),
		cmocka_unit_test(test_swap_tails),
		cmocka_unit_test(test_swap_what_file1_wrote),
		cmocka_unit_test(test_swap_several_pairs),
		cmocka_unit_test(test_swap_32_pairs),
		cmocka_unit_test(test_swap_json),
		cmocka_unit_test(test_dry_run_changes_nothing),
		cmocka_unit_test(test_symbolic_links_are_followed),
		cmocka_unit_test(test_dashed_names_after_two_dashes),
		cmocka_unit_test(test_no_rights),
		cmocka_unit_test(test_file_size_limit),
		cmocka_unit_test(test_query_text),
		cmocka_unit_test(test_query_json),
		cmocka_unit_test(test_help_and_version),
		cmocka_unit_test(test_full_output_is_an_error),
		cmocka_unit_test(test_without_the_module),
		cmocka_unit_test(test_btrfs_refusals),
	};
	struct table table = {
		.group		= "command",
		.rows		= wrongs,
		.row_size	= sizeof(wrongs[0]),
		.row_count	= COUNT(wrongs),
		.test		= test_wrong,
		.others		= others,
		.other_count	= COUNT(others),
		.setup		= make_surroundings,
		.teardown	= end_surroundings,
	};

	start(argc, argv);
	/* The last one is of btrfs alone. */
	if (!is_btrfs())
		table.other_count--;
	return run_table(&table);
}
