// SPDX-License-Identifier: GPL-2.0
/*
 * write, edit, start-commit and commit as a person types them: what the file is
 * afterwards, what is said, and that a call that fails changes nothing and leaves
 * nothing.
 */
#include <dirent.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "scripts.h"

#define FOLDER	"%s/write"

static int make_folder(void **state)
{
	(void)state;
	return enter_folder("write");
}

/* --- write ---------------------------------------------------------------------- */

static void test_a_filter_of_the_file_itself(void **state)
{
	(void)state;
	check("ln f link && setfattr -n user.note -v kept f && setfacl -m u:33:r f && chmod g+w f"
	      " && stat -c '%i %h %U %a' f >before"
	      " && sort f | exchrange write f"
	      " && printf '1\\n2\\n3\\n' | cmp - f && test f -ef link"
	      " && stat -c '%i %h %U %a' f | cmp - before"
	      " && getfattr -n user.note f | grep -q kept && getfacl -c f | grep -q '^user:.*:r--'"
	      " && test $(ls -A | wc -l) = 3");
}

static void test_a_large_input(void **state)
{
	(void)state;
	check("head -c 30000001 /dev/urandom >/tmp/input && exchrange write --dsync f </tmp/input && cmp /tmp/input f"
	      " && cat /tmp/input | exchrange write -- f && cmp /tmp/input f && rm /tmp/input");
}

static void test_an_empty_input(void **state)
{
	(void)state;
	check("exchrange write f </dev/null && test -e f && test ! -s f");
}

static void test_a_new_file(void **state)
{
	(void)state;
	check("umask 027 && echo new | exchrange write --dsync new"
	      " && echo new | cmp - new && test $(stat -c %a new) = 640"
	      " && mkdir d && setfacl -d -m u:33:rw d && echo new | exchrange write d/new"
	      " && getfacl -c d/new | grep -q '^user:.*:rw'");
}

static void test_dashed_names(void **state)
{
	(void)state;
	check("echo x | exchrange write -- --dsync && echo x | cmp - ./--dsync"
	      " && echo y | exchrange write --from - ./- && echo y | cmp - ./-");
}

static void test_from_another_file(void **state)
{
	(void)state;
	check("truncate -s 1M other && echo end >>other && exchrange write --from other f </dev/null"
	      " && cmp other f && test $(stat -c %b f) -lt 100"
	      " && cp other /dev/shm/other && exchrange write --from /dev/shm/other f"
	      " && cmp other f && rm /dev/shm/other");
}

/* What they are is read, whatever their size is said to be. */
static void test_from_files_that_are_made_as_they_are_read(void **state)
{
	(void)state;
	check("for from in /proc/version /proc/filesystems /proc/kallsyms /sys/kernel/mm/transparent_hugepage/enabled"
	      " /sys/kernel/notes /proc/self/mountinfo; do cat $from >want; echo precious >f; exchrange write --from $from f"
	      " && cmp want f || exit 1; done && exchrange write --from /proc/self/cmdline f && tr '\\0' ' ' <f | grep -qx 'exchrange write --from /proc/self/cmdline f '"
	      " && head -c 100001 /dev/urandom >want && exchrange write --from /proc/self/fd/7 f 7<want && cmp want f");
}

/* Large and with holes, from where blocks cannot be shared. */
static void test_from_a_sparse_file(void **state)
{
	(void)state;
	check("s=/dev/shm/sparse && truncate -s 8G $s && echo middle | dd of=$s bs=1 seek=5000000000 conv=notrunc 2>/dev/null"
	      " && timeout 100 exchrange write --from $s f && test $(stat -c %s f) = 8589934592 && test $(stat -c %b f) -lt 1000"
	      " && test $(dd if=f bs=1 skip=5000000000 count=6 2>/dev/null) = middle && rm $s"
	      " && truncate -s 1T large && exchrange write --from large f && test $(stat -c %s f) = 1099511627776");
}

