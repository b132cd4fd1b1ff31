// SPDX-License-Identifier: GPL-2.0
/*
 * The path that every exchange takes: check, choose the back end, hand over.
 */
#include <linux/ktime.h>

#include "exchange.h"
#include "overlay/overlay.h"
#include "trace.h"

static const struct exchange_backend * const backends[] = {
	&exchange_backend_xfs,
	&exchange_backend_btrfs,
};

static void stop_backends(size_t count)
{
	while (count--)
		if (backends[count]->stop)
			backends[count]->stop();
}

/* When the module comes, and when it goes: nobody calls the device yet, or any more. */
int exchange_start(void)
{
	int error;
	size_t i;

	exchange_watch_start();
	exchange_hold_start();
	error = exchange_staged_start();
	if (error)
		return error;
	error = exchange_overlay_start();
	if (error) {
		exchange_staged_stop();
		return error;
	}
	for (i = 0; i < ARRAY_SIZE(backends); i++) {
		error = backends[i]->start ? backends[i]->start() : 0;
		if (error) {
			stop_backends(i);
			exchange_overlay_stop();
			exchange_staged_stop();
			return error;
		}
	}
	return 0;
}

void exchange_stop(void)
{
	stop_backends(ARRAY_SIZE(backends));
	exchange_overlay_stop();
	exchange_staged_stop();
}

/* The back end for the file system of @file, or NULL.  No locks. */
const struct exchange_backend *exchange_find_backend(const struct file *file)
{
	unsigned long magic = file_inode(file)->i_sb->s_magic;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(backends); i++)
		if (backends[i]->magic == magic)
			return backends[i];
	return NULL;
}

/* All files are on the mount of the first. */
static int check_request(const struct exchange_vector *vector, u32 i)
{
	const struct exchange_request *request = &vector->requests[i];

	if (request->file2->f_path.mnt != vector->requests[0].file2->f_path.mnt)
		return -EXDEV;
	return exchange_check_request(request);
}

static int check(struct exchange_vector *vector)
{
	int error = 0;
	u32 i;

	for (i = 0; i < vector->count && !error; i++) {
		trace_exchrange_request(&vector->requests[i]);
		error = check_request(vector, i);
		if (error)
			vector->refused = i;
	}
	return error;
}

static int check_and_submit(struct exchange_vector *vector)
{
	const struct exchange_request *first = &vector->requests[0];
	const struct exchange_backend *backend;
	int error;

	error = check(vector);
	if (!error && first->operation != EXCHANGE_OPERATION_START_COMMIT)
		error = exchange_vector_index(vector);
	if (error)
		return error;

	if (exchange_is_on_overlay(first->file2))
		return exchange_overlay_submit(vector);
	backend = exchange_find_backend(first->file2);
	if (!backend)
		return -EOPNOTSUPP;

	return backend->submit(vector);
}

/*
 * Carries out @vector, which has a request at least and whose files the caller holds.  May
 * sleep, takes no lock of its own.  After an error all files hold what they held, if the
 * back end keeps that promise.
 */
int exchange_submit(struct exchange_vector *vector)
{
	/* Reading the clock is dear on some machines: only if someone looks. */
	bool timed = trace_exchrange_result_enabled();
	u64 start = timed ? ktime_get_ns() : 0;
	int error;

	error = check_and_submit(vector);
	if (timed)
		trace_exchrange_result(&vector->requests[0], error,
				       ktime_get_ns() - start);
	return error;
}

/* The inode that has the data of @file, where that is known: what others know it by, too. */
struct inode *exchange_data_inode(const struct file *file)
{
	return exchange_is_on_overlay(file) ? exchange_overlay_inode(file) : file_inode(file);
}

static int query_backend(struct file *file, struct exchrange_query *query)
{
	const struct exchange_backend *backend = exchange_find_backend(file);

	if (exchange_is_on_overlay(file))
		return exchange_overlay_query(file, query);
	if (backend)
		return backend->query(file, query);
	query->reason = EXCHRANGE_REASON_FILE_SYSTEM;
	return 0;
}

/* Of a file on overlayfs also those from before it was copied up. */
static void query_holds(const struct file *file, struct exchrange_query *query)
{
	const struct inode *inode = exchange_data_inode(file);

	exchange_hold_query(inode, query);
	if (inode != file_inode(file))
		exchange_hold_query(file_inode(file), query);
}

/*
 * Tells in @query, which is zero but for fd, what can be done with @file, whose
 * reference the caller holds.  May sleep.
 */
int exchange_query(struct file *file, struct exchrange_query *query)
{
	int error;

	error = exchange_check_regular(file_inode(file));
	if (error)
		return error;

	error = query_backend(file, query);
	if (error || query->backend == EXCHRANGE_BACKEND_NONE)
		return error;
	if (exchange_can_check_overwrite())
		query->features |= EXCHRANGE_FEATURE_HOLD;
	query_holds(file, query);
	return 0;
}

/* What query() answers, or -EOPNOTSUPP where there is no back end.  May sleep. */
int exchange_check_backend(struct file *file)
{
	struct exchrange_query query = { };
	int error;

	error = exchange_query(file, &query);
	if (error)
		return error;
	return query.backend == EXCHRANGE_BACKEND_NONE ? -EOPNOTSUPP : 0;
}

/*
 * Whether @file may have what takes no more than to read it: what exchange_check_regular() says,
 * -EBADF where it is not open for reading, what query() answers, or -EOPNOTSUPP.  May sleep.
 */
int exchange_check_readable(struct file *file)
{
	int error;

	error = exchange_check_regular(file_inode(file));
	if (error)
		return error;
	return file->f_mode & FMODE_READ ? exchange_check_backend(file) : -EBADF;
}

/*
 * A descriptor for a new watch of @file, whose reference the caller holds; or what
 * exchange_check_readable() says.  May sleep.
 */
int exchange_watch(struct file *file)
{
	return exchange_check_readable(file) ?: exchange_watch_open(file);
}
