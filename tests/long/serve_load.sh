#!/bin/sh
# stardit-serve with many jobs and many clients: how long calls take while 20 clients poll and jobs wait, memory
# over 500 jobs, and the time of jobs beside stardit-generate's of the same prompts.
#   serve_load.sh [JOBS]      30 by default, a multiple of 3
# Figures are printed, and only what does not depend on the machine's other work is a failure: lost jobs, errors, and
# memory that grows by more than 20 MB over the 500 jobs.
. "${STARDIT_SOURCE_DIR:-.}/tests/serve/common.sh"
jobs=${1:-30}
command -v python3 >/dev/null || { echo "no python3"; exit 77; }
mkdir "$tmp/alone"
start --max-waiting 1000 --checkpoint-every 100 --queue fcfs
python3 "$source/tests/long/serve_load.py" "$url" "$pid" "$jobs" "$generate" "$demo" "$tmp/alone" ||
    fail "the load"
ls "$state/videos" | grep -c 'mp4$' | grep -qx "$((jobs + 500))" || fail "not all videos are there"
stop
finish
