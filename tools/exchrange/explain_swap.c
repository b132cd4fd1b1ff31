// SPDX-License-Identifier: GPL-2.0
/*
 * What an errno of a swap means: which of the two files, or of several pairs, and what is
 * wrong with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "explain.h"
#include "place.h"

/* True, and said, where one of the two files has no back end for this swap. */
static bool explain_backends(const struct swap *swap)
{
	const char *paths[] = { swap->path1, swap->path2 };
	int fds[] = { swap->range.file1_fd, swap->range.file2_fd };
	int i;

	for (i = 0; i < 2; i++) {
		struct exchrange_query query = { .fd = fds[i] };

		if (exchrange_query(swap->device, &query))
			continue;
		if (query.backend == EXCHRANGE_BACKEND_NONE) {
			explain_no_backend(paths[i], fds[i], query.reason,
					   swap->device_error);
			return true;
		}
		if (swap->range.flags & ~query.flags & EXCHRANGE_TO_EOF) {
			explain_no_to_eof(paths[i], query.reason);
			return true;
		}
	}
	return false;
}

/*
 * The path of the file that alone makes the file system answer @error: a dry run
 * of nothing with itself tells.  "one of the files" where neither does.
 */
static const char *culprit(const struct swap *swap, int error)
{
	const char *paths[] = { swap->path1, swap->path2 };
	int fds[] = { swap->range.file1_fd, swap->range.file2_fd };
	int i;

	for (i = 0; i < 2; i++) {
		struct exchrange_range nothing = {
			.file1_fd	= fds[i],
			.file2_fd	= fds[i],
			.flags		= EXCHRANGE_DRY_RUN,
		};

		if (exchrange_exchange(swap->device, &nothing) &&
		    errno == error)
			return paths[i];
	}
	return "one of the files";
}

/* One side of a swap, for the checks of its range. */
struct side {
	const char *path;
	uint64_t offset;
	uint64_t size;
	int number;	/* of --offset1 and --offset2 */
};

static bool explain_side(const struct side *side, uint64_t length, bool to_eof,
			 uint32_t alignment)
{
	if (side->offset > side->size) {
		complain("%s: --offset%d %" PRIu64 " is past its end; it has %" PRIu64 " bytes",
			 side->path, side->number, side->offset, side->size);
		return true;
	}
	if (!to_eof && length > side->size - side->offset) {
		complain("%s: --length %" PRIu64 " from byte %" PRIu64 " goes past its end; it has %" PRIu64 " bytes (without --length, all to the ends of both files is swapped)",
			 side->path, length, side->offset, side->size);
		return true;
	}
	if (alignment && side->offset % alignment) {
		complain("%s: --offset%d %" PRIu64 " is not a multiple of %u, the unit of this file system",
			 side->path, side->number, side->offset, alignment);
		return true;
	}
	return false;
}

/* Two ranges of one file share a byte. */
static bool is_overlap(const struct side *side1, const struct side *side2,
		       uint64_t length)
{
	uint64_t distance = side1->offset > side2->offset ?
			    side1->offset - side2->offset :
			    side2->offset - side1->offset;

	return distance < length;
}

/* The ranges as the file system sees them: sizes and units as they are now. */
static void explain_ranges(const struct swap *swap)
{
	const struct exchrange_range *range = &swap->range;
	struct exchrange_query query = { .fd = range->file2_fd };
	bool to_eof = range->flags & EXCHRANGE_TO_EOF;
	struct stat st1, st2;
	struct side side1 = { swap->path1, range->file1_offset, 0, 1 };
	struct side side2 = { swap->path2, range->file2_offset, 0, 2 };

	if (fstat(range->file1_fd, &st1) || fstat(range->file2_fd, &st2))
		return complain("%s: %s", swap->path1, strerror(errno));
	side1.size = st1.st_size;
	side2.size = st2.st_size;
	/* Without the unit the message is poorer, and still right. */
	if (exchrange_query(swap->device, &query))
		query.alignment = 0;
	if (explain_side(&side1, range->length, to_eof, query.alignment) ||
	    explain_side(&side2, range->length, to_eof, query.alignment))
		return;

	if (st1.st_dev == st2.st_dev && st1.st_ino == st2.st_ino &&
	    (to_eof || is_overlap(&side1, &side2, range->length)))
		return complain("%s and %s are one file, and the two ranges overlap",
				swap->path1, swap->path2);
	if (!to_eof && query.alignment && range->length % query.alignment)
		return complain("--length %" PRIu64 " is not a multiple of %u, the unit of this file system, and does not end at the end of both files",
				(uint64_t)range->length, query.alignment);
	if (query.backend == EXCHRANGE_BACKEND_BTRFS)
		return complain("%s and %s: one of them has checksums and the other has none ('lsattr' shows C); copy one with 'cp --reflink=never' to a new file that is like the other",
				swap->path1, swap->path2);
	complain("%s and %s: the file system does not swap these ranges with each other",
		 swap->path1, swap->path2);
}

static void explain_two_mounts(const char *path1, int fd1, const char *path2, int fd2)
{
	struct whereabouts place1 = find_whereabouts(fd1);
	struct whereabouts place2 = find_whereabouts(fd2);

	complain("%s (on %s) and %s (on %s) are not on the same mount; copy one of them next to the other first",
		 path1, place1.target ? place1.target : "one mount",
		 path2, place2.target ? place2.target : "another");
	drop_whereabouts(&place1);
	drop_whereabouts(&place2);
}

static void explain_mounts(const struct swap *swap)
{
	explain_two_mounts(swap->path1, swap->range.file1_fd, swap->path2,
			   swap->range.file2_fd);
}

