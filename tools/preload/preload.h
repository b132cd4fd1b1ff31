/* SPDX-License-Identifier: MIT */
/*
 * What libexchange-preload has instead of the C library.  <sys/ioctl.h> may have ioctl() under
 * the other name.
 */
#ifndef EXCHRANGE_PRELOAD_H
#define EXCHRANGE_PRELOAD_H

int ioctl(int fd, unsigned long request, ...);
int __ioctl_time64(int fd, unsigned long request, ...);

#endif /* EXCHRANGE_PRELOAD_H */
