// SPDX-License-Identifier: GPL-2.0
#include <linux/fs.h>

#include "backend.h"

#define CREATE_TRACE_POINTS
#include "trace.h"
