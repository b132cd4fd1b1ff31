// SPDX-License-Identifier: GPL-2.0
/*
 * What is said to people and to programs: whole, and with nothing in it that a terminal
 * obeys, whatever the names of files are.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

/* --- out ------------------------------------------------------------------------- */

/* Who gave us the descriptor may have made it O_NONBLOCK.  0 where nobody is to come. */
int wait_for(int fd, short events)
{
	struct pollfd pollfd = { .fd = fd, .events = events };

	while (poll(&pollfd, 1, -1) < 0)
		if (errno != EINTR)
			return -1;
	return 0;
}

/* -1 and errno where not all of it could be written. */
int write_all(int fd, const char *bytes, size_t size)
{
	while (size) {
		ssize_t count = write(fd, bytes, size);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0 && errno == EAGAIN && wait_for(fd, POLLOUT) == 0)
			continue;
		if (count < 0)
			return -1;
		bytes += count;
		size -= count;
	}
	return 0;
}

static ssize_t write_output(void *cookie, const char *bytes, size_t size)
{
	(void)cookie;
	/* 0 is an error here; standard output has its ferror() then. */
	return write_all(STDOUT_FILENO, bytes, size) ? 0 : (ssize_t)size;
}

/* For the subcommands that print more than a line of help. */
void take_output(void)
{
	static const cookie_io_functions_t functions = { .write = write_output };
	FILE *stream = fopencookie(NULL, "w", functions);

	if (stream)
		stdout = stream;
}

/* --- UTF-8 ----------------------------------------------------------------------- */

/* Bytes of the character at @text, which is not '\0'; 0 where it is not UTF-8. */
static int length_of(const unsigned char *text, unsigned int *code)
{
	static const unsigned int least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	int length = *text < 0x80 ? 1 : *text >> 5 == 6 ? 2 : *text >> 4 == 14 ? 3 :
		     *text >> 3 == 30 ? 4 : 0;
	int i;

	*code = length == 1 ? *text : *text & (0x7f >> length);
	for (i = 1; i < length; i++) {
		if (text[i] >> 6 != 2)
			return 0;
		*code = *code << 6 | (text[i] & 0x3f);
	}
	if (length && (*code < least[length] || *code > 0x10ffff ||
		       (*code >= 0xd800 && *code < 0xe000)))
		return 0;
	return length;
}

/* A terminal may obey it: C0, DEL and C1. */
static bool is_control(unsigned int code)
{
	return code < 0x20 || (code >= 0x7f && code < 0xa0);
}

static bool is_utf8(const char *text)
{
	const unsigned char *at = (const unsigned char *)text;
	unsigned int code;
	int length;

	for (; *at; at += length) {
		length = length_of(at, &code);
		if (!length)
			return false;
	}
	return true;
}

/* --- for people ------------------------------------------------------------------ */

static void print_bytes(FILE *stream, const unsigned char *bytes, int count)
{
	while (count--)
		fprintf(stream, "\\x%02x", *bytes++);
}

/*
 * On one line, as C writes it where a terminal would do something else than show it.
 * @exact: so that two names never look the same.
 */
void print_name(FILE *stream, const char *name, bool exact)
{
	const unsigned char *at = (const unsigned char *)name;
	unsigned int code;
	int length;

	for (; *at; at += length ? length : 1) {
		length = length_of(at, &code);
		if (*at == '\n')
			fputs("\\n", stream);
		else if (*at == '\t')
			fputs("\\t", stream);
		else if (!length || is_control(code))
			print_bytes(stream, at, length ? length : 1);
		else if (exact && *at == '\\')
			fputs("\\\\", stream);
		else
			fwrite(at, 1, length, stream);
	}
}

