// SPDX-License-Identifier: GPL-2.0
/* Sizes as people type them: 4096, 4k, 10M, 1g. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "command.h"

static int suffix_shift(const char *suffix)
{
	if (!*suffix)
		return 0;
	if (suffix[1])
		return -1;
	switch (tolower((unsigned char)*suffix)) {
	case 'k': return 10;
	case 'm': return 20;
	case 'g': return 30;
	}
	return -1;
}

/* 0, and the bytes that @text says; -1 where it is not a size below 2^63. */
int parse_size(const char *text, __u64 *bytes)
{
	unsigned long long number;
	char *suffix;
	int shift;

	/* strtoull() would take a sign, or blanks. */
	if (!isdigit((unsigned char)*text))
		return -1;
	errno = 0;
	number = strtoull(text, &suffix, 10);
	shift = suffix_shift(suffix);
	if (errno || shift < 0 || number > (uint64_t)INT64_MAX >> shift)
		return -1;
	*bytes = number << shift;
	return 0;
}
