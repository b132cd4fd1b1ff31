// SPDX-License-Identifier: GPL-2.0
/* A sample of a file as a word that scripts can carry about. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

#define WORDS	(sizeof(struct exchrange_sample) / sizeof(__u64))
#define DIGITS	16	/* of a word */

/* What it is, and of which version. */
static const char prefix[] = "exchrange1-";

void format_token(const struct exchrange_sample *sample, char token[TOKEN_SIZE])
{
	int length = snprintf(token, TOKEN_SIZE, "%s", prefix);
	size_t i;

	for (i = 0; i < WORDS; i++)
		length += snprintf(token + length, TOKEN_SIZE - length,
				   "%016llx", sample->freshness[i]);
}

/* 0, and the sample that @token is; -1 where it is none. */
int parse_token(const char *token, struct exchrange_sample *sample)
{
	const size_t length = sizeof(prefix) - 1;
	char word[DIGITS + 1];
	size_t i;

	if (strncmp(token, prefix, length) ||
	    strlen(token + length) != WORDS * DIGITS ||
	    strspn(token + length, "0123456789abcdef") != WORDS * DIGITS)
		return -1;
	for (i = 0; i < WORDS; i++) {
		snprintf(word, sizeof(word), "%s", token + length + i * DIGITS);
		sample->freshness[i] = strtoull(word, NULL, 16);
	}
	return 0;
}
