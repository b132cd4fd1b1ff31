// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <linux/btrfs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common.h"
#include "subvolumes.h"

/* 0 or an errno; @is_source: the subvolume of mount_point is what the call copies. */
static int subvolume_call(unsigned long command, bool is_source, const char *format,
			  va_list arguments)
{
	struct btrfs_ioctl_vol_args_v2 call = { };
	int top = open_path(mount_point, O_RDONLY | O_DIRECTORY);
	int error;

	if (is_source)
		call.fd = top;
	vsnprintf(call.name, sizeof(call.name), format, arguments);
	error = ioctl(top, command, &call) ? errno : 0;
	close(top);
	return error;
}

void make_subvolume(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	assert_int_equal(subvolume_call(BTRFS_IOC_SUBVOL_CREATE_V2, false, format, arguments), 0);
	va_end(arguments);
}

void make_snapshot(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	assert_int_equal(subvolume_call(BTRFS_IOC_SNAP_CREATE_V2, true, format, arguments), 0);
	va_end(arguments);
}

void remove_subvolume(const char *format, ...)
{
	va_list arguments;
	int error;

	va_start(arguments, format);
	error = subvolume_call(BTRFS_IOC_SNAP_DESTROY_V2, false, format, arguments);
	va_end(arguments);
	assert_true(!error || error == ENOENT);
}
