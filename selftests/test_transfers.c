// SPDX-License-Identifier: GPL-2.0
/*
 * Every way to read a file or to write to it, beside an exchange of it: what is read is of before
 * or of after, and what is written is in one of the two files, wherever the exchange came.
 *
 * In each round both begin at the same moment, with files of one block.
 */
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common.h"

#define ROUNDS	300
#define FIRST	'a'	/* what the files are full of before */
#define SECOND	'b'
#define NEW	'n'	/* what is written into the first */

static int files[2];		/* the two that change places */
static int other;		/* a third on the same file system */
static int pipes[2];

/* --- io_uring, by its system calls ------------------------------------------------------------ */

static struct ring {
	int			fd;
	struct io_uring_sqe	*entries;
	uint8_t			*submissions, *completions;
	struct io_uring_params	params;
	void			*buffer;	/* registered, one block */
} ring = { .fd = -1 };

static void *map_ring(size_t size, off_t offset)
{
	void *mapping = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			     ring.fd, offset);

	assert_true(mapping != MAP_FAILED);
	return mapping;
}

/* False where the kernel has none, or nobody may use it. */
static bool open_ring(void)
{
	const struct io_uring_params *params = &ring.params;
	struct iovec buffer;

	if (ring.fd >= 0)
		return true;
	ring.fd = syscall(SYS_io_uring_setup, 1, &ring.params);
	if (ring.fd < 0)
		return false;
	ring.submissions = map_ring(params->sq_off.array + params->sq_entries * sizeof(uint32_t),
				    IORING_OFF_SQ_RING);
	ring.completions = map_ring(params->cq_off.cqes +
				    params->cq_entries * sizeof(struct io_uring_cqe),
				    IORING_OFF_CQ_RING);
	ring.entries = map_ring(params->sq_entries * sizeof(*ring.entries), IORING_OFF_SQES);
	assert_int_equal(posix_memalign(&ring.buffer, BLOCK, BLOCK), 0);
	buffer = (struct iovec) { ring.buffer, BLOCK };
	assert_int_equal(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS,
				 &buffer, 1), 0);
	return true;
}

static _Atomic uint32_t *ring_word(uint8_t *part, uint32_t offset)
{
	return (_Atomic uint32_t *)(part + offset);
}

