# shellcheck shell=bash
# Sourced by the other scripts. They run in the folder of Pulumi.yaml, with `pulumi` and `thingspace` on PATH.
#
# Exit codes: 1 error, 2 drift, 3 `thingspace doctor` failed, 4 both, 5 blocked by the record of rejected logins,
# 75 another run for this stack is under way.
set -euo pipefail

fail() {  # fail CODE MESSAGE HINT
    printf 'Error: %s\n  %s\n' "$2" "$3" >&2
    if [ -n "${output:-}" ]; then echo "**Error: $2.** $3" | summarize; fi
    exit "$1"
}

stack=${1:-}
if [ -z "$stack" ]; then
    fail 1 "no stack given" "Usage: $(basename "$0") STACK"
fi
if [ -d .venv/bin ]; then PATH="$PWD/.venv/bin:$PATH"; fi
if [ -n "${ESC_ENVIRONMENT:-}" ]; then  # its variables exist in the command alone, not in the job
    environment=$ESC_ENVIRONMENT
    unset ESC_ENVIRONMENT
    exec pulumi env run "$environment" -- "$0" "$@"
fi

output="${PIPELINE_OUTPUT:-.pipeline}/$stack"
# shellcheck disable=SC2034  # the other scripts use it
plan="$output/plan.json"
mkdir -p "$output"
state="${XDG_STATE_HOME:-$HOME/.local/state}/thingspace-provider"

commit() {  # the commit of the program, or "none"
    git rev-parse HEAD 2>/dev/null || echo none
}

run_pulumi() {  # run pulumi with its output in $output/log; name the cause if the stack is locked
    local status=0
    pulumi --non-interactive --color never "$@" --stack "$stack" 2>&1 | tee "$output/log" || status=$?
    if [ "$status" != 0 ] &&
        grep -qE 'stack is currently locked|Another update is currently in progress' "$output/log"; then
        fail 75 "another run for stack $stack is under way" \
            "Wait for its end. If no run is under way, an earlier one was killed: pulumi cancel --stack $stack"
    fi
    return "$status"
}

summarize() {  # append standard input to the job's summary, which GitHub shows; GitLab's is in the artefact
    tee -a "$output/summary.md" >>"${GITHUB_STEP_SUMMARY:-/dev/null}"
}

count_rejected() {  # the number of ThingSpace users with a rejected login
    { grep -lrE '"failed_logins": [1-9]' "$state/rejected-logins" || true; } | wc -l
}

report_login_record() {
    echo "Record of rejected logins: $(count_rejected) ThingSpace user(s) with a rejected login." | summarize
}

check_login_record() {  # a scheduled run ends here if an earlier login was rejected, or if that is not known
    mkdir -p "$state/rejected-logins"
    trap report_login_record EXIT
    if [ "${PIPELINE_SCHEDULED:-false}" = true ]; then
        [ -e "$state/record-kept" ] || fail 5 "the record of rejected logins was not restored" \
            "No login was sent. Check the secrets, then start this job by hand once: docs/pipelines.md"
        [ "$(count_rejected)" = 0 ] || fail 5 "ThingSpace rejected an earlier login" \
            "No login was sent. Correct the secret, then start this job by hand once: docs/pipelines.md"
    fi
    touch "$state/record-kept"
}