/* Half old and half new is worse than nothing. */
static void test_from_a_file_that_changes(void **state)
{
	(void)state;
	assert_complains("head -c 80M /dev/zero >/dev/shm/busy; perl -e 'open F, \"+<\", \"/dev/shm/busy\"; while (1) { sysseek F, 0, 0; syswrite F, \"x\" }' & p=$!; "
			 UNTIL("test \"$(head -c 1 /dev/shm/busy)\" = x") "cp f want; exchrange write --from /dev/shm/busy f; s=$?; kill $p; wait $p; rm /dev/shm/busy;"
			 " cmp want f && exit $s", 1, "/dev/shm/busy: changed while it was read; f was not written", "");
	assert_complains("head -c 80M /dev/zero >/dev/shm/busy; perl -e 'while (1) { truncate \"/dev/shm/busy\", $_ << 20 for 10, 80 }' & p=$!;"
			 " sleep 0.5; exchrange write --from /dev/shm/busy f; s=$?; kill $p; wait $p; rm /dev/shm/busy;"
			 " cmp want f && exit $s", 1, "/dev/shm/busy: changed while it was read; f was not written", "");
}

/* What is said goes nowhere, and not into the file. */
static void test_closed_streams(void **state)
{
	(void)state;
	check("{ exchrange write f <. 2>&-; test $? = 1; } && printf '3\\n1\\n2\\n' | cmp - f"
	      " && { exchrange swap f missing 2>&-; test $? = 1; } && printf '3\\n1\\n2\\n' | cmp - f"
	      " && { exchrange start-commit f >&- 2>&-; test $? = 1; } && echo x | exchrange write f >&- 2>&-"
	      " && echo x | cmp - f");
}

static void test_links_are_followed(void **state)
{
	(void)state;
	check("ln -s f link && ln -s later dangling && echo x | exchrange write link"
	      " && echo y | exchrange write dangling && test -L link && test -L dangling"
	      " && echo x | cmp - f && echo y | cmp - later");
}

/* Watchers of the file see a modification, and that it is still there. */
static void test_a_watcher(void **state)
{
	(void)state;
	check("inotifywait -q -m --format %e f >events & watcher=$!; " WATCHES("$watcher")
	      "echo x | exchrange write f; " UNTIL("grep -qx MODIFY events") "sleep 0.5; kill $watcher; cat events >&2;"
	      " grep -qx MODIFY events && ! grep -qE 'MOVE|DELETE|IGNORED' events");
}

static void test_progress_on_a_terminal(void **state)
{
	(void)state;
	check("slow='{ head -c 5M /dev/zero; sleep 1.5; head -c 5M /dev/zero; }'"
	      " && script -qec \"$slow | exchrange write f\" /dev/null </dev/null >seen"
	      " && grep -q MiB seen && test $(stat -c %s f) = 10485760"
	      " && sh -c \"$slow | exchrange write f\" >seen 2>&1 && test ! -s seen");
}

static void test_if_unchanged_since(void **state)
{
	(void)state;
	check("token=$(exchrange start-commit f)"
	      " && echo x | exchrange write --if-unchanged-since $token f && echo x | cmp - f");
	assert_complains("token=$(exchrange start-commit f); echo z >>f;"
			 " echo y | exchrange write --if-unchanged-since $token f", 1,
			 "f: has changed meanwhile", "nothing was written");
	assert_complains("token=$(exchrange start-commit f); cp f g; mv g f;"
			 " echo y | exchrange write --if-unchanged-since $token f", 1,
			 "f: has changed meanwhile", "nothing was written");
	assert_complains("token=$(exchrange start-commit f); rm f;"
			 " echo y | exchrange write --if-unchanged-since $token f", 1,
			 "f: no such file", "");
	check("test ! -e f");
}

/* --- start-commit and commit ------------------------------------------------------ */

static void test_commit(void **state)
{
	(void)state;
	check("token=$(exchrange start-commit f) && echo new >new && exchrange commit --dry-run $token new f"
	      " && echo new | cmp - new && exchrange commit --dsync $token new f"
	      " && echo new | cmp - f && printf '3\\n1\\n2\\n' | cmp - new");
	assert_complains("token=$(exchrange start-commit f); echo more >>f; exchrange commit $token new f",
			 1, "f: has changed since start-commit", "nothing was swapped");
	assert_complains("token=$(exchrange start-commit f); exchrange commit $token f new",
			 1, "new: has changed since start-commit", "");
	check("printf 'new\\nmore\\n' | cmp - f && printf '3\\n1\\n2\\n' | cmp - new");
}

