/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between kernels, so that the code reads as if there were one.
 */
#ifndef EXCHRANGE_COMPAT_H
#define EXCHRANGE_COMPAT_H

#include <linux/file.h>

/* Since 6.12 struct fd is opaque. */
#ifndef fd_file
#define fd_file(fd)	((fd).file)
#endif

#endif /* EXCHRANGE_COMPAT_H */
