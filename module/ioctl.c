// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/exchrange: user memory in, one struct exchange_vector out.
 *
 * A struct is copied once.  Its size comes with the ioctl number, so that both
 * sides can grow: copy_struct_from_user() has the rules.
 */
#include <linux/file.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "exchange.h"

/* The sizes of the first version: a shorter struct was never valid. */
#define EXCHRANGE_RANGE_SIZE_VER0	48
#define EXCHRANGE_COMMIT_SIZE_VER0	96
#define EXCHRANGE_QUERY_SIZE_VER0	56
#define EXCHRANGE_WATCH_SIZE_VER0	8
#define EXCHRANGE_STAGE_SIZE_VER0	32
#define EXCHRANGE_VECTOR_SIZE_VER0	48
#define EXCHRANGE_HOLD_SIZE_VER0	32

#define EXCHRANGE_FLAGS	(EXCHRANGE_TO_EOF | EXCHRANGE_DSYNC | \
			 EXCHRANGE_DRY_RUN | EXCHRANGE_FILE1_WRITTEN)

static_assert(sizeof(struct exchrange_range) == EXCHRANGE_RANGE_SIZE_VER0);
static_assert(sizeof(struct exchrange_commit) == EXCHRANGE_COMMIT_SIZE_VER0);
static_assert(sizeof(struct exchrange_query) == EXCHRANGE_QUERY_SIZE_VER0);
static_assert(sizeof(struct exchrange_watch) == EXCHRANGE_WATCH_SIZE_VER0);
static_assert(sizeof(struct exchrange_stage) == EXCHRANGE_STAGE_SIZE_VER0);
static_assert(sizeof(struct exchrange_vector) == EXCHRANGE_VECTOR_SIZE_VER0);
static_assert(sizeof(struct exchrange_hold) == EXCHRANGE_HOLD_SIZE_VER0);

/* Inlined, so that the sizes are constants. */
static __always_inline int copy_argument(void *argument, size_t size,
					 const void __user *user,
					 size_t user_size, size_t first_size)
{
	if (user_size < first_size)
		return -EINVAL;
	return copy_struct_from_user(argument, size, user, user_size);
}

/* Holds both files of @range while @operation is carried out. */
static int submit_range(enum exchange_operation operation,
			const struct exchrange_range *range,
			const u64 *freshness, void __user *user)
{
	struct fd file1, file2;
	int error = -EBADF;

	if (range->pad || range->pad2 || range->flags & ~EXCHRANGE_FLAGS)
		return -EINVAL;

	file2 = fdget(range->file2_fd);
	if (!fd_file(file2))
		return error;

	file1 = fdget(range->file1_fd);
	if (fd_file(file1)) {
		struct exchange_single single = { .request = {
			.operation	= operation,
			.file1		= fd_file(file1),
			.file2		= fd_file(file2),
			.file1_offset	= range->file1_offset,
			.file2_offset	= range->file2_offset,
			.length		= range->length,
			.flags		= range->flags,
			.argument	= user,
		} };

		if (freshness)
			memcpy(single.request.freshness, freshness,
			       sizeof(single.request.freshness));
		exchange_init_single(&single);
		error = exchange_submit(&single.vector);
		fdput(file1);
	}
	fdput(file2);
	return error;
}

static int ioctl_exchange(void __user *user, size_t user_size)
{
	struct exchrange_range range;
	int error;

	error = copy_argument(&range, sizeof(range), user, user_size,
			      EXCHRANGE_RANGE_SIZE_VER0);
	if (error)
		return error;
	return submit_range(EXCHANGE_OPERATION_EXCHANGE, &range, NULL, user);
}

static int ioctl_commit(void __user *user, size_t user_size)
{
	struct exchrange_commit commit;
	struct exchrange_range range;
	int error;

	error = copy_argument(&commit, sizeof(commit), user, user_size,
			      EXCHRANGE_COMMIT_SIZE_VER0);
	if (error)
		return error;

	range = (struct exchrange_range) {
		.file1_fd	= commit.file1_fd,
		.pad		= commit.pad,
		.file1_offset	= commit.file1_offset,
		.file2_offset	= commit.file2_offset,
		.length		= commit.length,
		.flags		= commit.flags,
		.file2_fd	= commit.file2_fd,
		.pad2		= commit.pad2,
	};
	return submit_range(EXCHANGE_OPERATION_COMMIT, &range,
			    commit.file2_freshness, user);
}

static int ioctl_start_commit(void __user *user, size_t user_size)
{
	struct exchange_single single = { .request = {
		.operation	= EXCHANGE_OPERATION_START_COMMIT,
		.argument	= user,
	} };
	const struct exchange_request *request = &single.request;
	struct exchrange_commit commit;
	struct fd file2;
	int error;

	error = copy_argument(&commit, sizeof(commit), user, user_size,
			      EXCHRANGE_COMMIT_SIZE_VER0);
	if (error)
		return error;
	if (commit.pad || commit.pad2 || commit.flags & ~EXCHRANGE_FLAGS)
		return -EINVAL;

	file2 = fdget(commit.file2_fd);
	single.request.file2 = fd_file(file2);
	if (!request->file2)
		return -EBADF;
	exchange_init_single(&single);
	error = exchange_submit(&single.vector);
	fdput(file2);
	if (error || !request->sampled)
		return error;

	user += offsetof(struct exchrange_commit, file2_freshness);
	if (copy_to_user(user, request->freshness, sizeof(request->freshness)))
		return -EFAULT;
	return 0;
}