static void test_start_commit_json(void **state)
{
	struct outcome text, json;
	json_object *object, *value;

	(void)state;
	check("cp f '\"quoted\"'");
	text = run_and_keep("cd " FOLDER " && exchrange start-commit '\"quoted\"'",
			    mount_point);
	json = run_and_keep("cd " FOLDER " && exchrange start-commit --json '\"quoted\"'",
			    mount_point);
	assert_int_equal(text.status, 0);
	assert_int_equal(json.status, 0);
	object = json_tokener_parse(json.out);
	assert_non_null(object);
	assert_true(json_object_object_get_ex(object, "file", &value));
	assert_string_equal(json_object_get_string(value), "\"quoted\"");
	assert_true(json_object_object_get_ex(object, "token", &value));
	text.out[strcspn(text.out, "\n")] = '\0';
	assert_string_equal(json_object_get_string(value), text.out);
	json_object_put(object);
	drop_outcome(&text);
	drop_outcome(&json);
}

/* --- edit ------------------------------------------------------------------------- */

static void test_edit(void **state)
{
	(void)state;
	/* sed -i replaces the copy by another file. */
	check("ln f link && EDITOR='sed -i s/1/one/' VISUAL= exchrange edit f"
	      " && printf '3\\none\\n2\\n' | cmp - f && test f -ef link && test $(ls -A | wc -l) = 2"
	      " && VISUAL='sh -c \"echo visual >\\$1\" sh' EDITOR=false exchrange edit --dsync f && echo visual | cmp - f"
	      " && EXCHRANGE_EDITOR='sed -i s/visual/own/' VISUAL=false exchrange edit f && echo own | cmp - link");
}

static void test_edit_sees_the_name(void **state)
{
	(void)state;
	check("mkdir d && echo a >d/site.conf && EDITOR='basename >name' exchrange edit d/site.conf"
	      " && echo site.conf | cmp - name && test $(ls -A d | wc -l) = 1");
}

/* Root's copy does not lie where somebody else could put another one. */
static void test_edit_in_a_directory_of_others(void **state)
{
	(void)state;
	check("mkdir theirs all && chown 65534 theirs && chmod 777 all && cp f theirs && cp f all"
	      " && for d in theirs all .; do EDITOR='sh -c \"echo edited >\\$1; echo \\$1 >where\" sh'"
	      " TMPDIR= exchrange edit $d/f && echo edited | cmp - $d/f || exit 1;"
	      " case $d in .) grep -q /.exchrange-edit- where ;; *) grep -q ^/var/tmp/exchrange-edit- where ;; esac"
	      " || { cat where; exit 1; }; done; test -z \"$(ls -d /var/tmp/exchrange-edit-* 2>/dev/null)\"");
}

static void test_edit_of_several_files_and_a_new_one(void **state)
{
	(void)state;
	check("echo b >b && EDITOR='sh -c \"for i; do echo edited >>\\$i; done\" sh' exchrange edit f b new"
	      " && printf '3\\n1\\n2\\nedited\\n' | cmp - f && printf 'b\\nedited\\n' | cmp - b"
	      " && echo edited | cmp - new && test $(ls -A | wc -l) = 3");
}

static void test_edit_that_changes_nothing(void **state)
{
	(void)state;
	check("stat -c '%Y %Z' f >before && EDITOR=true exchrange edit f && EDITOR=touch exchrange edit f"
	      " && EDITOR=true exchrange edit new && EDITOR='rm -f' exchrange edit f"
	      " && stat -c '%Y %Z' f | cmp - before && test $(ls -A | wc -l) = 2");
}

static void test_edit_that_fails(void **state)
{
	(void)state;
	assert_complains("EDITOR=false exchrange edit f", 1, "'false' ended with status 1",
			 "nothing was written");
	assert_complains("EDITOR=nonesuch exchrange edit f", 1, "'nonesuch' cannot be run",
			 "set EDITOR");
	assert_complains("EDITOR='kill -9 $$; true' exchrange edit f", 1, "ended by signal 9",
			 "nothing was written");
	assert_complains("EDITOR='exchrange edit' exchrange edit f", 1,
			 "the editor is 'exchrange edit' itself", "EXCHRANGE_EDITOR");
	check("test $(ls -A | wc -l) = 1");
	/* What it had written before is not thrown away. */
	assert_complains("EDITOR='sh -c \"echo mine >\\$1; exit 3\" sh' exchrange edit f", 1,
			 "ended with status 3", "the edit is kept in");
	check("printf '3\\n1\\n2\\n' | cmp - f && echo mine | cmp - .exchrange-edit-*/f");
}

