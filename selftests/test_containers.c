// SPDX-License-Identifier: GPL-2.0
/*
 * A file that is mounted by itself into a container or a sandbox of people's own tools, whose
 * root file system is the guest's, read-only: it is saved there, by root and by others, and what
 * is outside stays. With the file and the device, and nothing else.
 *
 * And the container's own files, where its root is an overlay over the guest's, with the upper layer
 * on the mount point.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "scripts.h"

#define INSIDE	"/usr/local/bin/save-inside"

/* What runs inside; the way of others ends with EBUSY. */
static const char inside[] =
	"#!/bin/sh -e\n"
	"test \"$(cat /tmp/site.conf)\" = old\n"
	"echo x >/tmp/other && if mv /tmp/other /tmp/site.conf 2>/dev/null; then echo was renamed; exit 1; fi\n"
	"if touch /etc/made 2>/dev/null; then echo not read-only; exit 1; fi\n"
	"echo new | exchrange write --dsync /tmp/site.conf\n"
	"test \"$(cat /tmp/site.conf)\" = new\n"
	"EDITOR='sed -i s/new/edited/' exchrange edit /tmp/site.conf\n";

#define INSIDE_OWN	"/usr/local/bin/save-own"
#define LOWER		"/etc/exchanged.conf"

/* A file of the container's own, and where it may, one that comes from the lower layer. */
static const char inside_own[] =
	"#!/bin/sh -e\n"
	"test \"$(stat -f -c %T /etc)\" = overlayfs\n"
	"echo old >/etc/own.conf; ln /etc/own.conf /etc/link\n"
	"echo new | exchrange write --dsync /etc/own.conf\n"
	"test \"$(cat /etc/link)\" = new\n"
	"EDITOR='sed -i s/new/edited/' exchrange edit /etc/own.conf\n"
	"test \"$(cat /etc/own.conf)\" = edited\n"
	"if [ -w " LOWER " ]; then echo new | exchrange write " LOWER "; test \"$(cat " LOWER ")\" = new; fi\n"
	"exchrange query /etc/own.conf\n";

static int make_script(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	if (!file || fputs(text, file) < 0 || fclose(file))
		return 1;
	return run("chmod 755 %s", path);
}

static int make_folder(void **state)
{
	(void)state;
	return make_script(INSIDE, inside) || make_script(INSIDE_OWN, inside_own) ||
	       run("echo lower >" LOWER) || enter_folder("containers") ||
	       run("cd %s/containers && chmod 755 . && rm f && echo old >f && ln f name && setfattr -n user.note -v kept f", mount_point);
}

static bool has(const char *program)
{
	return run("command -v %s >/dev/null && test -e /proc/self/ns/user", program) == 0;
}

/* The runtimes want to see cgroups, though they make none. */
static bool has_runtime(const char *program)
{
	return has(program) &&
	       run("mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup") == 0;
}

/* Around a script that runs a container, and knows nobody as $U. */
#define OUTSIDE								\
	"before=$(stat -c '%i %h %u %g %a' f); inotifywait -q -m -e modify --format %e name >events 2>/dev/null & w=$!; "	\
	WATCHES("$w")								\
	"( "
#define STAYS								\
	" ); s=$?; " UNTIL("test $(grep -c MODIFY events) -ge 2") "kill $w; test $s = 0 && test \"$(cat name)\" = edited && test \"$(stat -c '%i %h %u %g %a' f)\" = \"$before\"" \
	" && getfattr -n user.note f | grep -q kept && test $(grep -c MODIFY events) -ge 2 && test ! -e /etc/made"

#define FOR_NOBODY	"chown 65534 f && chmod 600 f; "

/* --- bubblewrap -------------------------------------------------------------------------- */

#define BWRAP	"bwrap --ro-bind / / --tmpfs /mnt --tmpfs /tmp --bind $PWD/f /tmp/site.conf --dev /dev --proc /proc "
#define DEVICE	"--dev-bind /dev/exchrange /dev/exchrange "

