/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the headers that scripts/private_types makes ask for before they are included.
 */
#ifndef EXCHRANGE_PRIVATE_LAYOUT_H
#define EXCHRANGE_PRIVATE_LAYOUT_H

#include <linux/build_bug.h>
#include <linux/static_call.h>

/* Each type is laid out as the module's is; sparse has its own idea of a small enum. */
#ifdef __CHECKER__
#define PRIVATE_LAYOUT(expression)	static_assert((expression) || true)
#else
#define PRIVATE_LAYOUT(expression)	static_assert(expression)
#endif

#endif /* EXCHRANGE_PRIVATE_LAYOUT_H */