static void test_edit_of_a_file_that_changes_meanwhile(void **state)
{
	(void)state;
	assert_complains("EDITOR='sh -c \"echo mine >\\$1; echo theirs >f\" sh' exchrange edit f 2>said;"
			 " status=$?; cat said >&2; echo mine | cmp - \"$(sed -n 's/.*kept in //p' said)\" || exit 9;"
			 " exit $status", 1,
			 "f: somebody else has changed it meanwhile, and that stays",
			 "the edit is kept in");
	check("echo theirs | cmp - f");
}

/* --- where it lies ----------------------------------------------------------------- */

/* The module is loaded, and the device not there, as in a container. */
#define WITHOUT_DEVICE(script)	"mv /dev/exchrange /dev/away; " script "; s=$?; mv /dev/away /dev/exchrange; exit $s"

static void test_a_mounted_file(void **state)
{
	(void)state;
	check("touch /tmp/mounted && mount --bind f /tmp/mounted && echo x | exchrange write /tmp/mounted"
	      " && echo x | cmp - f && echo x | cmp - /tmp/mounted"
	      " && EDITOR='sed -i s/x/y/' exchrange edit /tmp/mounted && echo y | cmp - f"
	      " && umount /tmp/mounted");
	/* As in a container, which sees the file alone; where nobody else makes one, either. */
	check("unshare -m sh -c \"mount --make-rprivate / && mount --bind f /tmp/mounted && chmod 666 f && cd / && umount -l $(findmnt -n -o TARGET -T .)"
	      " && echo z | exchrange write /tmp/mounted && EDITOR='sed -i s/z/Z/' exchrange edit /tmp/mounted"
	      " && grep -qx Z /tmp/mounted && EDITOR='sed -i s/Z/nobody/' setpriv --reuid 65534 --regid 65534 --clear-groups env TMPDIR=/tmp exchrange edit /tmp/mounted\""
	      " && echo nobody | cmp - f && chmod 644 f");
	/* Without the device: the way is named. */
	assert_complains(WITHOUT_DEVICE("unshare -m sh -c \"mount --make-rprivate / && mount --bind f /tmp/mounted && cd / && umount -l $(findmnt -n -o TARGET -T .)"
			 " && echo z | exchrange write /tmp/mounted\""), 1,
			 kind->alone ? "/tmp/mounted: is mounted by itself" : "the module is loaded, and /dev/exchrange is not there",
			 "--device /dev/exchrange");
	check("echo nobody | cmp - f");
}

static void test_a_directory_of_others(void **state)
{
	static const char as_nobody[] =
		"setpriv --reuid 65534 --regid 65534 --clear-groups sh -c";
	char script[400];

	(void)state;
	check("mkdir -m 755 closed && mkdir -m 777 open && cp f closed/f && chmod 666 closed/f");
	snprintf(script, sizeof(script), "%s 'echo x | exchrange write closed/f'", as_nobody);
	check(script);
	check("echo x | cmp - closed/f && test $(ls -A closed | wc -l) = 1");
	if (kind->alone) {
		snprintf(script, sizeof(script), WITHOUT_DEVICE("%s 'echo x | exchrange write closed/f'"), as_nobody);
		assert_complains(script, 1, "closed/f: no right to make a staging file", "--staging");
	}
	snprintf(script, sizeof(script), "%s 'echo x | exchrange write closed/new'", as_nobody);
	assert_complains(script, 1, "closed/new: permission denied", "directory");
	snprintf(script, sizeof(script),
		 "%s 'echo x | exchrange write --staging closed closed/f'", as_nobody);
	assert_complains(script, 1, "closed: no right to make a staging file there", "");
	snprintf(script, sizeof(script),
		 "%s 'echo x | exchrange write --staging open closed/f' && echo x | cmp - closed/f"
		 " && test $(stat -c %%u closed/f) = 0 && test -z \"$(ls -A open)\"", as_nobody);
	check(script);
}

