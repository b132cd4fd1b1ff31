// SPDX-License-Identifier: GPL-2.0
/*
 * What the command prints, for files of any name: JSON that everybody reads, lines that no
 * name can forge, nothing that a terminal obeys.
 */
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scripts.h"

static int make_folder(void **state)
{
	(void)state;
	return enter_folder("output");
}

/* A name, what JSON says of it, and in base64 where that is not all. */
static const struct name {
	const char	*name;		/* the test's */
	const char	*bytes;
	const char	*text;
	const char	*base64;
} names[] = {
	{ "plain", "site.conf", "site.conf", NULL },
	{ "UTF-8", "caf\xc3\xa9 \xf0\x9f\x90\xa7", "caf\xc3\xa9 \xf0\x9f\x90\xa7", NULL },
	{ "latin-1", "caf\xe9", "caf\xef\xbf\xbd", "Y2Fm6Q==" },
	{ "latin-1, another", "caf\xe8", "caf\xef\xbf\xbd", "Y2Fm6A==" },
	{ "quotes and controls", "q\"\\\x1b[31m\x7f\t", "q\"\\\x1b[31m\x7f\t", NULL },
	{ "a newline", "a\nb", "a\nb", NULL },
	{ "C1 controls", "a\302\23331mb", "a\302\23331mb", NULL },
	{ "too long an encoding", "a\xc0\xaf", "a\xef\xbf\xbd\xef\xbf\xbd", "YcCv" },
	{ "half a character", "a\xe2\x82", "a\xef\xbf\xbd\xef\xbf\xbd", "YeKC" },
	{ "a surrogate", "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", "7aCA" },
};

static void make_named(const char *bytes)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/output/%s", mount_point, bytes);
	close(open_path(path, O_RDWR | O_CREAT));
}