static void test_bubblewrap(void **state)
{
	(void)state;
	if (!has("bwrap"))
		skip();
	check(OUTSIDE BWRAP DEVICE INSIDE STAYS);
}

static void test_bubblewrap_of_a_user(void **state)
{
	(void)state;
	if (!has("bwrap"))
		skip();
	check(FOR_NOBODY OUTSIDE AS_NOBODY BWRAP DEVICE INSIDE STAYS);
}

/* What is missing is named. */
static void test_without_the_device(void **state)
{
	(void)state;
	if (!has("bwrap"))
		skip();
	assert_complains("echo x | " BWRAP "exchrange write /tmp/site.conf", 1,
			 kind->alone ? "/tmp/site.conf: is mounted by itself" :
			 "the module is loaded, and /dev/exchrange is not there",
			 "--device /dev/exchrange");
	check("test \"$(cat f)\" = old");
}

/* --- crun, which podman and others start ------------------------------------------------ */

/* A container of the guest's own root, with $MORE; "r" is that root. */
#define BIND		"mkdir r && mount --bind / r"
#define BUNDLE(root, readonly, program)					\
	root " && minor=$(cut -d : -f 2 /sys/class/misc/exchrange/dev) && cat >config.json <<END\n"	\
	"{ \"ociVersion\": \"1.0.0\", \"root\": { \"path\": \"$PWD/r\", \"readonly\": " readonly " },\n"	\
	"  \"process\": { \"user\": { \"uid\": 0, \"gid\": 0 }, \"args\": [ \"" program "\" ], \"cwd\": \"/\", \"noNewPrivileges\": true,\n"	\
	"    \"env\": [ \"PATH=/usr/local/bin:/usr/bin:/bin\", \"HOME=/tmp\" ], \"capabilities\": {} },\n"	\
	"  \"mounts\": [\n"						\
	"    { \"destination\": \"/proc\", \"type\": \"proc\", \"source\": \"proc\" },\n"	\
	"    { \"destination\": \"/mnt\", \"type\": \"tmpfs\", \"source\": \"tmpfs\" },\n"	\
	"    { \"destination\": \"/tmp\", \"type\": \"tmpfs\", \"source\": \"tmpfs\" },\n"	\
	"    { \"destination\": \"/var/tmp\", \"type\": \"tmpfs\", \"source\": \"tmpfs\" },\n"	\
	"    { \"destination\": \"/dev\", \"type\": \"tmpfs\", \"source\": \"tmpfs\" },\n"	\
	"    { \"destination\": \"/tmp/site.conf\", \"type\": \"bind\", \"source\": \"$PWD/f\", \"options\": [ \"bind\", \"rw\" ] } ],\n"	\
	"  \"linux\": { \"devices\": [ { \"path\": \"/dev/exchrange\", \"type\": \"c\", \"major\": 10, \"minor\": $minor, \"fileMode\": 438 } ],\n"	\
	"    $MORE \"namespaces\": [ { \"type\": \"mount\" }, { \"type\": \"pid\" }, { \"type\": \"ipc\" }, { \"type\": \"uts\" } $NAMESPACE ] } }\n"	\
	"END\n"
#define END_BUNDLE	"; s=$?; umount -l r; rmdir r; exit $s"

static void test_crun(void **state)
{
	(void)state;
	if (!has_runtime("crun"))
		skip();
	check("{ " BUNDLE(BIND, "true", INSIDE) OUTSIDE "crun --root /tmp/crun --cgroup-manager=disabled run --bundle . one" STAYS "; }" END_BUNDLE);
}

static void test_crun_of_a_user(void **state)
{
	(void)state;
	if (!has_runtime("crun"))
		skip();
	check("MORE='\"uidMappings\": [ { \"containerID\": 0, \"hostID\": 65534, \"size\": 1 } ],"
	      " \"gidMappings\": [ { \"containerID\": 0, \"hostID\": 65534, \"size\": 1 } ],' NAMESPACE=', { \"type\": \"user\" }'; "
	      "{ " BUNDLE(BIND, "true", INSIDE) FOR_NOBODY "rm -rf /tmp/crun-user; mkdir -m 700 /tmp/crun-user; chown 65534 /tmp/crun-user; "
	      OUTSIDE AS_NOBODY "env XDG_RUNTIME_DIR=/tmp/crun-user crun --root /tmp/crun-user/root --cgroup-manager=disabled run --bundle . two" STAYS "; }" END_BUNDLE);
}

