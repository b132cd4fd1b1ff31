/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Why a back end was left out of this build, for what stands in its place.  NOT_BUILT_SERIES is
 * Kbuild's: the kernel's, where this version has not been tested with it.
 */
#ifndef EXCHRANGE_NOT_BUILT_H
#define EXCHRANGE_NOT_BUILT_H

#include <linux/exchrange.h>
#include <linux/printk.h>

#ifdef NOT_BUILT_SERIES
#define NOT_BUILT_REASON	EXCHRANGE_REASON_UNTESTED
#define NOT_BUILT_TEXT		"this version has not been tested with Linux " NOT_BUILT_SERIES
#else
#define NOT_BUILT_REASON	EXCHRANGE_REASON_BUILD
#define NOT_BUILT_TEXT		"the module was built without it"
#endif

static inline void tell_not_built(const char *what)
{
	pr_notice(KBUILD_MODNAME ": %s stays off: " NOT_BUILT_TEXT "\n", what);
}

#endif /* EXCHRANGE_NOT_BUILT_H */