/* Nothing that a terminal obeys, but the ends of lines; and UTF-8, which iconv knows. */
static void assert_harmless(const char *text)
{
	const unsigned char *at = (const unsigned char *)text;
	FILE *file = fopen("/tmp/printed", "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(run("iconv -f UTF-8 -t UTF-16 /tmp/printed >/dev/null"), 0);
	for (; *at; at++)
		if ((*at < 0x20 && *at != '\n') || *at == 0x7f ||
		    (at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0))
			fail_msg("prints byte %02x of '%s'", *at, text);
}

static const char *member(json_object *object, const char *name)
{
	json_object *value;

	return json_object_object_get_ex(object, name, &value) ?
	       json_object_get_string(value) : NULL;
}

static json_object *parse(const char *text)
{
	json_tokener *tokener = json_tokener_new();
	json_object *object;

	json_tokener_set_flags(tokener, JSON_TOKENER_VALIDATE_UTF8);
	object = json_tokener_parse_ex(tokener, text, strlen(text));
	if (!object)
		fail_msg("is no JSON: %s", text);
	json_tokener_free(tokener);
	return object;
}

static void assert_file(json_object *object, const struct name *name)
{
	const char *base64 = member(object, "file_base64");

	assert_string_equal(member(object, "file"), name->text);
	assert_true(!base64 == !name->base64);
	if (base64)
		assert_string_equal(base64, name->base64);
}

static struct outcome exchrange(const char *subcommand, const char *bytes)
{
	struct outcome outcome;

	setenv("NAME", bytes, 1);
	outcome = run_and_keep("cd %s/output && exchrange %s \"$NAME\"", mount_point,
			       subcommand);
	unsetenv("NAME");
	return outcome;
}

static void test_json(void **state)
{
	static const char * const subcommands[] = { "query --json", "start-commit --json" };
	const struct name *name = *state;
	size_t i;

	assert_int_equal(make_folder(NULL), 0);
	make_named(name->bytes);
	for (i = 0; i < COUNT(subcommands); i++) {
		struct outcome outcome = exchrange(subcommands[i], name->bytes);
		json_object *object = parse(outcome.out), *whole = object;

		assert_int_equal(outcome.status, 0);
		assert_harmless(outcome.out);
		if (json_object_is_type(object, json_type_array))
			object = json_object_array_get_idx(object, 0);
		assert_file(object, name);
		json_object_put(whole);
		drop_outcome(&outcome);
	}
}

/* A line an object, when it happens. */
static void test_json_of_watch(void **state)
{
	const struct name *name = &names[2];
	struct outcome outcome;
	json_object *object;
	char *line;

	(void)state;
	make_named(name->bytes);
	make_named(names[5].bytes);
	setenv("NAME1", name->bytes, 1);
	setenv("NAME2", names[5].bytes, 1);
	outcome = run_and_keep("cd %s/output && exchrange watch --json \"$NAME1\" \"$NAME2\" >lines & w=$!; cd %s/output; " WATCHING
			       "for n in \"$NAME1\" \"$NAME2\"; do echo x | exchrange write \"$n\"; sleep 0.5; done; "
			       UNTIL("test $(wc -l <lines) -ge 2") "kill $w; wait $w; cat lines", mount_point, mount_point);
	line = strchr(outcome.out, '\n');
	assert_non_null(line);
	*line++ = '\0';
	object = parse(outcome.out);
	assert_file(object, name);
	json_object_put(object);
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
	object = parse(line);
	assert_file(object, &names[5]);
	json_object_put(object);
	drop_outcome(&outcome);
}

/* --- lines ----------------------------------------------------------------------------- */

static const struct name hostile = {
	"", "x: exchange 1\n2026-01-01T00:00:00.000000000+00:00 passwd\x1b]0;owned\x07\x1b[2J\302\2331m\xff\\n",
};

static void test_a_message_is_a_line(void **state)
{
	static const char * const failing[] = {
		"write", "edit", "start-commit", "watch", "query", "swap f", "frobnicate",
		"swap --length", "write --if-unchanged-since", "write f", "commit x f",
		"swap f f", "swap f f f", "apply", "apply f", "apply .",
	};
	char path[300];
	size_t i;

	(void)state;
	snprintf(path, sizeof(path), "%s/output/%s", mount_point, hostile.bytes);
	assert_int_equal(mkdir(path, 0755), 0);
	for (i = 0; i < COUNT(failing); i++) {
		struct outcome outcome = exchrange(failing[i], hostile.bytes);
		const char *newline = strchr(outcome.err, '\n');

		assert_int_not_equal(outcome.status, 0);
		assert_harmless(outcome.err);
		assert_harmless(outcome.out);
		assert_int_equal(strncmp(outcome.err, "exchrange: ", 11), 0);
		assert_non_null(newline);
		/* What comes after it is ours. */
		if (newline[1] && strncmp(newline + 1, "usage:", 6) &&
		    strncmp(newline + 1, "exchrange: ", 11))
			fail_msg("%s: says %s", failing[i], outcome.err);
		drop_outcome(&outcome);
	}
}

static void test_a_line_of_query_and_of_watch(void **state)
{
	struct outcome outcome;

	(void)state;
	make_named(hostile.bytes);
	outcome = exchrange("query", hostile.bytes);
	assert_harmless(outcome.out);
	assert_non_null(strstr(outcome.out, "x: exchange 1\\n2026-01-01T00:00:00.000000000+00:00 passwd\\x1b]0;owned\\x07"
			       "\\x1b[2J\\xc2\\x9b1m\\xff\\\\n: can be swapped\n"));
	drop_outcome(&outcome);

	setenv("NAME", hostile.bytes, 1);
	outcome = run_and_keep("cd %s/output && exchrange watch \"$NAME\" >lines & w=$!; cd %s/output; " WATCHING
			       "echo x | exchrange write \"$NAME\"; " UNTIL("test -s lines")
			       "kill $w; wait $w; cat lines",
			       mount_point, mount_point);
	assert_harmless(outcome.out);
	assert_ptr_equal(strchr(outcome.out, '\n'), outcome.out + strlen(outcome.out) - 1);
	assert_null(strstr(outcome.out, "\n2026"));
	assert_non_null(strstr(outcome.out, "\\\\n: exchange 1\n"));
	drop_outcome(&outcome);
}

/* In two directories, with other contents. */
static void make_both(const char *bytes)
{
	setenv("NAME", bytes, 1);
	check("mkdir -p from to && echo new >from/\"$NAME\" && echo old >to/\"$NAME\"");
	unsetenv("NAME");
}

static void test_what_apply_prints(void **state)
{
	struct outcome outcome;
	json_object *array;

	(void)state;
	make_both(hostile.bytes);
	outcome = exchrange("apply from to #", "");
	assert_harmless(outcome.out);
	assert_ptr_equal(strstr(outcome.out, "x: exchange 1\\n2026-01-01"), outcome.out);
	assert_non_null(strstr(outcome.out, "\\\\n\n1 file changed, 0 were equal\n"));
	drop_outcome(&outcome);

	check("rm -r from to");
	make_both(names[2].bytes);
	outcome = exchrange("apply --json from to #", "");
	assert_harmless(outcome.out);
	array = parse(outcome.out);
	assert_file(json_object_array_get_idx(array, 0), &names[2]);
	json_object_put(array);
	drop_outcome(&outcome);
}

static void test_json_of_swap(void **state)
{
	const struct name *name = &names[2];
	struct outcome outcome;
	json_object *array, *pair;

	(void)state;
	make_named(name->bytes);
	outcome = exchrange("swap --json f", name->bytes);
	assert_int_equal(outcome.status, 0);
	array = parse(outcome.out);
	pair = json_object_array_get_idx(array, 0);
	assert_string_equal(member(pair, "file1"), "f");
	assert_null(member(pair, "file1_base64"));
	assert_string_equal(member(pair, "file2"), name->text);
	assert_string_equal(member(pair, "file2_base64"), name->base64);
	json_object_put(array);
	drop_outcome(&outcome);
}

/* What RFC 3339 takes, whatever the zone. */
static void test_times(void **state)
{
	(void)state;
	check("for zone in UTC Asia/Kolkata XYZ9:30 ABC-13; do TZ=$zone timeout 30 exchrange watch f >line & w=$!; " WATCHING
	      "echo x | exchrange write f; " UNTIL("test -s line") "kill $w; wait $w; cat line;"
	      " grep -qE '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{9}[+-][0-9]{2}:[0-9]{2} f: ' line"
	      " && ago=$(($(date +%s) - $(date -d $(cut -d ' ' -f 1 line) +%s))) && test $ago -ge 0 && test $ago -lt 60 || exit 1; done 2>/dev/null");
}

/* --- pipes ------------------------------------------------------------------------------ */

/* Which others have made O_NONBLOCK, and read slowly. */
static void test_a_pipe_that_does_not_block(void **state)
{
	(void)state;
	check("touch $(seq -f name%g 1500);"
	      " perl -e 'use Fcntl; pipe(R, W); fcntl(W, F_SETFL, O_NONBLOCK | fcntl(W, F_GETFL, 0));"
	      " if (!fork) { open(STDOUT, \">&W\"); close(R); exec(@ARGV) } close(W); sleep 2; print while <R>; wait; exit($? >> 8)'"
	      " exchrange query name* >out && test $(grep -c 'can be swapped' out) = 1500");
}

static void test_input_that_does_not_block(void **state)
{
	(void)state;
	check("{ echo one; sleep 1; echo two; sleep 1; } | perl -e 'use Fcntl; fcntl(STDIN, F_SETFL, O_NONBLOCK | fcntl(STDIN, F_GETFL, 0));"
	      " exec @ARGV' exchrange write f && printf 'one\\ntwo\\n' | cmp - f");
}

/* It ends when nobody reads any more, and not at the next line. */
static void test_watch_into_a_pipe_that_is_closed(void **state)
{
	(void)state;
	check("for json in '' --json; do (" WATCHING "echo x | exchrange write f) & timeout 60 sh -c \"exchrange watch $json f | head -n 1 >line\""
	      " && test $(wc -l <line) = 1 || exit 1; wait; done");
	check("timeout 60 sh -c '(trap \"\" PIPE; exchrange watch f; echo $? >status) | sleep 2' && test $(cat status) = 1");
	/* Nobody needs to read what is not printed. */
	check("(" WATCHING "echo x | exchrange write f; sleep 1) & { timeout 10 exchrange watch --exec 'echo ran >ran' f | true; }; grep -q ran ran");
}

#define TEST(name)	cmocka_unit_test_setup(name, make_folder)

int main(int argc, char **argv)
{
	static const struct CMUnitTest others[] = {
		TEST(test_json_of_watch),
		TEST(test_a_message_is_a_line),
		TEST(test_a_line_of_query_and_of_watch),
		TEST(test_what_apply_prints),
		TEST(test_json_of_swap),
		TEST(test_times),
		TEST(test_a_pipe_that_does_not_block),
		TEST(test_input_that_does_not_block),
		TEST(test_watch_into_a_pipe_that_is_closed),
	};
	static const struct table table = {
		.group		= "output",
		.rows		= names,
		.row_size	= sizeof(names[0]),
		.row_count	= COUNT(names),
		.test		= test_json,
		.others		= others,
		.other_count	= COUNT(others),
	};

	start(argc, argv);
	return run_table(&table);
}
