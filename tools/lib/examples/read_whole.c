// SPDX-License-Identifier: MIT
/*
 * A reader that takes several calls, and shall not mix the old contents of a file with
 * the new ones: it reads again where the file changed meanwhile.
 *
 *	read_whole FILE		prints it, as it was at one moment
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <exchrange.h>

struct contents {
	char	*bytes;
	size_t	size;
};

static void read_all(int fd, struct contents *contents)
{
	ssize_t count;

	contents->size = 0;
	do {
		contents->bytes = realloc(contents->bytes, contents->size + 65536);
		if (!contents->bytes)
			err(1, NULL);
		count = pread(fd, contents->bytes + contents->size, 65536,
			      contents->size);
		if (count < 0)
			err(1, "read");
		contents->size += count;
	} while (count);
}

/* One that changes without a pause has no sample: then again. */
static void sample(int device, int fd, struct exchrange_sample *sample)
{
	while (exchrange_sample(device, fd, sample))
		if (errno != EAGAIN)
			err(1, "sample");
}

int main(int argc, char **argv)
{
	struct exchrange_sample before, after;
	struct contents contents = { 0 };
	int device, fd;

	if (argc != 2)
		errx(2, "usage: read_whole FILE");
	device = exchrange_open();
	fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		err(1, "%s", argv[1]);

	sample(device, fd, &after);
	do {
		before = after;
		read_all(fd, &contents);
		sample(device, fd, &after);
	} while (memcmp(&before, &after, sizeof(before)));

	fwrite(contents.bytes, 1, contents.size, stdout);
	free(contents.bytes);
	return fflush(stdout) ? 1 : 0;
}
