// SPDX-License-Identifier: GPL-2.0
/*
 * Which errors Documentation/uapi.md has for which request, and what is printed: a
 * call with all that is needed to make it again, and the counts in the end.
 */
#include <stdio.h>
#include <string.h>

#include "fuzz.h"

static const struct {
	const char	*name;
	bool		succeeds;
	bool		any;		/* the VFS answers, whatever it likes */
	int		errors[20];
} requests[REQUESTS] = {
	[EXCHANGE] = { "EXCHANGE", true, false,
		{ EFAULT, EINVAL, E2BIG, EBADF, EXDEV, EISDIR, EOPNOTSUPP, EPERM,
		  ETXTBSY, EFBIG, EROFS, ENOSPC, EDQUOT, EBUSY } },
	[START_COMMIT] = { "START_COMMIT", true, false,
		{ EFAULT, EINVAL, E2BIG, EBADF, EISDIR, EOPNOTSUPP } },
	[COMMIT] = { "COMMIT", true, false,
		{ EFAULT, EINVAL, E2BIG, EBADF, EXDEV, EISDIR, EOPNOTSUPP, EPERM,
		  ETXTBSY, EFBIG, EROFS, ENOSPC, EDQUOT, EBUSY } },
	[QUERY] = { "QUERY", true, false,
		{ EFAULT, EINVAL, E2BIG, EBADF, EISDIR, ENOMEM, EAGAIN } },
	[WATCH] = { "WATCH", true, false,
		{ EFAULT, EINVAL, E2BIG, EBADF, EISDIR, EOPNOTSUPP, ENOMEM, EAGAIN,
		  ENOSPC, EMFILE } },
	[STAGE] = { "STAGE", true, false,
		{ EFAULT, EINVAL, E2BIG, EBADF, EISDIR, EOPNOTSUPP, ENOMEM, EAGAIN,
		  EPERM, ETXTBSY, EROFS, EFBIG, ENOSPC, EDQUOT, EUSERS, EMFILE } },
	[VECTOR] = { "EXCHANGE_VECTOR", true, false,
		{ EFAULT, EINVAL, E2BIG, EBADF, EXDEV, EISDIR, EOPNOTSUPP, EPERM,
		  ETXTBSY, EFBIG, EROFS, ENOSPC, EDQUOT, EBUSY, ENOMEM } },
	[HOLD] = { "HOLD", true, false,
		{ EFAULT, EINVAL, E2BIG, EBADF, EISDIR, EOPNOTSUPP, ENOMEM, EAGAIN,
		  EACCES, EPERM, ETXTBSY, EROFS, EUSERS, EMFILE } },
	[UNKNOWN] = { "unknown ioctls", false, false, { ENOTTY } },
	[READ_WRITE_MAP] = { "read, write, mmap", false, false,
		{ EBADF, EINVAL, EFAULT, ENODEV, EACCES, ENOMEM, EAGAIN } },
	[GENERIC] = { "poll, lseek, the VFS's ioctls", true, true },
};

static const char * const memories[MEMORIES] = {
	[GOOD] = "good", [READ_ONLY] = "read-only", [EDGE] = "at an edge",
	[RACING] = "racing", [CHANGING] = "changing",
	[MAPPED_FILE] = "a mapped file", [NOWHERE] = "nowhere",
};

static bool is_listed(enum request request, int error)
{
	size_t i;

	for (i = 0; i < COUNT(requests[0].errors); i++)
		if (requests[request].errors[i] == error)
			return true;
	return false;
}

bool is_documented(enum request request, int error)
{
	if (error == 0)
		return requests[request].succeeds;
	return requests[request].any || is_listed(request, error);
}

static void print_range(const struct exchrange_range *range)
{
	printf("# file1 %d (%s) at 0x%llx, file2 %d (%s) at 0x%llx, length 0x%llx, flags 0x%llx, padding 0x%x 0x%x\n",
	       range->file1_fd, descriptor_name(range->file1_fd),
	       range->file1_offset, range->file2_fd,
	       descriptor_name(range->file2_fd), range->file2_offset,
	       range->length, range->flags, range->pad, range->pad2);
}