/* Writable, and no file of the lower layer has changed. */
#define OVERLAY		"mkdir r upper work && mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay r"
#define LOWER_STAYS	" && test \"$(cat " LOWER ")\" = lower && test ! -e /etc/own.conf"

static void test_crun_on_overlay(void **state)
{
	(void)state;
	if (!has_runtime("crun"))
		skip();
	check("{ " BUNDLE(OVERLAY, "false", INSIDE_OWN) "crun --root /tmp/crun --cgroup-manager=disabled run --bundle . three"
	      LOWER_STAYS " && test \"$(cat upper/etc/own.conf upper" LOWER ")\" = \"edited\nnew\"; }" END_BUNDLE);
}

/* --- podman ------------------------------------------------------------------------------ */

#define PODMAN(folder)	PODMAN_WITH(folder, "--read-only", "-v $PWD/f:/tmp/site.conf --rootfs $PWD/r " INSIDE)
#define PODMAN_WITH(folder, option, rest)				\
	"podman --root " folder "/root --runroot " folder "/run --tmpdir " folder "/tmp --storage-driver vfs --events-backend=none"	\
	" --cgroup-manager=cgroupfs run --rm --cgroups=disabled --network=none --no-hosts --log-driver=none " option	\
	" --device /dev/exchrange --tmpfs /mnt " rest

static void test_podman(void **state)
{
	(void)state;
	if (!has_runtime("podman"))
		skip();
	check("{ mkdir r && mount --bind / r && " OUTSIDE PODMAN("/dev/shm/podman") STAYS "; }; s=$?; umount -l r; rmdir r; rm -rf /dev/shm/podman; exit $s");
}

static void test_podman_of_a_user(void **state)
{
	(void)state;
	if (!has_runtime("podman"))
		skip();
	check("id exchanger >/dev/null 2>&1 || useradd -m exchanger; grep -q exchanger /etc/subuid || { echo exchanger:200000:65536 >>/etc/subuid; echo exchanger:200000:65536 >>/etc/subgid; };"
	      " rm -rf /dev/shm/user; mkdir -m 700 /dev/shm/user; chown exchanger /dev/shm/user; chown exchanger f; chmod 600 f;"
	      " { mkdir r && mount --bind / r && " OUTSIDE
	      "runuser -u exchanger -- env -u DBUS_SESSION_BUS_ADDRESS HOME=/home/exchanger XDG_RUNTIME_DIR=/dev/shm/user sh -c '" PODMAN("/dev/shm/user") "'"
	      STAYS "; }; s=$?; pkill -u exchanger; sleep 0.5; umount -l r; rmdir r; rm -rf /dev/shm/user; exit $s");
}

/* The overlay is podman's, with the upper layer in its own storage here. */
static void test_podman_on_overlay(void **state)
{
	(void)state;
	if (!has_runtime("podman"))
		skip();
	check("{ mkdir r && mount --bind / r && " PODMAN_WITH("$PWD/podman", "", "--rootfs $PWD/r:O " INSIDE_OWN) LOWER_STAYS
	      "; }; s=$?; umount -l r; rmdir r; rm -rf podman; exit $s");
}

#define TEST(name)	cmocka_unit_test_setup(name, make_folder)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_bubblewrap),
		TEST(test_bubblewrap_of_a_user),
		TEST(test_without_the_device),
		TEST(test_crun),
		TEST(test_crun_of_a_user),
		TEST(test_podman),
		TEST(test_podman_of_a_user),
		TEST(test_crun_on_overlay),
		TEST(test_podman_on_overlay),
	};

	start(argc, argv);
	return run_as_ktap("containers", tests, NULL, NULL);
}
