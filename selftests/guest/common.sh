# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts that source this use them
# shellcheck disable=SC2154 # $kernel is theirs
#
# Where things lie, which guests there are, and how these scripts speak.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
cache=${EXCHRANGE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/exchrange}
default_kernel=6.12
PATH=$PATH:/usr/sbin:/sbin # where mke2fs and chroot are, for a user

say()
{
	printf '%s\n' "$*" >&2
}

die()
{
	say "${0##*/}: $*"
	exit 125
}

# Has mmdebstrap take packages named NAME/SUITE from another suite, beside its first one: a
# line more in the list of sources that it writes itself.
add_suite()
{
	debian_options+=(
		--setup-hook="sed -n 's/ $suite / $1 /p' \"\$1/etc/apt/sources.list\" >\"\$1/etc/apt/sources.list.d/more.list\""
		--aptopt='Acquire::Check-Valid-Until "false"'
	)
}

# Sets what differs between the guests: $suite, $packages, $debian_options (of mmdebstrap),
# $memory (MiB), $boot_options, and how long it may boot, emulated, beside others ($boot_seconds).
choose_guest()
{
	local kernel_packages=(linux-image-amd64 linux-headers-amd64)
	local tools=(acl attr dkms fio inotify-tools libsqlite3-dev mandoc sparse sqlite3 strace xfslibs-dev)
	# What people save files with, and in.
	local users=(bash-completion bubblewrap crun git libcap2-bin moreutils nano podman uidmap
		vim zsh)
	debian_options=()
	memory=2048
	boot_options=()
	boot_seconds=300
	case $1 in
	6.12)
		suite=trixie
		;;
	6.12-debug)
		suite=trixie
		kernel_packages=()
		memory=4096
		boot_seconds=1200
		# With ACPI it stands for minutes in its interpreter, under emulation.
		boot_options=(acpi=off)
		;;
	backports)
		suite=trixie
		add_suite trixie-backports
		kernel_packages=(linux-{base,image-amd64,headers-amd64}/trixie-backports)
		;;
	bookworm-6.12)
		suite=bookworm
		add_suite bookworm-backports
		kernel_packages=(linux-{image-amd64,headers-amd64}/bookworm-backports)
		;;
	sid)
		suite=sid
		# Where nobody has renewed the mirror for a week, it still serves.
		debian_options+=(--aptopt='Acquire::Check-Valid-Until "false"')
		;;
	6.1)
		suite=bookworm
		;;
	*)
		die "there is no guest with kernel $1: take 6.12 (Debian 13), 6.12-debug (the same with lockdep, KASAN and so on), 6.1 or bookworm-6.12 (Debian 12), backports or sid (the newest)"
		;;
	esac
	packages=(
		gcc make libc6-dev bpftool libcmocka-dev libjson-c-dev libmount-dev pkgconf
		kmod xz-utils busybox-static procps e2fsprogs xfsprogs btrfs-progs dmsetup
		"${kernel_packages[@]}" "${tools[@]}"
	)
	if [ "$1" = 6.12-debug ]; then
		packages+=(linux-source-6.12 bc bison flex libelf-dev dwarves)
	else
		packages+=("${users[@]}")
	fi
}

# Where a guest keeps what is built of this source folder: clones do not mix.
work_folder()
{
	printf '%s/build-%s\n' "$1" "$(printf %s "$top" | sha256sum | cut -c 1-12)"
}

# The same of a kernel tree.
tree_folder()
{
	work_folder "$cache/tree-$(printf %s "$1" | sha256sum | cut -c 1-12)"
}

# Runs a command with root's rights over the guest's files, in a mount namespace, so
# that nothing stays mounted: as root, or as root of a user namespace whose other
# users are the caller's subordinate ones.
as_guest_root()
{
	if [ "$EUID" = 0 ]; then
		unshare --mount "$@"
	else
		unshare --mount --map-root-user --map-auto "$@"
	fi
}

# Keeps what was built there.
copy_source()
{
	mkdir -p "$work/source"
	rsync -a --delete --exclude=/.git --filter=':- .gitignore' "$top/" "$work/source/"
}

# read_only FOLDER [ROOT]: shows it at its own path, below ROOT if there is one, so that nothing
# can be written to it there.  What else holds for its mount stays, which a user cannot change.
read_only()
{
	local at=${2:-}$1 options
	options=$(findmnt -n -o VFS-OPTIONS -T "$1" | sed 's/^rw/ro/')
	mkdir -p "$at"
	mount --bind "$1" "$at"
	mount -o "remount,bind,$options" "$at"
}

# Shows the Debian root $lower at $work/merged, with the source $work/source at its /build.
# What changes there goes to the folder $changes; $lower is never written to.
mount_root()
{
	local root=$work/merged
	mkdir -p "$changes" "$work/overlayfs" "$root"
	mount -t overlay overlay \
		-o "lowerdir=$lower,upperdir=$changes,workdir=$work/overlayfs" "$root"
	mkdir -p "$root/build"
	mount --bind "$work/source" "$root/build"
	mount --rbind /proc "$root/proc"
	mount --rbind /dev "$root/dev"
	cp -L /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
}

# Runs a command in that root.
enter()
{
	local status=0
	mount_root
	chroot "$work/merged" /usr/bin/env -i LC_ALL=C HOME=/root \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		${http_proxy:+http_proxy="$http_proxy"} \
		sh -c 'cd /build && exec "$@"' sh "$@" || status=$?
	umount -l "$work/merged"
	rmdir "$changes/build"
	rm -f "$changes/etc/resolv.conf"
	return "$status"
}

# Shows on a terminal how long it takes and the end of the log, until it is killed or
# its parent is gone.
show_progress()
{
	local log=$1 start=$SECONDS
	while kill -0 $$ 2>/dev/null; do
		printf '\r\033[K  %3d s  %.60s' "$((SECONDS - start))" \
			"$(tail -n 1 "$log" 2>/dev/null | tr -d '\r')"
		sleep 1
	done >&2
}

# Says what is done, does it, and says how long it took.  What the command
# prints goes to the log, and comes to light where it fails.
step()
{
	local what=$1 log=$2 start=$SECONDS progress='' status=0
	shift 2
	say "guest $kernel: $what ..."
	: >"$log"
	if [ -t 2 ]; then
		show_progress "$log" &
		progress=$!
	fi
	"$@" >"$log" 2>&1 </dev/null || status=$?
	if [ -n "$progress" ]; then
		kill "$progress"
		wait "$progress" 2>/dev/null || true
		printf '\r\033[K' >&2
	fi
	if [ "$status" -ne 0 ]; then
		tail -n 40 "$log" >&2
		die "$what: failed; all of it is in $log"
	fi
	say "guest $kernel: $what: $((SECONDS - start)) s"
}
