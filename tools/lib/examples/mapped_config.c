// SPDX-License-Identifier: MIT
/*
 * A reader that has a configuration mapped, and takes nothing from a mixture of two of its
 * versions, without a lock: it parses again where an exchange came between.
 *
 *	mapped_config FILE KEY	prints the value of the line "KEY = value", and again
 *				after each exchange of FILE, until there is no such line
 */
#include <err.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <exchrange.h>

struct config {
	int				fd;
	struct exchrange_watcher	watcher;
	const char			*bytes;	/* the mapping */
	size_t				size;	/* of it; the file may be shorter */
	const char			*key;
	char				value[256];
};

/*
 * An exchange that makes the file shorter takes pages away from the mapping, and one that
 * is read then is a SIGBUS: as good as a version that does not fit together.
 */
static sigjmp_buf shorter;
static atomic_int reading;

static void fall_back(int signal_number)
{
	if (reading)
		siglongjmp(shorter, 1);
	/* Not ours. */
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

/* At least @size bytes of the file, which may have become longer. */
static void map(struct config *config, size_t size)
{
	void *bytes;

	if (size <= config->size)
		return;
	if (config->size)
		munmap((void *)config->bytes, config->size);
	bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, config->fd, 0);
	if (bytes == MAP_FAILED)
		err(1, "mmap");
	config->bytes = bytes;
	config->size = size;
}

/*
 * Copies the value out.  What is read may be a mixture: nothing of it is believed but that
 * no byte is behind @end.
 */
static int find(struct config *config, const char *end)
{
	size_t length = strlen(config->key), i;
	const char *line, *next;

	for (line = config->bytes; line < end; line = next) {
		next = memchr(line, '\n', end - line);
		next = next ? next + 1 : end;
		if ((size_t)(next - line) < length + 3 ||
		    memcmp(line, config->key, length) || memcmp(line + length, " = ", 3))
			continue;
		line += length + 3;
		for (i = 0; i < 255 && line + i < next && line[i] != '\n'; i++)
			config->value[i] = line[i];
		config->value[i] = '\0';
		return 1;
	}
	return 0;
}

/* One reading; -1 where the file became shorter under it. */
static int read_value(struct config *config)
{
	struct stat st;
	int found;

	if (fstat(config->fd, &st))
		err(1, "fstat");
	map(config, st.st_size);
	if (sigsetjmp(shorter, 1)) {
		reading = 0;
		return -1;
	}
	reading = 1;
	found = find(config, config->bytes + st.st_size);
	reading = 0;
	return found;
}

static int get(struct config *config)
{
	__u32 sequence;
	int found;

	do {
		sequence = exchrange_watch_read_begin(&config->watcher);
		found = read_value(config);
	} while (exchrange_watch_read_retry(&config->watcher, sequence) || found < 0);
	return found;
}

int main(int argc, char **argv)
{
	const struct sigaction action = { .sa_handler = fall_back };
	struct config config = { .size = 0 };
	__u64 changes;

	if (argc != 3)
		errx(2, "usage: mapped_config FILE KEY");
	config.fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (config.fd < 0 ||
	    exchrange_watch_open(exchrange_open(), config.fd, &config.watcher))
		err(1, "%s", argv[1]);
	sigaction(SIGBUS, &action, NULL);

	config.key = argv[2];
	while (get(&config)) {
		puts(config.value);
		fflush(stdout);
		if (exchrange_watch_wait(&config.watcher, -1, &changes))
			err(1, "wait");
	}
	exchrange_watch_close(&config.watcher);
	return 0;
}