/* One request, and its result. */
static int transfer_by_ring(uint8_t operation, int fd)
{
	const struct io_uring_params *params = &ring.params;
	uint32_t tail = *ring_word(ring.submissions, params->sq_off.tail);
	uint32_t head = *ring_word(ring.completions, params->cq_off.head);
	const struct io_uring_cqe *completion;

	ring.entries[0] = (struct io_uring_sqe) {
		.opcode	= operation,
		.fd	= fd,
		.addr	= (uintptr_t)ring.buffer,
		.len	= BLOCK,
	};
	*ring_word(ring.submissions, params->sq_off.array) = 0;
	atomic_store(ring_word(ring.submissions, params->sq_off.tail), tail + 1);
	if (syscall(SYS_io_uring_enter, ring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		return -errno;
	assert_int_equal(atomic_load(ring_word(ring.completions, params->cq_off.tail)), head + 1);
	completion = (const struct io_uring_cqe *)(ring.completions + params->cq_off.cqes) +
		     (head & *ring_word(ring.completions, params->cq_off.ring_mask));
	atomic_store(ring_word(ring.completions, params->cq_off.head), head + 1);
	return completion->res;
}

/* --- ways to read ------------------------------------------------------------------------------- */

static ssize_t read_plain(void *block)
{
	return pread(files[0], block, BLOCK, 0);
}

static ssize_t read_direct(void *block)
{
	char name[64];
	ssize_t length;
	int fd;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", files[0]);
	fd = open(name, O_RDONLY | O_DIRECT);
	length = pread(fd, ring.buffer, BLOCK, 0);
	close(fd);
	memcpy(block, ring.buffer, BLOCK);
	return length;
}

static ssize_t read_by_splice(void *block)
{
	loff_t offset = 0;
	ssize_t length = splice(files[0], &offset, pipes[1], NULL, BLOCK, 0);

	return length == BLOCK ? read(pipes[0], block, BLOCK) : length;
}

static ssize_t read_by_sendfile(void *block)
{
	off_t offset = 0;
	ssize_t length = sendfile(pipes[1], files[0], &offset, BLOCK);

	return length == BLOCK ? read(pipes[0], block, BLOCK) : length;
}

static ssize_t read_by_copy_file_range(void *block)
{
	loff_t from = 0, to = 0;
	ssize_t length = copy_file_range(files[0], &from, other, &to, BLOCK, 0);

	return length == BLOCK ? pread(other, block, BLOCK, 0) : length;
}

static ssize_t read_by_ring(void *block)
{
	ssize_t length = transfer_by_ring(IORING_OP_READ, files[0]);

	memcpy(block, ring.buffer, BLOCK);
	return length;
}

static ssize_t read_by_ring_fixed(void *block)
{
	ssize_t length = transfer_by_ring(IORING_OP_READ_FIXED, files[0]);

	memcpy(block, ring.buffer, BLOCK);
	return length;
}

/* Pages of a mapping, which the pipe keeps. */
static ssize_t read_by_vmsplice(void *block)
{
	void *mapping = mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, files[0], 0);
	struct iovec page = { mapping, BLOCK };
	ssize_t length = vmsplice(pipes[1], &page, 1, 0);

	munmap(mapping, BLOCK);
	return length == BLOCK ? read(pipes[0], block, BLOCK) : length;
}

/* --- ways to write, of a block of NEW ---------------------------------------------------------- */

static ssize_t write_plain(void *block)
{
	return pwrite(files[0], block, BLOCK, 0);
}

static ssize_t write_direct(void *block)
{
	char name[64];
	ssize_t length;
	int fd;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", files[0]);
	fd = open(name, O_WRONLY | O_DIRECT);
	memcpy(ring.buffer, block, BLOCK);
	length = pwrite(fd, ring.buffer, BLOCK, 0);
	close(fd);
	return length;
}

static ssize_t write_by_mapping(void *block)
{
	void *mapping = mmap(NULL, BLOCK, PROT_WRITE, MAP_SHARED, files[0], 0);

	/* One store: between two of them the page may become the other file's. */
	__atomic_store_n((uint8_t *)mapping, *(uint8_t *)block, __ATOMIC_RELAXED);
	munmap(mapping, BLOCK);
	return 1;
}

static ssize_t write_by_splice(void *block)
{
	loff_t offset = 0;

	if (write(pipes[1], block, BLOCK) != BLOCK)
		return -1;
	return splice(pipes[0], NULL, files[0], &offset, BLOCK, 0);
}

static ssize_t write_by_sendfile(void *block)
{
	off_t offset = 0;

	if (pwrite(other, block, BLOCK, 0) != BLOCK || lseek(files[0], 0, SEEK_SET))
		return -1;
	return sendfile(files[0], other, &offset, BLOCK);
}

static ssize_t write_by_copy_file_range(void *block)
{
	loff_t from = 0, to = 0;

	if (pwrite(other, block, BLOCK, 0) != BLOCK)
		return -1;
	return copy_file_range(other, &from, files[0], &to, BLOCK, 0);
}

static ssize_t write_by_ring(void *block)
{
	memcpy(ring.buffer, block, BLOCK);
	return transfer_by_ring(IORING_OP_WRITE, files[0]);
}

static ssize_t write_by_ring_fixed(void *block)
{
	memcpy(ring.buffer, block, BLOCK);
	return transfer_by_ring(IORING_OP_WRITE_FIXED, files[0]);
}

/* --- a round ------------------------------------------------------------------------------------ */

static const struct way_row {
	const char	*name;
	bool		writes;
	ssize_t		(*transfer)(void *block);
	ssize_t		length;		/* bytes of a block that it takes */
} ways[] = {
	{ "read", false, read_plain, BLOCK },
	{ "O_DIRECT read", false, read_direct, BLOCK },
	{ "splice out", false, read_by_splice, BLOCK },
	{ "sendfile from", false, read_by_sendfile, BLOCK },
	{ "copy_file_range from", false, read_by_copy_file_range, BLOCK },
	{ "io_uring read", false, read_by_ring, BLOCK },
	{ "io_uring read into a registered buffer", false, read_by_ring_fixed, BLOCK },
	{ "vmsplice of a mapping", false, read_by_vmsplice, BLOCK },
	{ "write", true, write_plain, BLOCK },
	{ "O_DIRECT write", true, write_direct, BLOCK },
	{ "a store through a mapping", true, write_by_mapping, 1 },
	{ "splice into", true, write_by_splice, BLOCK },
	{ "sendfile to", true, write_by_sendfile, BLOCK },
	{ "copy_file_range to", true, write_by_copy_file_range, BLOCK },
	{ "io_uring write", true, write_by_ring, BLOCK },
	{ "io_uring write from a registered buffer", true, write_by_ring_fixed, BLOCK },
};

static pthread_barrier_t barrier;

static void *exchange_once(void *rounds)
{
	const struct exchrange_range range = {
		.file1_fd = files[0], .file2_fd = files[1], .flags = EXCHRANGE_TO_EOF,
	};
	intptr_t count = (intptr_t)rounds, failed = 0;

	while (count--) {
		pthread_barrier_wait(&barrier);
		failed += device_exchange(&range) != 0;
		pthread_barrier_wait(&barrier);
	}
	return (void *)failed;
}

static void fill(int fd, uint8_t byte)
{
	uint8_t block[BLOCK];

	memset(block, byte, BLOCK);
	assert_int_equal(pwrite(fd, block, BLOCK, 0), BLOCK);
}

static bool is_full_of(const uint8_t *block, size_t size, uint8_t byte)
{
	return block[0] == byte && !memcmp(block, block + 1, size - 1);
}

/* The first @length bytes are of @begin, the others of @rest. */
static bool file_has(int fd, size_t length, uint8_t begin, uint8_t rest)
{
	uint8_t block[BLOCK];

	assert_int_equal(pread(fd, block, BLOCK, 0), BLOCK);
	return is_full_of(block, length, begin) &&
	       (length == BLOCK || is_full_of(block + length, BLOCK - length, rest));
}

/* Before the exchange: it went to the second file with the rest.  Or after it. */
static bool is_written_once(ssize_t length)
{
	return (file_has(files[0], length, SECOND, SECOND) && file_has(files[1], length, NEW, FIRST)) ||
	       (file_has(files[0], length, NEW, SECOND) && file_has(files[1], length, FIRST, FIRST));
}

static void play_round(const struct way_row *way)
{
	uint8_t block[BLOCK];
	ssize_t length;

	fill(files[0], FIRST);
	fill(files[1], SECOND);
	memset(block, way->writes ? NEW : 0, BLOCK);
	pthread_barrier_wait(&barrier);
	length = way->transfer(block);
	pthread_barrier_wait(&barrier);
	assert_int_equal(length, way->length);
	if (way->writes)
		assert_true(is_written_once(length));
	else
		assert_true(is_full_of(block, BLOCK, FIRST) || is_full_of(block, BLOCK, SECOND));
}

static void test_way(void **state)
{
	const struct way_row *way = *state;
	intptr_t rounds = ROUNDS / test_share(), i;
	pthread_t thread;
	void *failed;

	if (!open_ring())
		skip();
	files[0] = make_file("file1", (struct file_spec) { SHAPE_PLAIN, BLOCK }, 1);
	files[1] = make_file("file2", (struct file_spec) { SHAPE_PLAIN, BLOCK }, 2);
	other = make_file("other", (struct file_spec) { SHAPE_PLAIN, BLOCK }, 3);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	pthread_barrier_init(&barrier, NULL, 2);
	assert_int_equal(pthread_create(&thread, NULL, exchange_once, (void *)rounds), 0);
	for (i = 0; i < rounds; i++)
		play_round(way);
	pthread_join(thread, &failed);
	assert_null(failed);
	close(pipes[0]);
	close(pipes[1]);
	close(other);
	close(files[0]);
	close(files[1]);
}

int main(int argc, char **argv)
{
	static const struct table table = {
		.group		= "transfers beside exchanges",
		.rows		= ways,
		.row_size	= sizeof(ways[0]),
		.row_count	= COUNT(ways),
		.test		= test_way,
	};

	start(argc, argv);
	return run_table(&table);
}
