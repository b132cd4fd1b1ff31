// SPDX-License-Identifier: GPL-2.0
/*
 * Where structs lie.  All kinds of memory but two are one memfd, mapped once where it
 * can always be written and once more as what it is a trap for: so a struct is put
 * there by a store that never faults, which needs no system call.  Mapped files are
 * written by pwrite, since another worker may have truncated them.
 */
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"

#define PAGE		4096ul
/* Good memory has room for the longest struct that an ioctl number can tell of. */
#define GOOD_PAGES	6u
#define PAGES		(GOOD_PAGES + CHANGING)
#define MAPPED_FILES	2u

static uint8_t *stable;			/* PAGES, in the order of enum memory */
static uint8_t *views[MAPPED_FILE];
static uint8_t *mapped_files[MAPPED_FILES];
static uint8_t *dirt;			/* behind a struct, until the next one */
static int memory_fd;

static off_t page_of(enum memory memory)
{
	return memory == GOOD ? 0 : (GOOD_PAGES - 1 + memory) * PAGE;
}

static void *map_or_exit(void *address, size_t size, int protection, int flags,
			 int fd, off_t offset)
{
	void *mapped = mmap(address, size, protection, flags, fd, offset);

	if (mapped == MAP_FAILED)
		_exit(CANNOT_LIVE);
	return mapped;
}

/* A page with nothing behind it, so that a struct can end there, or not. */
static uint8_t *map_view(enum memory memory, int protection)
{
	uint8_t *view = map_or_exit(NULL, 2 * PAGE, PROT_NONE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return map_or_exit(view, PAGE, protection, MAP_SHARED | MAP_FIXED,
			   memory_fd, page_of(memory));
}

void map_memory(void)
{
	unsigned int i;

	memory_fd = memfd_create("structs", MFD_CLOEXEC);
	if (memory_fd < 0 || ftruncate(memory_fd, PAGES * PAGE))
		_exit(CANNOT_LIVE);
	stable = map_or_exit(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
			     MAP_SHARED, memory_fd, 0);
	views[GOOD] = stable;
	views[CHANGING] = stable + page_of(CHANGING);
	views[READ_ONLY] = map_view(READ_ONLY, PROT_READ);
	views[EDGE] = map_view(EDGE, PROT_READ | PROT_WRITE);
	views[RACING] = map_view(RACING, PROT_READ | PROT_WRITE);
	for (i = 0; i < MAPPED_FILES; i++)
		mapped_files[i] = map_or_exit(NULL, 2 * PAGE,
					      PROT_READ | PROT_WRITE,
					      MAP_SHARED, loud_files[i], 0);
}

static unsigned long no_address(struct generator *generator)
{
	static const unsigned long addresses[] = {
		0, 1, PAGE, 0x100000000000, 0x7ffffffff000 - 8,
		0x7ffffffff000, 0x800000000000, 0xffff888000000000,
		0xffffffff81000000, -PAGE, -40ul, -1ul,
	};

	if (one_in(generator, 4))
		return next_random(generator) | 1ul << 63;
	return addresses[below(generator, COUNT(addresses))];
}

/* The struct goes to where it fits, or where only its first bytes do. */
static size_t any_offset(struct generator *generator, const struct call *call)
{
	if (call->memory == EDGE) {
		size_t bytes = _IOC_SIZE(call->cmd);

		if (bytes < call->size || bytes > PAGE)
			bytes = call->size;
		if (one_in(generator, 3) && call->size)
			bytes = 8 * (1 + below(generator, call->size / 8));
		return PAGE - bytes;
	}
	return one_in(generator, 4) ? below(generator, 64) : 0;
}

static void place_in_file(struct generator *generator, struct call *call)
{
	unsigned int i = below(generator, MAPPED_FILES);
	off_t offset = below(generator, 2) * PAGE + any_offset(generator, call);

	/* Where it fails, the struct is whatever the file holds. */
	if (pwrite(loud_files[i], call->bytes, call->size, offset) < 0)
		call->size = 0;
	call->address = (unsigned long)mapped_files[i] + offset;
}

/* A longer struct that has something where this module knows nothing. */
static void add_dirt(struct generator *generator, struct call *call,
		     uint8_t *place)
{
	size_t bytes = _IOC_SIZE(call->cmd);

	if (call->memory != GOOD || bytes <= call->size || !call->size ||
	    one_in(generator, 2))
		return;
	dirt = place + call->size + below(generator, bytes - call->size);
	*dirt = 1;
}

/* Puts the struct of @call into the memory that it names, and sets its address. */
void place_struct(struct generator *generator, struct call *call)
{
	uint8_t *page;
	size_t offset, size;

	if (call->memory == NOWHERE) {
		call->address = no_address(generator);
		return;
	}
	if (call->memory == MAPPED_FILE) {
		place_in_file(generator, call);
		return;
	}

	page = stable + page_of(call->memory);
	offset = any_offset(generator, call);
	size = call->size < PAGE - offset ? call->size : PAGE - offset;
	if (dirt)
		*dirt = 0;
	dirt = NULL;
	memset(page, 0, 64 + sizeof(call->bytes));
	memcpy(page + offset, call->bytes, size);
	add_dirt(generator, call, page + offset);
	call->address = (unsigned long)views[call->memory] + offset;
}

/* What a call in good memory has answered. */
void fetch_struct(struct call *call)
{
	memcpy(call->bytes, (const void *)call->address, call->size);
}

/* For the thread beside: RACING is protected, goes away, comes back. */
void change_mapping(struct generator *generator)
{
	static const int protections[] = {
		PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE,
	};
	int protection = protections[below(generator, COUNT(protections))];

	switch (below(generator, 4)) {
	case 0:
		munmap(views[RACING], PAGE);
		break;
	case 1:
		mprotect(views[RACING], PAGE, protection);
		break;
	case 2:
		madvise(views[RACING], PAGE, MADV_DONTNEED);
		break;
	default:
		/* With its limits reached this one fails: then it stays away. */
		mmap(views[RACING], PAGE, protection, MAP_SHARED | MAP_FIXED,
		     memory_fd, page_of(RACING));
	}
}

/* For the thread beside: a while of other values in the fields of a struct. */
void change_fields(struct generator *generator)
{
	_Atomic uint32_t *fields = (void *)(stable + page_of(CHANGING));
	unsigned int i = below(generator, sizeof(struct exchrange_commit) / 4);
	const uint32_t values[] = {
		0, 1, BLOCK, -1, good_descriptor(generator, false),
		any_descriptor(generator), next_random(generator),
	};
	uint32_t value = values[below(generator, COUNT(values))];
	uint32_t before = fields[i];
	unsigned int times;

	for (times = 0; times < 500; times++)
		atomic_store_explicit(&fields[i], times % 2 ? before : value,
				      memory_order_relaxed);
}
