// SPDX-License-Identifier: GPL-2.0
/*
 * The files of a thread, and whether they are what their models say.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "stress.h"

static void map_twice(struct file *file)
{
	int i;

	for (i = 0; i < 2; i++) {
		file->mapping[i] = mmap(NULL, FILE_MAX, PROT_READ | PROT_WRITE,
					MAP_SHARED, file->fd, 0);
		assert_ptr_not_equal(file->mapping[i], MAP_FAILED);
	}
}

/* A new and empty one, with an inode that was never preallocated. */
void open_own_file(struct worker *worker, struct file *file)
{
	file->number = file - worker->files;
	snprintf(file->path, sizeof(file->path), "%s/" FOLDER "/own-%u-%u/%c",
		 mount_point, worker->number, file->number % FOLDERS,
		 'a' + file->number);
	unlink(file->path);
	file->fd = open_path(file->path, O_RDWR | O_CREAT | O_EXCL);
	file->direct_fd = open_path(file->path, O_RDWR | O_DIRECT);
	map_twice(file);
	file->model = take_picture(file->fd);
}

void close_own_file(struct file *file)
{
	int i;

	for (i = 0; i < 2; i++)
		munmap(file->mapping[i], FILE_MAX);
	close(file->direct_fd);
	close(file->fd);
	drop_picture(&file->model);
}

void grow(struct file *file, uint64_t size)
{
	if (size > file->model.size)
		model_truncate(&file->model, size);
}

/* Inline on btrfs, some blocks, many, and now and then very many. */
uint64_t pick_size(struct worker *worker)
{
	static const unsigned int limits[] = {
		2 * KIB, 2 * KIB, 2 * KIB, 10 * KIB, 32 * KIB, 128 * KIB, 256 * KIB,
	};
	uint64_t size = draw(worker, limits[draw(worker, COUNT(limits))]);

	if (one_in(worker, 400))
		size = draw(worker, 3 * MIB);
	return one_in(worker, 3) ? size / block_size * block_size : size;
}

static void compare(struct worker *worker, const struct file *file,
		    const uint8_t *bytes, const char *how)
{
	const struct picture *model = &file->model;
	uint64_t i, first, count = 0;

	if (!memcmp(bytes, model->bytes, model->size))
		return;
	for (i = first = model->size; i-- > 0;) {
		if (bytes[i] != model->bytes[i]) {
			first = i;
			count++;
		}
	}
	complain(worker, "file %u (%s, %lu bytes) differs first at offset %lu: it has 0x%02x, the model 0x%02x; %lu bytes differ; seen %s",
		 file->number, file->path, model->size, first, bytes[first],
		 model->bytes[first], count, how);
}

void verify_bytes(struct worker *worker, const struct file *file, int fd,
		  const char *how)
{
	uint64_t size = file->model.size;
	struct stat st;
	ssize_t ret;

	if (fstat(fd, &st) || (uint64_t)st.st_size != size) {
		complain(worker, "file %u (%s) has %lu bytes, the model %lu; seen %s",
			 file->number, file->path, st.st_size, size, how);
		return;
	}
	/*
	 * In whole blocks, for O_DIRECT.  No more than that: behind the end of a file XFS
	 * may have a delayed allocation, which is EIO to a direct read.
	 */
	ret = pread(fd, worker->buffer, (size + block_size - 1) / block_size * block_size, 0);
	if (ret < 0 || (uint64_t)ret != size)
		complain(worker, "file %u (%s): %zd of %lu bytes read %s: %s",
			 file->number, file->path, ret, size, how,
			 ret < 0 ? strerror(errno) : "short");
	else
		compare(worker, file, worker->buffer, how);
}

void verify(struct worker *worker, struct file *file)
{
	switch (draw(worker, 8)) {
	case 0:
		posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
		verify_bytes(worker, file, file->fd, "after DONTNEED");
		break;
	case 1:
		verify_bytes(worker, file, file->direct_fd, "by O_DIRECT");
		break;
	case 2:
		/* Bytes past the end of the file are not there to look at. */
		verify_bytes(worker, file, file->fd, "before its mapping");
		compare(worker, file, file->mapping[0], "in a mapping");
		break;
	default:
		verify_bytes(worker, file, file->fd, "in the page cache");
		break;
	}
}

void verify_all(struct worker *worker)
{
	unsigned int i;

	for (i = 0; i < FILES && !atomic_load(&stop); i++)
		verify(worker, &worker->files[i]);
}
