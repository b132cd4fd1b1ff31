// SPDX-License-Identifier: GPL-2.0
/*
 * The module comes and goes: with and without the file system's, many times, and
 * never while somebody uses it.  Leaves the mount point and the module as it found
 * them.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/mount.h>
#include <unistd.h>

#include "common.h"

static int load(void)
{
	return run("modprobe exchrange");
}

/* delete_module(2): 0 or an errno, without waiting. */
static int unload(void)
{
	return syscall(SYS_delete_module, "exchrange", O_NONBLOCK) ? errno : 0;
}

static bool is_loaded(const char *module)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/module/%s", module);
	return access(path, F_OK) == 0;
}

static void close_device(void)
{
	close(device);
	device = -1;
}

static void open_device(void)
{
	device = exchrange_open();
	assert_true(device >= 0);
}

static void assert_swap_works(void)
{
	static const struct file_spec plain = { SHAPE_PLAIN, 10000 };
	struct exchrange_range range = {
		.file1_fd	= make_file("file1", plain, 1),
		.file2_fd	= make_file("file2", plain, 2),
		.flags		= EXCHRANGE_TO_EOF,
	};
	uint8_t byte;

	assert_int_equal(device_exchange(&range), 0);
	assert_int_equal(pread(range.file2_fd, &byte, 1, 7000), 1);
	assert_int_equal(byte, content_byte(1, 7000));
	close(range.file1_fd);
	close(range.file2_fd);
}

/* It has no module then that could go. */
static bool is_built_in(void)
{
	struct outcome outcome = run_and_keep("modinfo -n %s", kind->name);
	bool built_in = strstr(outcome.out, "(builtin)");

	drop_outcome(&outcome);
	return built_in;
}

static void leave_file_system(void)
{
	assert_int_equal(umount(mount_point), 0);
	if (is_built_in())
		return;
	assert_int_equal(run("modprobe -r %s", kind->name), 0);
	assert_false(is_loaded(kind->name));
}

static void enter_file_system(void)
{
	assert_int_equal(run("mount %s '%s'", kind->device, mount_point), 0);
}

static void test_device_comes_and_goes(void **state)
{
	(void)state;
	close_device();
	assert_int_equal(unload(), 0);
	assert_int_equal(access("/dev/exchrange", F_OK), -1);
	assert_int_equal(exchrange_open(), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(load(), 0);
	open_device();
	assert_swap_works();
}

static void test_loads_and_unloads_again_and_again(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 100 / test_share(); i++) {
		close_device();
		assert_int_equal(unload(), 0);
		assert_false(is_loaded("exchrange"));
		/* Now and then the file system goes too, and comes back. */
		if (i % 25 == 12)
			leave_file_system();
		assert_int_equal(load(), 0);
		if (i % 25 == 12)
			enter_file_system();
		open_device();
	}
	assert_swap_works();
}

static void test_open_device_keeps_the_module(void **state)
{
	(void)state;
	assert_int_equal(unload(), EWOULDBLOCK);
	assert_swap_works();
}

struct long_exchange {
	struct exchrange_range	range;
	int			device;
	atomic_bool		started;
	atomic_bool		ended;
	int			error;
};

static void *exchange_long(void *argument)
{
	struct long_exchange *exchange = argument;

	atomic_store(&exchange->started, true);
	exchange->error = exchrange_exchange(exchange->device,
					     &exchange->range) ? errno : 0;
	atomic_store(&exchange->ended, true);
	return NULL;
}

/*
 * Closes the descriptor under the call, and unloads as soon as that works.  Returns
 * how often it was refused meanwhile.
 */
static unsigned int unload_under(struct long_exchange *exchange)
{
	unsigned int refusals = 0;
	int error;

	close_device();
	for (;;) {
		error = unload();
		if (error == 0)
			break;
		assert_int_equal(error, EWOULDBLOCK);
		refusals++;
		usleep(1000);
	}
	/* The call has returned, or is about to: it has not a second left. */
	usleep(200000);
	assert_true(atomic_load(&exchange->ended));
	return refusals;
}