/* An O_DIRECT read into a mapping has not ended; or file2 has changed. */
static void explain_busy(const struct swap *swap)
{
	if (swap->commit)
		complain("%s: has changed since start-commit, or a device is writing to a mapping of it; nothing was swapped",
			 swap->path2);
	else
		complain("%s or %s: a device is writing to a mapping of it; nothing was swapped, try again when that has ended",
			 swap->path1, swap->path2);
}

/* A swap failed with @error: says why, and what to do. */
void explain_swap(const struct swap *swap, int error)
{
	switch (error) {
	case EINVAL:
		explain_ranges(swap);
		break;
	case EXDEV:
		explain_mounts(swap);
		break;
	case EOPNOTSUPP:
		if (!explain_backends(swap))
			complain("%s: the file system does not support this swap",
				 swap->path2);
		break;
	case EPERM:
	case ETXTBSY:
	case EROFS:
		explain_open(culprit(swap, error), error);
		break;
	case EACCES:
		complain("%s and %s: a security module does not let you read, write or truncate one of them (Landlock: LANDLOCK_ACCESS_FS_TRUNCATE)",
			 swap->path1, swap->path2);
		break;
	case EFBIG:
		complain("%s: the swap would pass the file size limit; raise it with 'ulimit -f'",
			 swap->path2);
		break;
	case ENOSPC:
		complain("%s: no space left on its file system for the swap's metadata; free some",
			 swap->path2);
		break;
	case EDQUOT:
		complain("%s: the swap would exceed the quota of its owner or of %s's; free some space or raise the limit",
			 swap->path2, swap->path1);
		break;
	case EIO:
		complain("%s and %s: I/O error; look at both before you try again, for the swap may have been finished after all",
			 swap->path1, swap->path2);
		break;
	case EBUSY:
		explain_busy(swap);
		break;
	case E2BIG:
		complain("%s: the files have more extents than one transaction can hold; swap smaller ranges, or defragment them",
			 swap->path2);
		break;
	default:
		complain("%s and %s: %s", swap->path1, swap->path2,
			 strerror(error));
	}
}

/* --- several pairs --------------------------------------------------------------- */

/* What takes the module, and one that knows vectors. */
void explain_no_vector(const char *path, const char *done, int device_error, int error)
{
	if (device_error)
		explain_no_device(path, done, device_error);
	else if (error == ENOTTY)
		complain("%s: cannot be %s, for which the module that is loaded is too old; 'modprobe -r exchrange' and 'modprobe exchrange' load the one that is installed",
			 path, done);
	else
		complain("%s: cannot be %s, only alone: the module was built without its own way for this file system ('dmesg | grep exchrange' may say why)",
			 path, done);
}

/* True, and said, where a file of @swap is in an earlier pair too. */
static bool explain_double(const struct swap *swaps, const struct swap *swap)
{
	const char *paths[] = { swap->path1, swap->path2 };
	int fds[] = { swap->range.file1_fd, swap->range.file2_fd };
	const struct swap *other;
	int i;

	for (other = swaps; other < swap; other++)
		for (i = 0; i < 2; i++) {
			bool first = exchrange_is_same(fds[i], other->range.file1_fd);

			if (!first && !exchrange_is_same(fds[i], other->range.file2_fd))
				continue;
			complain("%s and %s: %s is in an earlier pair too, as %s; a file can be in one pair only",
				 swap->path1, swap->path2, paths[i],
				 first ? other->path1 : other->path2);
			return true;
		}
	return false;
}

/* The files of each pair may be on one mount, and the pairs not. */
static void explain_mounts_of_pairs(const struct swap *swaps, const struct swap *swap)
{
	if (exchrange_mount_of(swap->range.file1_fd) ==
	    exchrange_mount_of(swap->range.file2_fd))
		explain_two_mounts(swaps->path2, swaps->range.file2_fd, swap->path1,
				   swap->range.file1_fd);
	else
		explain_mounts(swap);
}

/* What is not about one pair. */
static void explain_all(const struct swap *swaps, int error)
{
	switch (error) {
	case EDQUOT:
		complain("%s: the swaps would exceed the quota of the owner of one of the files; free some space or raise the limit",
			 swaps->path1);
		break;
	case E2BIG:
		complain("%s: the files have more extents in all than one transaction can hold; swap fewer pairs at once, or defragment them",
			 swaps->path1);
		break;
	case EIO:
		complain("%s: I/O error; look at all files before you try again, for the swaps may have been finished after all",
			 swaps->path1);
		break;
	default:
		explain_swap(swaps, error);
	}
}

static void explain_support(const struct swap *swaps, int count, int error)
{
	int i;

	for (i = 0; swaps->device >= 0 && error == EOPNOTSUPP && i < count; i++)
		if (explain_backends(&swaps[i]))
			return;
	explain_no_vector(swaps->path1, "swapped together with others",
			  swaps->device_error, error);
}

void explain_no_swaps(int count)
{
	complain("none of the %d pairs was swapped", count);
}

/* Of @count swaps at once number @refused was refused, or all together where that is -1. */
void explain_swaps(const struct swap *swaps, int count, int refused, int error)
{
	const struct swap *swap = &swaps[refused < 0 ? 0 : refused];

	if (error == EOPNOTSUPP || error == ENOTTY)
		explain_support(swaps, count, error);
	else if (error == EXDEV)
		explain_mounts_of_pairs(swaps, swap);
	else if (refused < 0)
		explain_all(swaps, error);
	else if (error != EINVAL || !explain_double(swaps, swap))
		explain_swap(swap, error);
	if (error != EIO)
		explain_no_swaps(count);
}
