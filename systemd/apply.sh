#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# After files were installed into this machine, or taken away again: tells the
# linker, makes the user and the run directory, and has systemd read its units
# again. What is not here, or not ours to do, is left out and said.
#
# Usage: apply.sh [SYSUSERS-FILE TMPFILES-FILE]

set -eu
PATH=$PATH:/usr/sbin:/sbin

if [ "$(id -u)" -ne 0 ]; then
	echo "not root: the linker's cache, the user treekv and systemd are" \
		"as they were"
	exit 0
fi
ldconfig
if [ $# -eq 2 ] && command -v systemd-sysusers >/dev/null; then
	systemd-sysusers "$1"
	systemd-tmpfiles --create "$2"
elif [ $# -eq 2 ]; then
	echo "no systemd-sysusers here: make the user and group treekv by hand"
fi
if [ -d /run/systemd/system ] && command -v systemctl >/dev/null; then
	systemctl daemon-reload
	[ $# -eq 0 ] || echo "now: systemctl enable --now treekvd.socket treekvd"
fi
