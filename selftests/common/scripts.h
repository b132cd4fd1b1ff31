/* SPDX-License-Identifier: GPL-2.0 */
/* Shell scripts in a folder of their own, which has the file f of three lines. */
#ifndef SELFTESTS_SCRIPTS_H
#define SELFTESTS_SCRIPTS_H

#include "common.h"

/* Makes the folder anew, below the mount point, for the calls that follow. */
int enter_folder(const char *name);

/* A script that must end with 0; what it prints is in the test's output if not. */
void check(const char *script);

/* One that ends with @status and says both texts, and prints nothing. */
void assert_complains(const char *script, int status, const char *text1,
		      const char *text2);

/* Waits for a condition, half a minute at most. */
#define UNTIL(condition) \
	"turns=0; until " condition " || [ $((turns += 1)) -gt 300 ]; do sleep 0.1; done; "

/* The exchrange that was started last has begun a save: it has a file that never had a name. */
#define BEGUN	UNTIL("ls -l /proc/$(pgrep -nx exchrange)/fd 2>/dev/null | grep -q '#[0-9]* (deleted)'")

/* The exchrange that was started last waits for exchanges. */
#define WATCHING UNTIL("grep -qs poll /proc/$(pgrep -nx exchrange)/wchan")

/* An inotifywait or the like, the process @pid, sees what happens from now on. */
#define WATCHES(pid) UNTIL("grep -qs '^inotify wd' /proc/" pid "/fdinfo/*")

/* Before a command: nobody, who has no other group. */
#define AS_NOBODY	"setpriv --reuid 65534 --regid 65534 --clear-groups "

#endif /* SELFTESTS_SCRIPTS_H */
