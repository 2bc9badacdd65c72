#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Builds the Debian packages in a copy of the tree, so that the tree stays
# clean; objects are kept in $O/deb/objects, so that a second build is fast.
# lintian looks at the result: an error or a warning of its fails the build.
#
# TREEKV_DEB_VERSION=V makes packages of another version than the source's,
# TREEKV_LINTIAN=no leaves lintian out.
#
# Usage: deb.sh BUILD-DIR

set -eu

O=${1:?usage: deb.sh BUILD-DIR}
mkdir -p "$O/deb"
O=$(cd "$O" && pwd)
cd "$(dirname "$0")/.."
tree=$O/deb/source/treekvd
version=$(sed -n 's/^#define TREEKV_VERSION[[:space:]]*"\(.*\)"/\1/p' \
	client/treekv.h)
wanted=${TREEKV_DEB_VERSION:-$version}

# Everything that is or could be committed; from a release, everything.
list()
{
	if git rev-parse --git-dir >/dev/null 2>&1; then
		git ls-files -z --cached --others --exclude-standard
	else
		find . \( -path "./${O#"$PWD"/}" -o -path './build*' \) \
			-prune -o -type f -print0
	fi
}

rm -rf "$O/deb/source"
mkdir -p "$tree"
list | tar --null --ignore-failed-read --warning=no-failed-read -T - -cf - |
	tar -C "$tree" -xf -
cp -R "$tree/systemd/debian" "$tree/debian"
cd "$tree"
if [ "$(dpkg-parsechangelog -S Version)" != "$version" ]; then
	echo "systemd/debian/changelog is not of version $version" >&2
	exit 1
fi
if [ "$wanted" != "$version" ]; then
	maintainer=$(dpkg-parsechangelog -S Maintainer)
	{
		printf 'treekvd (%s) bookworm; urgency=medium\n\n' "$wanted"
		printf '  * A build of its own.\n\n -- %s  %s\n\n' \
			"$maintainer" "$(date -R)"
		cat systemd/debian/changelog
	} >debian/changelog
fi

TREEKV_O=$O/deb/objects
export TREEKV_O
if ! dpkg-buildpackage -b -us -uc -nc -j"$(nproc)" >"$O/deb/log" 2>&1; then
	tail -n 40 "$O/deb/log" >&2
	echo "the packages do not build; see $O/deb/log" >&2
	exit 1
fi
rm -f "$O"/deb/*_"${wanted}"_*
mv ../*.deb ../*.changes ../*.buildinfo "$O/deb"
ls "$O"/deb/*_"${wanted}"_*.deb
[ "${TREEKV_LINTIAN:-yes}" = yes ] || exit 0
command -v lintian >/dev/null || {
	echo "lintian is not installed: the packages were not looked at"
	exit 0
}
lintian --allow-root --fail-on error,warning --tag-display-limit 0 \
	"$O"/deb/*_"${wanted}"_*.changes
echo "lintian: clean"