static void print_commit(const struct exchrange_commit *commit)
{
	const struct exchrange_range range = {
		.file1_fd	= commit->file1_fd,
		.pad		= commit->pad,
		.file1_offset	= commit->file1_offset,
		.file2_offset	= commit->file2_offset,
		.length		= commit->length,
		.flags		= commit->flags,
		.file2_fd	= commit->file2_fd,
		.pad2		= commit->pad2,
	};
	size_t i;

	print_range(&range);
	printf("# freshness");
	for (i = 0; i < COUNT(commit->file2_freshness); i++)
		printf(" 0x%llx", commit->file2_freshness[i]);
	printf("\n");
}

/* The last call of a worker, which may be this process or another one. */
void print_call(const struct slot *slot)
{
	const struct call *call = &slot->call;

	printf("# --seed %llu, worker %u, life %u, call %llu, %s phase\n",
	       (unsigned long long)shared->seed, slot->worker, slot->life,
	       (unsigned long long)slot->calls, slot->quiet ? "quiet" : "loud");
	printf("# %s: ioctl 0x%x (%u bytes), struct at 0x%lx, memory %s\n",
	       requests[call->request].name, call->cmd,
	       call->cmd >> _IOC_SIZESHIFT & _IOC_SIZEMASK, call->address,
	       memories[call->memory]);
	if (call->request == EXCHANGE)
		print_range(&call->range);
	else if (call->request == START_COMMIT || call->request == COMMIT)
		print_commit(&call->commit);
	else if (call->request == QUERY)
		printf("# file %d (%s)\n", call->query.fd,
		       descriptor_name(call->query.fd));
	else if (call->request == WATCH)
		printf("# file %d (%s), flags 0x%x\n", call->watch.fd,
		       descriptor_name(call->watch.fd), call->watch.flags);
	else if (call->request == STAGE)
		printf("# file %d (%s), flags 0x%x, reserved 0x%llx 0x%llx 0x%llx\n",
		       call->stage.fd, descriptor_name(call->stage.fd), call->stage.flags,
		       call->stage.reserved[0], call->stage.reserved[1],
		       call->stage.reserved[2]);
	else if (call->request == HOLD)
		printf("# file %d (%s), flags 0x%x, reserved 0x%llx 0x%llx 0x%llx\n",
		       call->hold.fd, descriptor_name(call->hold.fd), call->hold.flags,
		       call->hold.reserved[0], call->hold.reserved[1],
		       call->hold.reserved[2]);
	else if (call->request == VECTOR)
		printf("# %u pairs of %u bytes at 0x%llx, flags 0x%llx, padding 0x%x\n",
		       call->vector.count, call->vector.pair_size, call->vector.pairs,
		       call->vector.flags, call->vector.pad);
	fflush(stdout);
}

static uint64_t count(unsigned int workers, enum request request, int error)
{
	uint64_t sum = 0;
	unsigned int i;

	for (i = 0; i < workers; i++)
		sum += shared->slots[i].counts[request][error];
	return sum;
}

bool has_success(unsigned int workers, enum request request)
{
	return count(workers, request, 0) > 0;
}

static void print_missing(unsigned int workers, enum request request)
{
	const int *errors = requests[request].errors;
	const char *before = "; never: ";
	size_t i;

	for (i = 0; i < COUNT(requests[0].errors) && errors[i]; i++) {
		if (count(workers, request, errors[i]))
			continue;
		printf("%s%s", before, strerrorname_np(errors[i]));
		before = ", ";
	}
}

void print_counts(unsigned int workers)
{
	enum request request;
	uint64_t sum;
	int error;

	for (request = 0; request < REQUESTS; request++) {
		for (sum = 0, error = 0; error < ERRNOS; error++)
			sum += count(workers, request, error);
		printf("# %s: %llu calls, ok %llu", requests[request].name,
		       (unsigned long long)sum,
		       (unsigned long long)count(workers, request, 0));
		for (error = 1; error < ERRNOS; error++) {
			const char *name = strerrorname_np(error);

			sum = count(workers, request, error);
			if (sum)
				printf(", %s %llu", name ? name : "another",
				       (unsigned long long)sum);
		}
		if (request <= VECTOR)
			print_missing(workers, request);
		printf("\n");
	}
}