static int ioctl_query(void __user *user, size_t user_size)
{
	struct exchrange_query query;
	struct fd file;
	int fd, error;

	error = copy_argument(&query, sizeof(query), user, user_size,
			      EXCHRANGE_QUERY_SIZE_VER0);
	if (error)
		return error;
	fd = query.fd;

	file = fdget(fd);
	if (!fd_file(file))
		return -EBADF;
	memset(&query, 0, sizeof(query));
	query.fd = fd;
	error = exchange_query(fd_file(file), &query);
	fdput(file);
	if (error)
		return error;

	/* What lies beyond in a longer struct is zero: copy_argument() saw. */
	if (copy_to_user(user, &query, min(user_size, sizeof(query))))
		return -EFAULT;
	return 0;
}

/* Returns the new descriptor. */
static int ioctl_watch(void __user *user, size_t user_size)
{
	struct exchrange_watch watch;
	struct fd file;
	int ret;

	ret = copy_argument(&watch, sizeof(watch), user, user_size,
			    EXCHRANGE_WATCH_SIZE_VER0);
	if (ret)
		return ret;
	if (watch.flags)
		return -EINVAL;

	file = fdget(watch.fd);
	if (!fd_file(file))
		return -EBADF;
	ret = exchange_watch(fd_file(file));
	fdput(file);
	return ret;
}

/* Returns the new descriptor. */
static int ioctl_stage(void __user *user, size_t user_size)
{
	struct exchrange_stage stage;
	struct fd file;
	int ret;

	ret = copy_argument(&stage, sizeof(stage), user, user_size,
			    EXCHRANGE_STAGE_SIZE_VER0);
	if (ret)
		return ret;
	if (stage.flags & ~EXCHRANGE_STAGE_CLONE ||
	    memchr_inv(stage.reserved, 0, sizeof(stage.reserved)))
		return -EINVAL;

	file = fdget(stage.fd);
	if (!fd_file(file))
		return -EBADF;
	ret = exchange_stage(fd_file(file), stage.flags);
	fdput(file);
	return ret;
}

/* Returns the new descriptor. */
static int ioctl_hold(void __user *user, size_t user_size)
{
	struct exchrange_hold hold;
	struct fd file;
	int ret;

	ret = copy_argument(&hold, sizeof(hold), user, user_size,
			    EXCHRANGE_HOLD_SIZE_VER0);
	if (ret)
		return ret;
	if (hold.flags || memchr_inv(hold.reserved, 0, sizeof(hold.reserved)))
		return -EINVAL;

	file = fdget(hold.fd);
	if (!fd_file(file))
		return -EBADF;
	ret = exchange_hold(fd_file(file));
	fdput(file);
	return ret;
}

/* Whether the caller's struct can take the answer is known before anything happens. */
static int ioctl_exchange_vector(void __user *user, size_t user_size)
{
	struct exchrange_vector vector;
	u32 __user *refused = user + offsetof(struct exchrange_vector, refused);
	int error;

	error = copy_argument(&vector, sizeof(vector), user, user_size,
			      EXCHRANGE_VECTOR_SIZE_VER0);
	if (error)
		return error;
	if (put_user(EXCHRANGE_REFUSED_NONE, refused))
		return -EFAULT;
	error = exchange_vector_submit(&vector);
	if (error && put_user(vector.refused, refused))
		return -EFAULT;
	return error;
}

static long exchange_ioctl(struct file *device, unsigned int cmd,
			   unsigned long arg)
{
	void __user *user = (void __user *)arg;
	size_t user_size = _IOC_SIZE(cmd);

	if (_IOC_TYPE(cmd) != EXCHRANGE_IOC_MAGIC)
		return -ENOTTY;

	switch (_IOC_NR(cmd)) {
	case _IOC_NR(EXCHRANGE_IOC_EXCHANGE):
		return ioctl_exchange(user, user_size);
	case _IOC_NR(EXCHRANGE_IOC_START_COMMIT):
		return ioctl_start_commit(user, user_size);
	case _IOC_NR(EXCHRANGE_IOC_COMMIT):
		return ioctl_commit(user, user_size);
	case _IOC_NR(EXCHRANGE_IOC_QUERY):
		return ioctl_query(user, user_size);
	case _IOC_NR(EXCHRANGE_IOC_WATCH):
		return ioctl_watch(user, user_size);
	case _IOC_NR(EXCHRANGE_IOC_STAGE):
		return ioctl_stage(user, user_size);
	case _IOC_NR(EXCHRANGE_IOC_EXCHANGE_VECTOR):
		return ioctl_exchange_vector(user, user_size);
	case _IOC_NR(EXCHRANGE_IOC_HOLD):
		return ioctl_hold(user, user_size);
	}
	return -ENOTTY;
}

const struct file_operations exchange_fops = {
	.owner		= THIS_MODULE,
	.unlocked_ioctl	= exchange_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
};
