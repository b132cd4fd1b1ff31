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

static void test_commit_pages(void **state)
{
	(void)state;
	assert_int_equal(run("cd %s && head -c 400000 /dev/urandom >pages && cp pages model"
			     " && for page in 3 50 96; do { printf 'a page'; head -c 4090 /dev/zero; }"
			     " | dd of=model bs=4096 seek=$page conv=notrunc status=none; done"
			     " && " EXAMPLES "commit_pages pages 'a page' 3 50 96 && cmp pages model"
			     " && ! " EXAMPLES "commit_pages pages other 3 97 2>/dev/null && cmp pages model",
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
		cmocka_unit_test(test_read_whole),
		cmocka_unit_test(test_mapped_config),
	};

	start(argc, argv);
	return run_as_ktap("examples", tests, NULL, NULL);
}
