// SPDX-License-Identifier: GPL-2.0
/*
 * The functions of XFS that private.list names, bound while XFS is loaded.
 */
#include "../private_symbols.h"
#include "backend.h"
#include "private.h"

DEFINE_PRIVATE_FUNCTIONS;

static const struct private_symbol functions[] = { PRIVATE_SYMBOL_TABLE };

static struct private_symbols xfs_symbols = {
	.module_name	= "xfs",
	.built_in	= PRIVATE_BUILT_IN,
	.purpose	= "one transaction on XFS",
	.btf_sha256	= PRIVATE_BTF_SHA256,
	.untested	= PRIVATE_UNTESTED,
	.symbols	= functions,
	.count		= ARRAY_SIZE(functions),
};

int xfs_bind_start(void)
{
	return private_symbols_start(&xfs_symbols);
}

void xfs_bind_stop(void)
{
	private_symbols_stop(&xfs_symbols);
}

/*
 * EXCHRANGE_REASON_NONE: XFS's functions may be called until xfs_bind_put(@sb), whose
 * file the caller holds.  Else why they may not.
 */
u32 xfs_bind_get(const struct super_block *sb)
{
	return private_symbols_get(&xfs_symbols, sb->s_type);
}

void xfs_bind_put(const struct super_block *sb)
{
	private_symbols_put(sb->s_type);
}