static void test_no_back_end(void **state)
{
	(void)state;
	check("rm -rf /dev/shm/w && mkdir /dev/shm/w && echo old >/dev/shm/w/f && chmod 604 /dev/shm/w/f");
	assert_complains("echo x | exchrange write /dev/shm/w/f", 1,
			 "there is no back end for tmpfs", "--fallback=rename");
	check("echo old | cmp - /dev/shm/w/f");
	assert_complains("exchrange write --fallback=rename /dev/shm/w/f <.", 1,
			 "standard input: Is a directory", "");
	check("echo old | cmp - /dev/shm/w/f && ln -s f /dev/shm/w/link"
	      " && echo x | exchrange write --dsync --fallback=rename /dev/shm/w/link"
	      " && echo x | cmp - /dev/shm/w/f && test -L /dev/shm/w/link"
	      " && test $(stat -c %a /dev/shm/w/f) = 604"
	      " && echo y | exchrange write --fallback=rename /dev/shm/w/new && echo y | cmp - /dev/shm/w/new"
	      " && test $(ls -A /dev/shm/w | wc -l) = 3");
	/* Where it is not needed, it is not taken. */
	check("ln f link && echo z | exchrange write --fallback=rename f && echo z | cmp - link");
	/* One that is told to end takes its temporary file away. */
	check("{ echo part; sleep 60; } | exchrange write --fallback=rename /dev/shm/w/f & "
	      UNTIL("test $(ls -A /dev/shm/w | wc -l) = 4") "pkill -x exchrange; "
	      UNTIL("test $(ls -A /dev/shm/w | wc -l) = 3") "pkill -x sleep; test $turns -lt 300"
	      " && echo x | cmp - /dev/shm/w/f && rm -r /dev/shm/w");
}

/* As on a file system that has no unnamed files, which no program here can make. */
#define WITHOUT_TMPFILE	"h=$PWD; cd / && strace -qq -o /dev/null -P . -e inject=openat:error=EOPNOTSUPP "

/* What a link points to is made, and the link stays. */
static void test_fallback_through_a_link(void **state)
{
	(void)state;
	check("mkdir real && ln -s real/later link && ln -s ./link link2"
	      " && echo x | (" WITHOUT_TMPFILE "exchrange write --fallback=rename $h/link2) && echo x | cmp - real/later"
	      " && test -L link && test -L link2 && test $(ls -A real | wc -l) = 1");
	assert_complains("ln -s nowhere/later dangling; echo x | (" WITHOUT_TMPFILE "exchrange write --fallback=rename $h/dangling)",
			 1, "/dangling: no such", "");
	assert_complains("touch /tmp/alone; mount --bind f /tmp/alone; echo x | exchrange write --staging /tmp --fallback=rename /tmp/alone;"
			 " s=$?; umount /tmp/alone; exit $s", 1, "/tmp: is not on the same mount", "");
	check("mkdir -p /dev/shm/m && echo old >/dev/shm/m/f && echo old >/dev/shm/m/g && mount --bind /dev/shm/m/g /dev/shm/m/f"
	      " && { echo x | exchrange write --fallback=rename /dev/shm/m/f 2>said; test $? = 1; } && grep -q 'f: is mounted by itself' said"
	      " && umount /dev/shm/m/f && echo old | cmp - /dev/shm/m/f && test $(ls -A /dev/shm/m | wc -l) = 2 && rm -r /dev/shm/m");
}

/* --- what is wrong, and not what could be -------------------------------------------- */

static void test_an_immutable_directory(void **state)
{
	(void)state;
	check("mkdir d stage && cp f d && chattr +i d && echo x | exchrange write d/f && echo x | cmp - d/f"
	      " && EDITOR='sed -i s/x/y/' exchrange edit d/f && echo y | cmp - d/f && sh -c 'echo plain >d/f'");
	if (kind->alone) {
		assert_complains(WITHOUT_DEVICE("echo x | exchrange write d/f"), 1,
				 "d/f: no staging file can be made in its directory, which is immutable", "--staging");
		assert_complains(WITHOUT_DEVICE("EDITOR=true exchrange edit d/f"), 1, "which is immutable", "--staging");
	}
	assert_complains("echo x | exchrange write d/new", 1, "d/new: its directory is immutable", "chattr -i");
	assert_complains("echo x | exchrange write --staging d f", 1, "can be made in d, which is immutable", "");
	check("echo plain | cmp - d/f && echo x | exchrange write --staging stage d/f && echo x | cmp - d/f && chattr -i d");
}