/* The descriptor is closed under a call: the call alone keeps the module. */
static void test_running_exchange_keeps_the_module(void **state)
{
	static const struct file_spec scattered = {
		SHAPE_SCATTERED, 2000 * BLOCK
	};
	struct long_exchange exchange = {
		.range.file1_fd	= make_file("file1", scattered, 1),
		.range.file2_fd	= make_file("file2", scattered, 2),
		/* Not all of it, which XFS exchanges at once, however many extents it has. */
		.range.length	= 1999 * BLOCK,
	};
	unsigned int refusals, attempts = 0;
	pthread_t thread;

	(void)state;
	do {
		exchange.device = device;
		atomic_store(&exchange.started, false);
		atomic_store(&exchange.ended, false);
		assert_int_equal(pthread_create(&thread, NULL, exchange_long,
						&exchange), 0);
		while (!atomic_load(&exchange.started))
			;
		usleep(10000);
		refusals = unload_under(&exchange);
		pthread_join(thread, NULL);
		assert_int_equal(load(), 0);
		open_device();
		/* EBADF: the call came too late.  No refusal: it had returned.  Once more. */
	} while (exchange.error == EBADF || (!refusals && ++attempts < 20));

	print_message("# %u refusals while it ran\n", refusals);
	assert_int_equal(exchange.error, 0);
	assert_true(refusals > 0);
	close(exchange.range.file1_fd);
	close(exchange.range.file2_fd);
	assert_swap_works();
}

static void test_file_system_module_goes_and_comes_back(void **state)
{
	struct exchrange_query query = { .fd = open_path("/root", O_TMPFILE | O_RDWR) };

	(void)state;
	if (is_built_in())
		skip();
	/* The device keeps no hold on it, and works on without it. */
	leave_file_system();
	assert_int_equal(exchrange_query(device, &query), 0);
	assert_int_equal(query.reason, EXCHRANGE_REASON_FILE_SYSTEM);
	close(query.fd);
	enter_file_system();
	assert_swap_works();
}

static void test_loads_without_the_file_system(void **state)
{
	(void)state;
	if (is_built_in())
		skip();
	leave_file_system();
	close_device();
	assert_int_equal(unload(), 0);
	assert_int_equal(load(), 0);
	assert_false(is_loaded(kind->name));
	open_device();
	enter_file_system();
	assert_swap_works();
}

/* Loads the module with some bytes of it replaced by as many others. */
static void load_changed(const char *substitution)
{
	close_device();
	assert_int_equal(unload(), 0);
	assert_int_equal(run("perl -0777 -pe '%s' <$(modinfo -n exchrange) >/tmp/changed.ko"
			     " && ! cmp -s $(modinfo -n exchrange) /tmp/changed.ko"
			     " && insmod /tmp/changed.ko", substitution), 0);
	open_device();
}

static struct exchrange_range two_files(void)
{
	return (struct exchrange_range) {
		.file1_fd	= open_path(mount_point, O_TMPFILE | O_RDWR),
		.file2_fd	= open_path(mount_point, O_TMPFILE | O_RDWR),
	};
}

/* There is no back end without the functions. */
static void assert_back_end_off(const struct exchrange_range *range,
			     const struct exchrange_query *query)
{
	struct exchrange_commit commit = { .file2_fd = range->file2_fd };

	assert_int_equal(query->backend, EXCHRANGE_BACKEND_NONE);
	assert_int_equal(device_exchange(range), EOPNOTSUPP);
	/* XFS's own ioctl samples whatever it is made for. */
	assert_int_equal(device_start_commit(&commit),
			 is_btrfs() || !kernel_has_own_exchange() ? EOPNOTSUPP : 0);
}

/* XFS's own ioctl needs them to keep a crash from cutting what TO_EOF makes longer. */
static void assert_to_eof_off(const struct exchrange_range *range,
			      const struct exchrange_query *query)
{
	struct exchrange_range to_eof = *range;

	assert_int_equal(query->backend, EXCHRANGE_BACKEND_XFS);
	assert_false(query->flags & EXCHRANGE_TO_EOF);
	assert_int_equal(device_exchange(range), 0);
	to_eof.flags = EXCHRANGE_TO_EOF;
	assert_int_equal(device_exchange(&to_eof), EOPNOTSUPP);
	to_eof.flags |= EXCHRANGE_DRY_RUN;
	assert_int_equal(device_exchange(&to_eof), EOPNOTSUPP);
	/* XFS answers into a page of the caller's.  No room is an error, and no wrong answer. */
	assert_int_equal(as_nobody(query_in_a_full_address_space, &to_eof.file2_fd), ENOMEM);
}

