/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Functions of overlayfs, which it does not export: scripts/private_types.  All their types are
 * public.  One is called by its name, which is a macro for a static call.
 */
#ifndef EXCHRANGE_OVERLAY_PRIVATE_H
#define EXCHRANGE_OVERLAY_PRIVATE_H

#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/path.h>

#include "../private_layout.h"
#include "overlay_types.h"

#endif /* EXCHRANGE_OVERLAY_PRIVATE_H */
