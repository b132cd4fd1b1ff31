// SPDX-License-Identifier: GPL-2.0
/* Shell scripts in a folder of their own. */
#include <stdio.h>

#include "scripts.h"

static const char *folder;

int enter_folder(const char *name)
{
	folder = name;
	return run("chattr -R -f -i -a %s/%s; rm -rf %s/%s && mkdir -m 1777 %s/%s && cd %s/%s"
		   " && printf '3\\n1\\n2\\n' >f && touch -d 2020-01-01 f",
		   mount_point, name, mount_point, name, mount_point, name,
		   mount_point, name);
}

void check(const char *script)
{
	assert_int_equal(run("cd %s/%s && { %s\n}", mount_point, folder, script), 0);
}

void assert_complains(const char *script, int status, const char *text1,
		      const char *text2)
{
	const struct wrong wrong = { script, status, text1, text2 };
	struct outcome outcome = run_and_keep("cd %s/%s && { %s\n}", mount_point,
					      folder, script);

	assert_complaint(&outcome, &wrong);
}
