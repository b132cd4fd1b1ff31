// SPDX-License-Identifier: MIT
/*
 * A program that renews a certificate and its key: whoever opens the two afterwards, and
 * whatever crashes meanwhile, finds the new ones or the old ones, and never one of each.
 *
 *	save_pair CERTIFICATE KEY	takes both from standard input, as PEM; the files are there
 */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <exchrange.h>

static struct exchrange_update *begin(int device, const char *path)
{
	/* What somebody else writes meanwhile shall not get lost: then the commit fails. */
	const struct exchrange_update_options options = {
		.flags = EXCHRANGE_UPDATE_UNCHANGED,
	};
	struct exchrange_update *update = exchrange_update_begin(device, path, &options);

	if (!update)
		err(1, "%s", path);
	return update;
}

/* Each block of the input goes to one of the two. */
static void split(FILE *certificate, FILE *key)
{
	FILE *to = NULL;
	char *line = NULL;
	size_t room = 0;

	while (getline(&line, &room, stdin) > 0) {
		if (!strncmp(line, "-----BEGIN", 10))
			to = strstr(line, "PRIVATE KEY") ? key : certificate;
		if (to && fputs(line, to) < 0)
			err(1, "cannot write");
		if (!strncmp(line, "-----END", 8))
			to = NULL;
	}
	free(line);
}

int main(int argc, char **argv)
{
	struct exchrange_update *updates[2];
	FILE *streams[2];
	int device, i;
	__u32 refused;

	if (argc != 3)
		errx(2, "usage: save_pair CERTIFICATE KEY");
	device = exchrange_open();
	for (i = 0; i < 2; i++) {
		updates[i] = begin(device, argv[1 + i]);
		streams[i] = fdopen(exchrange_update_fd(updates[i]), "w");
		if (!streams[i])
			err(1, "%s", argv[1 + i]);
	}
	split(streams[0], streams[1]);
	for (i = 0; i < 2; i++)
		if (ftell(streams[i]) <= 0)
			errx(1, "there is no %s in the input", i ? "key" : "certificate");

	/* The descriptors stay the updates'. */
	if (fflush(streams[0]) || fflush(streams[1]))
		err(1, "cannot write");
	if (exchrange_update_commit_all(updates, 2, EXCHRANGE_DSYNC, &refused)) {
		if (refused < 2)
			err(1, "neither was changed: %s", argv[1 + refused]);
		err(1, "neither was changed");
	}
	exchrange_update_drop(updates[0]);
	exchrange_update_drop(updates[1]);
	return 0;
}
