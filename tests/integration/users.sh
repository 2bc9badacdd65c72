# SPDX-License-Identifier: BSD-2-Clause
#
# Processes of several users: alice and bob, who are both in a group, and carol,
# who is not. They are numbers; nobody has to be made for them. To be sourced
# after lib.sh by scripts that have the programs they run in $dir/bin.

# shellcheck shell=sh
# shellcheck disable=SC2154 # lib.sh sets them
# shellcheck disable=SC2034 # they are for who sources this

if [ "$(id -u)" -ne 0 ]; then
	skip "several users: not root"
	exit 77
fi
need setpriv "several users"

alice=61001
bob=61002
carol=61003
team=61100

# as USER COMMAND...: what it says is in out and err
as()
{
	user=$1
	shift
	case $user in
	"$carol") groups=--clear-groups ;;
	*) groups=--groups=$team ;;
	esac
	setpriv --reuid="$user" --regid="$user" $groups "$@" \
		>"$dir/out" 2>"$dir/err" </dev/null
}

ctl()
{
	user=$1
	shift
	as "$user" "$dir/bin/treekvctl" "$@"
}

writer()
{
	user=$1
	shift
	as "$user" "$dir/bin/kvwriter" "$@"
}

# refuses NAME WORDS COMMAND...: it fails, and says that
refuses()
{
	what=$1
	words=$2
	shift 2
	if "$@"; then
		not_ok "$what: it succeeds" "$dir/out"
		return
	fi
	says "$what" "$dir/err" "$words"
}

# of WHO NAME FIELD: as the list has it that he sees
of()
{
	ctl "$1" list --json
	python3 -B -c '
import json, sys
for cache in json.load(open(sys.argv[1])):
    if cache["full_name"] == sys.argv[2]:
        print(cache[sys.argv[3]])' "$dir/out" "$2" "$3"
}

# figure WHO KIND used|limit: as root sees it
figure()
{
	"$treekvctl" quota --json | python3 -B -c '
import json, sys
for account in json.load(sys.stdin):
    if account["who"] == sys.argv[1]:
        print(account[sys.argv[2]][sys.argv[3]])' "$@"
}

# Whatever is asked about SPACE/ledger, the answer is the one for what is not
# there.
same_answer()
{
	for what in inspect drop "lease break" snapshot "chmod 0600" \
		"chown :$carol" park pin unpin "ttl 1h" freeze restore; do
		# shellcheck disable=SC2086 # several words
		ctl $carol $what "$1/ledger"
		a="$? $(sed 's/ledger/NAME/g' "$dir/err")"
		# shellcheck disable=SC2086
		ctl $carol $what "$1/nowhere"
		b="$? $(sed 's/nowhere/NAME/g' "$dir/err")"
		check "$what of $1/: hidden is as absent" [ "$a" = "$b" ]
	done
	for how in --attach "--attach --any" --exclusive ""; do
		# shellcheck disable=SC2086
		writer $carol --cache "$1/ledger" $how
		a="$? $(sed 's/ledger/NAME/g' "$dir/err")"
		# shellcheck disable=SC2086
		writer $carol --cache "$1/nowhere" $how
		b="$? $(sed 's/nowhere/NAME/g' "$dir/err")"
		check "opening $1/ $how: hidden is as absent" [ "$a" = "$b" ]
	done
	says "which says so" "$dir/err" "there is no cache $1/nowhere"
}