static void test_a_read_only_mount(void **state)
{
	(void)state;
	check("mkdir d && cp f d");
	assert_complains("mount --bind d d && mount -o remount,bind,ro d && echo x | exchrange write d/f; s=$?; umount d; exit $s",
			 1, "d/f: is on a read-only", "remount,rw");
}

/* chattr could do nothing about it. */
static void test_fs_verity(void **state)
{
	(void)state;
	/* overlayfs hands no such ioctl on. */
	if (!is_btrfs() || is_overlay())
		skip();
	check("head -c 100000 /dev/urandom >f && cp f want && echo other >g && perl -e 'open(F, \"<\", \"f\");"
	      " $a = pack(\"LLLLQLLQx88\", 1, 1, 4096, 0, 0, 0, 0, 0); ioctl(F, 0x40806685, $a) or die $!'");
	assert_complains("echo x | exchrange write f", 1, "f: has fs-verity", "never be written to");
	assert_complains("exchrange swap g f", 1, "f: has fs-verity", "");
	assert_complains("EDITOR=true exchrange edit f", 1, "f: has fs-verity", "");
	check("cmp f want && exchrange write --from f g && cmp f g");
}

/* As in the recipe: it begins again where the file has changed, and for no other reason. */
static void test_the_loop_of_the_recipe(void **state)
{
	(void)state;
	check("cat >add <<'END'\n"
	      "until\n"
	      "    token=$(exchrange start-commit number) || exit\n"
	      "    echo $(($(cat number) + 1)) | exchrange write --if-unchanged-since \"$token\" number\n"
	      "do\n"
	      "    [ \"$(exchrange start-commit number)\" != \"$token\" ] || exit\n"
	      "done\n"
	      "END\n"
	      "! timeout 60 sh add 2>/dev/null; test $? = 0 && test ! -e number && echo 0 >number && sh add && echo 1 | cmp - number"
	      " && chattr +i number && { timeout 60 sh add 2>/dev/null; s=$?; chattr -i number; test $s = 1; }"
	      " && for i in 1 2 3; do (for j in 1 2 3 4; do sh add; done) 2>/dev/null & done; wait; echo 13 | cmp - number");
}

static void test_without_the_module(void **state)
{
	(void)state;
	close(device);
	assert_int_equal(syscall(SYS_delete_module, "exchrange", O_NONBLOCK), 0);
	if (kind->alone)
		check("sort f | exchrange write f && printf '1\\n2\\n3\\n' | cmp - f");
	else
		assert_complains("sort f | exchrange write f", 1,
				 "/dev/exchrange is not there", "modprobe exchrange");
	assert_int_equal(run("modprobe exchrange"), 0);
	device = exchrange_open();
	assert_true(device >= 0);
}

/* --- no room ----------------------------------------------------------------------- */

static void test_no_space(void **state)
{
	const char *mount = mount_point;

	(void)state;
	enter_scratch(kind->mkfs_small, "");
	assert_int_equal(run("mkdir " FOLDER " && echo old >" FOLDER "/f && cd %s &&"
			     " for i in $(seq 100); do fallocate -l 8M $i || break; done 2>/dev/null;"
			     " rm -f $i $((i - 1)) $((i - 2)) $((i - 3)) $((i - 4)) && sync",
			     mount_point, mount_point, mount_point), 0);
	assert_complains("head -c 2G /dev/zero | exchrange write f", 1,
			 "f: no space left", "free some");
	check("echo old | cmp - f && test $(ls -A | wc -l) = 1");
	assert_complains("head -c 2G /dev/zero | exchrange write new", 1,
			 "new: no space left", "");
	check("test ! -e new && sync && head -c 10M /dev/zero | exchrange write f");
	leave_scratch();
	assert_string_equal(mount_point, mount);
}