/* One write, beside those of other commands, whatever the arguments hold. */
static void say(const char *format, va_list arguments, const char *more)
{
	char *message = NULL, *line = NULL;
	size_t size;
	FILE *stream;

	if (vasprintf(&message, format, arguments) < 0)
		message = NULL;
	stream = open_memstream(&line, &size);
	if (stream) {
		fputs("exchrange: ", stream);
		print_name(stream, message ? message : format, false);
		fprintf(stream, "\n%s", more);
		if (fclose(stream) == 0 && write_all(STDERR_FILENO, line, size))
			errno = 0;	/* nobody is left to be told */
	}
	free(line);
	free(message);
}

void complain(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	say(format, arguments, "");
	va_end(arguments);
}

/*
 * Says what is wrong with the command line, and how it would be right: the first
 * line of the usage.  Returns the exit status for it.
 */
int misused(const char *usage, const char *format, ...)
{
	char first[200];
	va_list arguments;

	snprintf(first, sizeof(first), "%.*s (--help tells more)\n",
		 (int)strcspn(usage, "\n"), usage);
	va_start(arguments, format);
	say(format, arguments, first);
	va_end(arguments);
	return STATUS_USAGE;
}

/* --- for programs: JSON ---------------------------------------------------------- */

static void begin_member(struct json *json, const char *name)
{
	if (json->begun)
		fputc(',', stdout);
	if (json->pretty && (json->begun || json->depth))
		printf("\n%*s", 2 * json->depth, "");
	else if (json->begun || json->depth)
		fputc(' ', stdout);
	json->begun = true;
	if (name)
		printf("\"%s\": ", name);
}

void json_open(struct json *json, const char *name, char bracket)
{
	begin_member(json, name);
	fputc(bracket, stdout);
	json->depth++;
	json->begun = false;
}

void json_close(struct json *json, char bracket)
{
	json->depth--;
	if (json->begun && json->pretty)
		printf("\n%*s", 2 * json->depth, "");
	else if (json->begun)
		fputc(' ', stdout);
	fputc(bracket, stdout);
	json->begun = true;
	if (!json->depth)
		fputc('\n', stdout);
}

/* What is not UTF-8 becomes U+FFFD, as everybody shows it. */
static void print_string(const char *text)
{
	const unsigned char *at = (const unsigned char *)text;
	unsigned int code;
	int length;

	fputc('"', stdout);
	for (; *at; at += length ? length : 1) {
		length = length_of(at, &code);
		if (!length)
			fputs("\xef\xbf\xbd", stdout);
		else if (is_control(code))
			printf("\\u%04x", code);
		else if (*at == '"' || *at == '\\')
			printf("\\%c", *at);
		else
			fwrite(at, 1, length, stdout);
	}
	fputc('"', stdout);
}

void json_string(struct json *json, const char *name, const char *text)
{
	begin_member(json, name);
	if (text)
		print_string(text);
	else
		fputs("null", stdout);
}

void json_number(struct json *json, const char *name, uint64_t number)
{
	begin_member(json, name);
	printf("%llu", (unsigned long long)number);
}

static void print_base64(const unsigned char *bytes, size_t size)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t i;

	for (i = 0; i < size; i += 3) {
		unsigned int three = bytes[i] << 16 |
				     (i + 1 < size ? bytes[i + 1] << 8 : 0) |
				     (i + 2 < size ? bytes[i + 2] : 0);

		printf("%c%c%c%c", digits[three >> 18], digits[three >> 12 & 63],
		       i + 1 < size ? digits[three >> 6 & 63] : '=',
		       i + 2 < size ? digits[three & 63] : '=');
	}
}

/* A name of bytes that are no text has them in a member of their own, @name and "_base64". */
void json_name(struct json *json, const char *name, const char *path)
{
	json_string(json, name, path);
	if (is_utf8(path))
		return;
	begin_member(json, NULL);
	printf("\"%s_base64\": \"", name);
	print_base64((const unsigned char *)path, strlen(path));
	fputc('"', stdout);
}

void json_file(struct json *json, const char *path)
{
	json_name(json, "file", path);
}
