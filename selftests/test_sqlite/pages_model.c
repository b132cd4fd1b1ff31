// SPDX-License-Identifier: GPL-2.0
/*
 * What a transaction has written, against a model of every byte: writes and truncations of any
 * length and order, more of them than SQLite makes.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "database.h"

/* With SQLite's own functions, not those that an extension is handed. */
#define SQLITE_CORE
#include "../../tools/sqlite/pages.c"

#define LARGEST		(16 * BLOCK)

struct model {
	uint8_t		bytes[2 * LARGEST];
	uint64_t	size;
};

static uint32_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

static int staging(void)
{
	int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static void write_random(struct pages *pages, struct model *model, uint64_t *state)
{
	uint64_t offset = next_random(state) % LARGEST;
	uint32_t length = 1 + next_random(state) % (3 * BLOCK);
	uint8_t *bytes = model->bytes + offset;

	/* Often whole units, as databases write. */
	if (next_random(state) % 2) {
		offset -= offset % BLOCK;
		length = BLOCK * (1 + length / BLOCK);
		bytes = model->bytes + offset;
	}
	memset(bytes, 1 + next_random(state) % 255, length);
	assert_int_equal(pages_write(pages, bytes, length, offset), 0);
	if (offset + length > model->size)
		model->size = offset + length;
}

static void truncate_random(struct pages *pages, struct model *model, uint64_t *state)
{
	uint64_t size = next_random(state) % LARGEST;

	if (next_random(state) % 2)
		size -= size % BLOCK;
	if (size < model->size)
		memset(model->bytes + size, 0, model->size - size);
	model->size = size;
	assert_int_equal(pages_truncate(pages, size), 0);
}

static void assert_model(const struct pages *pages, const struct model *model)
{
	static uint8_t bytes[2 * LARGEST];
	uint32_t missing;

	assert_int_equal(pages->size, model->size);
	assert_int_equal(pages_read(pages, bytes, sizeof(bytes), 0, &missing), 0);
	assert_int_equal(missing, sizeof(bytes) - model->size);
	assert_memory_equal(bytes, model->bytes, sizeof(bytes));
}

static void assert_file(int fd, const struct model *model)
{
	static uint8_t bytes[2 * LARGEST];

	assert_int_equal(lseek(fd, 0, SEEK_END), model->size);
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(pread(fd, bytes, sizeof(bytes), 0), model->size);
	assert_memory_equal(bytes, model->bytes, sizeof(bytes));
}

/* As commit.c does it. */
static void exchange(struct pages *pages, const struct model *model)
{
	struct exchrange_vector vector = { .pair_size = sizeof(struct exchrange_pair) };
	struct exchrange_pair *pairs;
	int opened = exchrange_open();

	assert_int_equal(pages_pairs(pages, 0, &pairs, &vector.count), 0);
	vector.pairs = (uintptr_t)pairs;
	if (vector.count)
		assert_int_equal(exchrange_exchange_vector(opened, &vector), 0);
	if (model->size < pages->old_size)
		assert_int_equal(ftruncate(pages->file, model->size), 0);
	sqlite3_free(pairs);
	close(opened);
}

/* What pages_each() tells is all that differs. */
static int copy_run(void *context, uint64_t offset, uint64_t length)
{
	const struct pages *pages = context;
	uint8_t *bytes = malloc(length);
	uint32_t missing;

	assert_non_null(bytes);
	assert_int_equal(pages_read(pages, bytes, length, offset, &missing), 0);
	assert_int_equal(missing, 0);
	assert_int_equal(pwrite(pages->file, bytes, length, offset), length);
	free(bytes);
	return 0;
}

static void copy(struct pages *pages, const struct model *model)
{
	assert_int_equal(pages_each(pages, copy_run, pages), 0);
	assert_int_equal(ftruncate(pages->file, model->size), 0);
}

static void against_model(const struct manner *manner)
{
	static struct model model, before;
	const unsigned int rounds = 1000 / test_share();
	struct pages pages;
	uint64_t state = 7;
	unsigned int i, j;
	int fd;

	fd = open("file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	memset(&model, 0, sizeof(model));
	pages_init(&pages, fd, BLOCK);
	pages.slots = staging();
	pages.tail = staging();
	for (i = 0; i < rounds; i++) {
		before = model;
		for (j = 1 + next_random(&state) % 8; j; j--) {
			if (next_random(&state) % 4)
				write_random(&pages, &model, &state);
			else
				truncate_random(&pages, &model, &state);
			assert_model(&pages, &model);
			assert_file(fd, &before);
		}
		if (next_random(&state) % 4 == 0)
			model = before;		/* rolled back */
		else if (manner->exchanges)
			exchange(&pages, &model);
		else
			copy(&pages, &model);
		pages_forget(&pages, next_random(&state) % 2);
		assert_file(fd, &model);
	}
	pages_drop(&pages);
	close(fd);
}

void add_pages(void)
{
	static const struct both tests[] = { { "against a model", against_model } };

	add_both("pages", tests, COUNT(tests));
}
