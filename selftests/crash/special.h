/* SPDX-License-Identifier: GPL-2.0 */
/* Workloads that have their own files, and their own opinion of what a crash has left. */
#ifndef SELFTESTS_CRASH_SPECIAL_H
#define SELFTESTS_CRASH_SPECIAL_H

#include "workloads.h"

struct special {
	/* As the functions of workloads.h, which call these. */
	void		(*prepare)(void);
	void		(*run)(unsigned int rounds, unsigned int *random);
	enum verdict	(*judge)(struct promise promise);
};

/* One database, and two that every transaction changes; sqlite.c. */
extern const struct special sqlite_database, sqlite_databases;

#endif /* SELFTESTS_CRASH_SPECIAL_H */
