#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Installs the Debian packages that are missing for the named groups.
# Usage: deps.sh GROUP...

set -eu

packages()
{
	case $1 in
	build)
		echo gcc libc6-dev make pkg-config liburing-dev \
			libjemalloc-dev protobuf-c-compiler libprotobuf-c-dev \
			libxxhash-dev libmicrohttpd-dev libseccomp-dev \
			systemtap-sdt-dev clang bpftool libbpf-dev \
			libncurses-dev libzstd-dev
		;;
	demo) echo bible-kjv bible-kjv-text python3 ;;
	check)
		echo libcmocka-dev python3 spin mandoc libmicrohttpd12 curl \
			python3-prometheus-client e2fsprogs mount bpftrace tmux \
			qemu-user binutils
		;;
	coverage) echo lcov ;;
	valgrind) echo valgrind ;;
	bench) echo fio memcached python3 redis-server ;;
	eval) echo bible-kjv bible-kjv-text python3 ;;
	deb) echo debhelper dpkg-dev fakeroot lintian ;;
	systemd) echo debootstrap systemd-container ;;
	aarch64) echo gcc-aarch64-linux-gnu qemu-user ;;
	fuzz) echo clang libclang-rt-14-dev ;;
	lint) echo clang-format clang-tidy cppcheck shellcheck ;;
	*)
		echo "deps.sh: no group $1" >&2
		exit 2
		;;
	esac
}

missing=
for group in "$@"; do
	for package in $(packages "$group"); do
		status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) ||
			status=
		case $status in
		*" installed") ;;
		*) missing="$missing $package" ;;
		esac
	done
done
[ -n "$missing" ] || exit 0

echo "installing what is missing:$missing"
if ! command -v apt-get >/dev/null; then
	echo "deps.sh: no apt-get here; install these by hand:$missing" >&2
	exit 1
fi
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get update -qq
# shellcheck disable=SC2086 # a list of words
$sudo env DEBIAN_FRONTEND=noninteractive \
	apt-get install -y -qq --no-install-recommends $missing >/dev/null
