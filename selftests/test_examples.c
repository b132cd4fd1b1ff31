// SPDX-License-Identifier: GPL-2.0
/* The example programs of the library do what they say. */
#include <stdio.h>
#include <stdlib.h>

#include "common.h"

#define EXAMPLES	"/usr/libexec/exchrange/"

static void test_save_config(void **state)
{
	(void)state;
	assert_int_equal(run("cd %s && rm -f conf link && " EXAMPLES "save_config conf 80 && grep -qx 'port = 80' conf"
			     " && ln conf link && " EXAMPLES "save_config conf 8080 && grep -qx 'port = 8080' link"
			     " && test $(wc -l <conf) = 2", mount_point), 0);
	assert_int_equal(run("! " EXAMPLES "save_config /dev/null 80 2>/dev/null"), 0);
}

/* A file of random pages, and a model, in which page() does what a commit does. */
#define PAGES	"head -c 400000 /dev/urandom >pages && cp pages model && sync pages" \
		" && page() { { printf '%%s' \"$2\"; head -c $((4096 - ${#2})) /dev/zero; }" \
		" | dd of=model bs=4096 seek=$1 conv=notrunc status=none; } && "

static void test_commit_pages(void **state)
{
	(void)state;
	/* One page twice in a commit, one in two commits, and one that is in none. */
	assert_int_equal(run("cd %s && " PAGES
			     "printf '%%s\n' '3 one' '50 two' '96 three' '3 four' '' '50 five' '0 six' '' '7 lost'"
			     " | " EXAMPLES "commit_pages pages >said && printf 'committed 3\ncommitted 2\n' | cmp - said"
			     " && page 3 four && page 50 five && page 96 three && page 0 six && cmp pages model",
			     mount_point), 0);
	/* As many as there are slots, again and again; nothing of a commit that fails. */
	assert_int_equal(run("cd %s && head -c 1052672 /dev/zero >many"
			     " && for turn in 1 2 3; do for page in $(seq 0 255); do echo $page turn $turn; done; echo; done"
			     " | " EXAMPLES "commit_pages many >said && test $(grep -cx 'committed 256' said) = 3"
			     " && test $(tr '\\0' '\n' <many | grep -cx 'turn 3') = 256"
			     " && ! { seq -f '%%g more' 0 256; echo; } | " EXAMPLES "commit_pages many 2>/dev/null"
			     " && ! tr '\\0' '\n' <many | grep -qx more", mount_point), 0);
	assert_int_equal(run("cd %s && cp pages model && ! printf '%%s\n' '3 other' '97 none' '' | " EXAMPLES "commit_pages pages 2>/dev/null"
			     " && ! echo word | " EXAMPLES "commit_pages pages 2>/dev/null"
			     " && ! " EXAMPLES "commit_pages /dev/null 2>/dev/null </dev/null && cmp pages model",
			     mount_point), 0);
}

/* Its blocks and those of the slots change places, and no other takes part. */
static void test_commit_pages_allocates_nothing(void **state)
{
	(void)state;
	if (is_btrfs())
		skip();
	assert_int_equal(run("cd %s && " PAGES "places() { filefrag -v pages | grep -v '^File size'; }; before=$(places)"
			     " && { printf '%%s\n' '3 one' '50 two' '96 three' ''; } | " EXAMPLES "commit_pages pages >/dev/null"
			     " && test \"$(places)\" != \"$before\" && before=$(places)"
			     " && for turn in 1 2; do printf '%%s\n' '3 one' '50 two' '96 three' ''; done | " EXAMPLES "commit_pages pages >/dev/null"
			     " && test \"$(places)\" = \"$before\"", mount_point), 0);
}

/* The file system on the other disk has the same name as its original. */
#define FORGET	"{ ! btrfs device scan --forget 2>/dev/null || true; }"

/*
 * What the disk holds when a commit was said to be there is the file as it was then, without
 * the pages that are in slots only.
 */
