/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The functions that a file system's module does not export, bound for as long as
 * that module is there and is the one that this one was built against; for good, where
 * it is built into the kernel.
 */
#ifndef EXCHRANGE_PRIVATE_SYMBOLS_H
#define EXCHRANGE_PRIVATE_SYMBOLS_H

#include <linux/fs.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/static_call.h>

/* A function of theirs, and the static call through which it is called. */
struct private_symbol {
	const char		*name;
	struct static_call_key	*key;
	void			*trampoline;
};

/* A row of the table for DEFINE_STATIC_CALL_NULL(private_@function, @function). */
#define PRIVATE_SYMBOL(function) {					\
	.name		= #function,					\
	.key		= &STATIC_CALL_KEY(private_##function),		\
	.trampoline	= STATIC_CALL_TRAMP_ADDR(private_##function),	\
}

struct private_symbols {
	const char			*module_name;	/* and the file system's */
	bool				built_in;	/* into the kernel */
	const char			*purpose;	/* what is off without them */
	const char			*btf_sha256;	/* built against, hexadecimal */
	const char			*untested;	/* series of kernels, or NULL */
	const struct private_symbol	*symbols;
	size_t				count;

	struct notifier_block		notifier;
	u32				reason;	/* EXCHRANGE_REASON_*, or bound */
};

int private_symbols_start(struct private_symbols *symbols);
void private_symbols_stop(struct private_symbols *symbols);
u32 private_symbols_get(struct private_symbols *symbols,
			const struct file_system_type *type);
void private_symbols_put(const struct file_system_type *type);

#endif /* EXCHRANGE_PRIVATE_SYMBOLS_H */