/* What needs private functions is off for this reason, which the log tells. */
static void assert_off(uint32_t reason, const char *log)
{
	struct exchrange_range range = two_files();
	struct exchrange_query query = { .fd = range.file2_fd };

	assert_int_equal(exchrange_query(device, &query), 0);
	assert_int_equal(query.reason, reason);
	if (kind->alone)
		assert_to_eof_off(&range, &query);
	else
		assert_back_end_off(&range, &query);
	assert_int_equal(run("dmesg | tail -n 20 | grep -q 'exchrange: %s stays off: %s'",
			     is_btrfs() ? "the btrfs back end" : "one transaction on XFS",
			     log), 0);
	close(range.file1_fd);
	close(range.file2_fd);
}

static void reload(void)
{
	close_device();
	assert_int_equal(unload(), 0);
	assert_int_equal(load(), 0);
	open_device();
	assert_swap_works();
}

static void test_another_build_stays_off(void **state)
{
	char log[64];

	(void)state;
	snprintf(log, sizeof(log), "exchrange was built for another %s",
		 is_built_in() ? "vmlinux" : kind->name);
	/* The digests of the BTF that it was built against. */
	load_changed("s/\\0[0-9a-f]{8}([0-9a-f]{56})\\0/\\x0000000000$1\\0/g");
	assert_off(EXCHRANGE_REASON_BTF, log);
	/* It comes again, and is still another. */
	leave_file_system();
	enter_file_system();
	assert_off(EXCHRANGE_REASON_BTF, log);
	reload();
}

static void test_missing_function_keeps_it_off(void **state)
{
	(void)state;
	load_changed(is_btrfs() ? "s/\\0btrfs_free_path\\0/\\0btrfs_fool_path\\0/" :
		     "s/\\0xfs_trans_log_inode\\0/\\0xfs_trans_fog_inode\\0/");
	assert_off(EXCHRANGE_REASON_SYMBOL, is_btrfs() ? "btrfs has no btrfs_fool_path" :
		   "xfs has no xfs_trans_fog_inode");
	reload();
}

/* A kernel without kprobes, or without the names of its functions, loads the module all the same. */
static void test_no_lookup_keeps_it_off(void **state)
{
	(void)state;
	load_changed("s/\\0kallsyms_lookup_name\\0/\\0kallsyms_lookup_none\\0/");
	assert_off(EXCHRANGE_REASON_LOOKUP,
		   "this kernel has no kprobes, or no kallsyms: error -2");
	/* It stays so when the file system comes again. */
	leave_file_system();
	enter_file_system();
	assert_off(EXCHRANGE_REASON_LOOKUP, "this kernel");
	reload();
}

/* Nothing is truncated that nobody could be asked about. */
static void test_missing_hook_keeps_it_off(void **state)
{
	(void)state;
	load_changed("s/\\0security_(file|path)_truncate\\0/\\0security_fool_truncate\\0/");
	assert_off(EXCHRANGE_REASON_SYMBOL, "the kernel has no security_fool_truncate");
	reload();
}

static void test_second_file_system(void **state)
{
	(void)state;
	enter_scratch(kind->mkfs, "defaults");
	assert_swap_works();
	leave_scratch();
	assert_swap_works();
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_device_comes_and_goes),
		cmocka_unit_test(test_loads_and_unloads_again_and_again),
		cmocka_unit_test(test_open_device_keeps_the_module),
		cmocka_unit_test(test_running_exchange_keeps_the_module),
		cmocka_unit_test(test_file_system_module_goes_and_comes_back),
		cmocka_unit_test(test_loads_without_the_file_system),
		cmocka_unit_test(test_another_build_stays_off),
		cmocka_unit_test(test_missing_function_keeps_it_off),
		cmocka_unit_test(test_missing_hook_keeps_it_off),
		cmocka_unit_test(test_no_lookup_keeps_it_off),
		cmocka_unit_test(test_second_file_system),
	};

	start(argc, argv);
	return run_as_ktap("module", tests, NULL, NULL);
}