static void test_commit_pages_survive_a_crash(void **state)
{
	int copied, survived;

	(void)state;
	enter_scratch(kind->mkfs_small, "");
	copied = run("cd %s && " PAGES "rm -f /tmp/commands && mkfifo /tmp/commands && >/tmp/said"
		     " && { " EXAMPLES "commit_pages pages </tmp/commands >/tmp/said & } && exec 3>/tmp/commands"
		     " && until_said() { i=0; until [ $(grep -c committed /tmp/said) = $1 ]; do"
		     " sleep 0.05; i=$((i + 1)); [ $i -lt 2000 ] || return 1; done; }"
		     " && printf '%%s\n' '3 one' '50 two' '96 three' '' >&3 && until_said 1"
		     " && printf '%%s\n' '3 four' '70 five' '' '50 lost' >&3 && until_said 2"
		     " && dd if=$SCRATCH_DEV1 of=$SCRATCH_DEV2 bs=1M count=300 iflag=direct oflag=direct status=none"
		     " && exec 3>&- && wait && page 3 four && page 50 two && page 70 five && page 96 three && cp model /tmp/model",
		     mount_point);
	unmount_scratch();
	survived = run(FORGET " && mount $SCRATCH_DEV2 " SCRATCH " && { cmp " SCRATCH "/pages /tmp/model; ret=$?; umount " SCRATCH
		       "; " FORGET "; wipefs -qa $SCRATCH_DEV2; exit $ret; }");
	check_scratch();
	leave_scratch();
	assert_int_equal(copied, 0);
	assert_int_equal(survived, 0);
}

static void test_save_pair(void **state)
{
	(void)state;
	assert_int_equal(run("cd %s && rm -f site.* link && echo old >site.crt && echo old >site.key && chmod 600 site.key && ln site.key link"
			     " && { printf -- '-----BEGIN %%s-----\nAAAA\n-----END %%s-----\n' CERTIFICATE CERTIFICATE 'PRIVATE KEY' 'PRIVATE KEY'; } >pem"
			     " && " EXAMPLES "save_pair site.crt site.key <pem && cat site.crt link | cmp - pem && test $(stat -c %%a site.key) = 600"
			     " && cp site.crt crt && ! head -n 3 pem | " EXAMPLES "save_pair site.crt site.key 2>/dev/null"
			     " && ! " EXAMPLES "save_pair site.crt missing <pem 2>/dev/null && cmp site.crt crt && cat site.crt link | cmp - pem",
			     mount_point), 0);
}

/* Beside one who swaps without a pause, each reading is of one of the two. */
static void test_read_whole(void **state)
{
	(void)state;
	assert_int_equal(run("cd %s && head -c 3000000 /dev/zero | tr '\\0' a >a && head -c 2000000 /dev/zero | tr '\\0' b >b"
			     " && cp a a.was && cp b b.was"
			     " && { while exchrange swap a b; do sleep 0.3; done & } && swapper=$!"
			     " && for i in $(seq 15); do " EXAMPLES "read_whole a >/tmp/read || break;"
			     " cmp -s /tmp/read a.was || cmp -s /tmp/read b.was || { echo torn; break; }; done"
			     " ; kill $swapper; wait; cmp -s /tmp/read a.was || cmp -s /tmp/read b.was",
			     mount_point), 0);
}

/*
 * Prints each of the values in turn, of files that become longer and shorter, and ends
 * when the key is gone.
 */
static void test_mapped_config(void **state)
{
	(void)state;
	assert_int_equal(run("cd %s && rm -f c && printf 'size = 3\nport = 1\n' >c && >/tmp/values"
			     " && { " EXAMPLES "mapped_config c port >/tmp/values & } && reader=$!"
			     " && value() { i=0; until [ \"$(tail -n 1 /tmp/values)\" = $1 ]; do"
			     " sleep 0.05; i=$((i + 1)); [ $i -lt 2000 ] || return 1; done; }"
			     " && value 1 && { seq 9000; echo port = 22; } | exchrange write c && value 22"
			     " && printf 'port = 333\n' | exchrange write c && value 333"
			     " && { seq 20000; echo port = 4; } | exchrange write c && value 4"
			     " && echo nothing | exchrange write c && wait $reader"
			     " && [ \"$(echo $(cat /tmp/values))\" = '1 22 333 4' ]"
			     " && ! " EXAMPLES "mapped_config /dev/null port 2>/dev/null",
			     mount_point), 0);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_save_config),
		cmocka_unit_test(test_commit_pages),
		cmocka_unit_test(test_commit_pages_allocates_nothing),
		cmocka_unit_test(test_commit_pages_survive_a_crash),
		cmocka_unit_test(test_save_pair),
		cmocka_unit_test(test_read_whole),
		cmocka_unit_test(test_mapped_config),
	};

	start(argc, argv);
	return run_as_ktap("examples", tests, NULL, NULL);
}