static void test_quota(void **state)
{
	(void)state;
	enter_scratch(kind->mkfs_small, is_btrfs() ? "" : "uquota");
	assert_int_equal(run(is_btrfs() ?
			     "btrfs quota enable %s && btrfs qgroup limit 20M %s" :
			     "xfs_quota -x -c 'limit bhard=20m 65534' %s # %s",
			     mount_point, mount_point), 0);
	assert_int_equal(run("mkdir -m 777 " FOLDER, mount_point), 0);
	check("echo old >f && chown 65534 f && sync");
	assert_complains("head -c 60M /dev/zero | setpriv --reuid 65534 --clear-groups exchrange write --dsync f",
			 1, "f: ", "quota");
	check("echo old | cmp - f && head -c 5M /dev/zero | setpriv --reuid 65534 --clear-groups exchrange write f"
	      " && test $(stat -c %s f) = 5242880");
	leave_scratch();
}

/* The project of the file pays, before the save and after it. */
static void test_project_quota(void **state)
{
	(void)state;
	if (is_btrfs())
		skip();
	enter_scratch(kind->mkfs_small, "pquota");
	assert_int_equal(run("mkdir -m 777 " FOLDER " && echo old >" FOLDER "/f"
			     " && xfs_io -c 'chproj 42' " FOLDER "/f"
			     " && xfs_quota -x -c 'limit -p bhard=20m 42' %s",
			     mount_point, mount_point, mount_point, mount_point), 0);
	assert_complains("head -c 60M /dev/zero | exchrange write --dsync f", 1,
			 "f: no space left", "");
	check("echo old | cmp - f && head -c 5M /dev/zero | exchrange write --dsync f"
	      " && xfs_io -c lsproj f | grep -qx 'projid = 42' && sync"
	      " && set -- $(xfs_quota -x -c 'quota -p -b -N 42' $(stat -c %m .))"
	      " && test \"$2\" -ge 5120 && test \"$2\" = $(du -k f | cut -f 1)");
	leave_scratch();
}

static void test_file_size_limit(void **state)
{
	(void)state;
	assert_complains("ulimit -f 8; head -c 1M /dev/zero | exchrange write f", 1,
			 "f: it would pass the file size limit", "ulimit -f");
	check("printf '3\\n1\\n2\\n' | cmp - f");
}

/* --- wrong ------------------------------------------------------------------------- */

static const struct wrong wrongs[] = {
	{ "write", 2, "write takes one file, not 0", "usage: exchrange write" },
	{ "write f f", 2, "write takes one file, not 2", "--help" },
	{ "write -", 2, "'-' is no file to write", "./-" },
	{ "write --frob f", 2, "unknown option '--frob'", "--help" },
	{ "write --from", 2, "--from needs a value", "--help" },
	{ "write --fallback=copy f", 2, "--fallback 'copy'", "--fallback=rename" },
	{ "write --if-unchanged-since yesterday f", 2, "'yesterday'", "not a token" },
	{ "write --if-unchanged-since exchrange1-00 f", 2, "not a token", "start-commit" },
	{ "write --fallback=rename --no-follow f", 2, "does not go with", "--no-follow" },
	{ "write .", 1, ".: is a directory", "" },
	{ "write f/x", 1, "f/x: Not a directory", "" },
	{ "write missing/x", 1, "missing/x: no such directory; make missing/ first", "" },
	{ "write f/", 1, "f/: Not a directory", "" },
	{ "write fifo", 1, "fifo: is not a regular file", "" },
	{ "write /dev/null", 1, "/dev/null: is not a regular file", "" },
	{ "write --no-follow link", 1, "link: is a symbolic link", "--no-follow" },
	{ "write --from missing f", 1, "missing: no such file", "" },
	{ "write --from . f", 1, ".: is a directory", "" },
	{ "write --staging /tmp f", 1, "/tmp: is not on the same mount as f", "" },
	{ "write --staging missing f", 1, "missing: no such directory", "--staging" },
	{ "write --staging f f", 1, "f: no such directory", "--staging" },
	{ "write f <.", 1, "standard input: Is a directory", "f was not written" },
	{ "write f <&-", 1, "standard input: Bad file descriptor", "" },
	{ "write immutable", 1, "immutable: is immutable", "chattr" },
	{ "start-commit", 2, "start-commit takes one file, not 0", "usage:" },
	{ "start-commit --xml f", 2, "unknown option '--xml'", "" },
	{ "start-commit missing", 1, "missing: no such file", "" },
	{ "start-commit .", 1, ".: is a directory", "" },
	{ "start-commit /dev/shm/other", 1, "no back end for tmpfs", "" },
	{ "start-commit f >/dev/full", 1, "cannot write", "" },
	{ "commit", 2, "commit takes a token and two files, not 0", "usage:" },
	{ "commit f f f", 2, "'f': not a token", "start-commit" },
	{ "edit", 2, "edit takes at least one file", "usage: exchrange edit" },
	{ "edit -", 2, "'-' is no file to edit", "./-" },
	{ "edit .", 1, ".: is a directory", "" },
	{ "edit missing/x", 1, "missing/x: no such directory; make missing/ first", "" },
	{ "edit --no-follow link", 1, "link: is a symbolic link", "" },
	{ "edit f fifo", 1, "fifo: is not a regular file", "" },
};

