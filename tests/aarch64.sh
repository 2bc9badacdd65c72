#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The unit tests for aarch64: built by Debian's cross compiler, run by qemu-user.
# Debian's arm64 packages are unpacked into $O/root, once; apt is told of them in
# a state directory of its own, so that the machine's is left as it is.
#
# qemu-user has no io_uring and no seccomp: what needs them is not run, and named.
#
# Usage: aarch64.sh BUILD-DIR [WORD]...

set -eu

mkdir -p "${1:?usage: aarch64.sh BUILD-DIR [WORD]...}"
O=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")/.."
root=$O/root
compiler="${CCACHE:+$CCACHE }aarch64-linux-gnu-gcc --sysroot=$root"
packages="libc6-dev libgcc-12-dev liburing-dev libjemalloc-dev
	libprotobuf-c-dev libxxhash-dev libcmocka-dev libzstd-dev
	libncurses-dev libmicrohttpd-dev libseccomp-dev systemtap-sdt-dev"
lacking="conn listener loop sandbox snapshot snapshot_files"

arm64_apt()
{
	apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 \
		-o Dir::State="$apt" -o Dir::State::status="$apt/status" \
		-o Dir::Cache="$apt" -o Debug::NoLocking=1 \
		-o APT::Sandbox::User= "$@"
}

unpack_packages()
{
	echo "unpacking Debian's arm64 packages in $root (once)"
	apt=$O/apt
	rm -rf "$apt" "$root" "$root.new"
	mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$root.new"
	: >"$apt/status"
	# shellcheck disable=SC2086 # a list of words
	arm64_apt update && arm64_apt install -y --no-install-recommends \
		--download-only $packages || {
		echo "skip - unit tests for aarch64: no arm64 packages of Debian's"
		exit 77
	}
	for package in "$apt"/archives/*.deb; do
		dpkg-deb -x "$package" "$root.new"
	done
	rm -rf "$apt"
	mv "$root.new" "$root"
}

[ -d "$root" ] || unpack_packages
programs=
for source in tests/unit/test_*.c; do
	name=$(basename "$source" .c)
	case " $lacking " in
	*" ${name#test_} "*)
		echo "skip - unit/$name: qemu-user has neither io_uring nor seccomp"
		;;
	*) programs="$programs $O/tests/$name" ;;
	esac
done
# shellcheck disable=SC2086 # a list of words
make O="$O" CC="$compiler" NO_BPF=1 $programs
QEMU_LD_PREFIX=$root EMULATOR=qemu-aarch64 sh tests/run.sh "$O" "${@:-unit/}"
