#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Debian's prometheus and promtool for the tests, where they are not installed:
# out of the package, into BUILD-DIR/prometheus. Installing it would make a
# user, start a server on port 9090 and enable it at boot, all of which is more
# than a test may do to a machine. Without them the tests that need them are
# skipped and say so.
#
# Usage: prometheus.sh BUILD-DIR

set -eu

at=${1:?usage: prometheus.sh BUILD-DIR}/prometheus
if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
	exit 0
fi
[ ! -x "$at/promtool" ] || exit 0
command -v apt-get >/dev/null || exit 0

echo "unpacking Debian's prometheus into $at"
rm -rf "$at"
mkdir -p "$at"
if ! (cd "$at" && apt-get download prometheus) >"$at/log" 2>&1; then
	echo "prometheus cannot be had: $(tail -n 1 "$at/log")"
	exit 0
fi
dpkg-deb --fsys-tarfile "$at"/prometheus_*.deb |
	tar -C "$at" --strip-components=3 -xf - ./usr/bin/prometheus \
		./usr/bin/promtool
rm -f "$at"/*.deb "$at/log"