/* What the rows above name, once for all: none of them changes anything. */
static int make_surroundings(void **state)
{
	return make_folder(state) ? 1 :
	       run("cd " FOLDER " && mkfifo fifo && ln -s f link && touch immutable"
		   " && chattr +i immutable && echo a >/dev/shm/other", mount_point);
}

static unsigned int count_names(void)
{
	DIR *directory = opendir(path_of("write"));
	unsigned int count = 0;

	assert_non_null(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

static void test_wrong(void **state)
{
	const struct wrong *wrong = *state;
	int fd = open_path(path_of("write/f"), O_RDONLY);
	struct picture before = take_picture(fd);
	unsigned int names = count_names();
	char script[300];

	snprintf(script, sizeof(script), "{ EDITOR=true exchrange %s; } </dev/null",
		 wrong->arguments);
	assert_complains(script, wrong->status, wrong->text1, wrong->text2);
	assert_unchanged(&before, fd);
	assert_int_equal(count_names(), names);
	drop_picture(&before);
	close(fd);
}

#define TEST(name)	cmocka_unit_test_setup(name, make_folder)

int main(int argc, char **argv)
{
	static const struct CMUnitTest others[] = {
		TEST(test_a_filter_of_the_file_itself),
		TEST(test_a_large_input),
		TEST(test_an_empty_input),
		TEST(test_a_new_file),
		TEST(test_dashed_names),
		TEST(test_from_another_file),
		TEST(test_from_files_that_are_made_as_they_are_read),
		TEST(test_from_a_sparse_file),
		TEST(test_from_a_file_that_changes),
		TEST(test_closed_streams),
		TEST(test_links_are_followed),
		TEST(test_a_watcher),
		TEST(test_progress_on_a_terminal),
		TEST(test_if_unchanged_since),
		TEST(test_commit),
		TEST(test_start_commit_json),
		TEST(test_edit),
		TEST(test_edit_sees_the_name),
		TEST(test_edit_in_a_directory_of_others),
		TEST(test_edit_of_several_files_and_a_new_one),
		TEST(test_edit_that_changes_nothing),
		TEST(test_edit_that_fails),
		TEST(test_edit_of_a_file_that_changes_meanwhile),
		TEST(test_a_mounted_file),
		TEST(test_a_directory_of_others),
		TEST(test_no_back_end),
		TEST(test_fallback_through_a_link),
		TEST(test_an_immutable_directory),
		TEST(test_a_read_only_mount),
		TEST(test_fs_verity),
		TEST(test_the_loop_of_the_recipe),
		TEST(test_without_the_module),
		TEST(test_no_space),
		TEST(test_quota),
		TEST(test_project_quota),
		TEST(test_file_size_limit),
	};
	struct table table = {
		.group		= "saving files",
		.rows		= wrongs,
		.row_size	= sizeof(wrongs[0]),
		.row_count	= COUNT(wrongs),
		.test		= test_wrong,
		.others		= others,
		.other_count	= COUNT(others),
		.setup		= make_surroundings,
	};

	start(argc, argv);
	return run_table(&table);
}
