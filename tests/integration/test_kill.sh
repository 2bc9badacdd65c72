#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Writers are killed at random moments (tests/helpers/kvkill.c): no row may be
# wrong and no commit lost, whoever attaches next. About 8 seconds; by hand:
#
#	SECONDS_EACH=60 sh tests/integration/test_kill.sh build
#
# Usage: test_kill.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

each=${SECONDS_EACH:-0.8}
seed=${TREEKV_SEED:-1}

# survives NAME OPTION...: the totals go with the result
survives()
{
	what=$1
	shift
	"$helpers/kvkill" --cache "kill-$$" --seconds "$each" --seed "$seed" \
		"$@" >"$dir/totals" 2>"$dir/err"
	status=$?
	"$treekvctl" drop "kill-$$" >/dev/null 2>&1
	if [ $status -eq 0 ] && ! grep -q '^kills 0 ' "$dir/totals"; then
		ok "$what: $(cat "$dir/totals")"
	else
		not_ok "$what (seed $seed)" "$dir/totals" "$dir/err" "$log"
	fi
}

start_daemon --workers 2
survives "writers are killed, several tokens a step" --per-step-max 8
survives "in lockstep, scores as if unbroken" --slack 1 --lockstep
survives "in lockstep with slack 64" --slack 64 --lockstep --policy h2o
survives "killed at any instruction" --single-step \
	--seconds "${SECONDS_EACH:-2}" --layers 1 --heads 1 --k-row 8 \
	--v-row 8 --budget 10 --recent 2 --slack 4
survives "prompts: killed over them" --prompt 300 --delay 700
survives "prompts in lockstep, scores as if unbroken" --prompt 200 --slack 1 \
	--lockstep --policy h2o --delay 700
survives "prompts: killed at any instruction" --prompt 40 --single-step \
	--seconds "${SECONDS_EACH:-2}" --layers 1 --heads 1 --k-row 8 \
	--v-row 8 --budget 10 --recent 2 --slack 4
survives "one token of slack" --slack 1 --policy tova --layers 4
# Without scores it is full much sooner.
policy=treekv
! is_sanitized || policy=treekv-left
survives "32-bit entries" --policy $policy --layers 1 --heads 1 --k-row 8 \
	--v-row 8 --budget 32760 --recent 1000 --slack 64 --per-step-max 16 \
	--fill 33000 --verify-every 16 --delay 10000
stop_daemon
if grep -q 'level=error' "$log"; then
	not_ok "nothing was quarantined" "$log"
else
	ok "nothing was quarantined"
fi
exit $failed
