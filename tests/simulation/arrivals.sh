#!/bin/sh
# Requests by traces under the queues of stardit-serve: the figures of docs/serving.md, those of an
# event loop in Python, and lines that are none.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
simulate=$build/stardit-simulate
if [ ! -x "$simulate" ]; then
    echo "built without StarPU over SimGrid (configure --with-starpu-simgrid)"
    exit 77
fi
cd "$source" || exit 99

# Each row of the table: trace, devices, queue, percent in time of S, M and L, p95 of S.
rows=0
grep '^| [a-z-]* | [0-9]* | [a-z]* | ' docs/serving.md | tr -d '|' >"$tmp/table"
while read -r trace devices queue s m l p95; do
    rows=$((rows + 1))
    passes "$simulate" --arrivals "$trace" --devices "$devices" --queue "$queue"
    found=$(awk '/^[SML] /{ sub("%", "", $3); v[$1] = $3; if ($1 == "S") p = $6 }
        END { print v["S"], ("M" in v ? v["M"] : "-"), v["L"], p }' "$tmp/out")
    [ "$found" = "$s $m $l $p95" ] || fail "$trace, $queue: docs/serving.md has $s $m $l $p95, not $found"
done <"$tmp/table"
[ $rows -eq 8 ] || fail "docs/serving.md: $rows rows"

# A single device: 10 s in 2 steps; the shorter one, due earlier, comes in the middle of a step.
printf 'class long 2 10 9\nclass short 1 1 3\n0 long\n2 short # a comment\n' >"$tmp/trace"
passes "$simulate" --arrivals "$tmp/trace" --queue edf --stats "$tmp/s.json"
grep -q "^long  *1  *100.0%  *11.0 " "$tmp/out" && grep -q "^short  *1  *0.0%  *4.0 " "$tmp/out" || fail "$(cat "$tmp/out")"
[ "$("$tool" json "$tmp/s.json" seconds)" = 11 ] || fail "$(cat "$tmp/s.json")"
passes "$simulate" --arrivals "$tmp/trace" --queue fcfs
grep -q "^long  *1  *100.0%  *10.0 " "$tmp/out" || fail "$(cat "$tmp/out")"

while IFS='|' read -r message line; do
    printf 'class a 1 1 1\n%s\n' "$line" >"$tmp/bad"
    refuses 1 "$simulate" --arrivals "$tmp/bad"
    says "$message"
done <<'END'
bad:2: '1 b' is neither|1 b
bad:2: '-1 a' is neither|-1 a
bad:2: 'class a 1 1 1' is neither|class a 1 1 1
bad:2: 'class c 0 1 1' is neither|class c 0 1 1
nothing arrives|# 1 a
END
refuses 1 "$simulate" --arrivals none
says "none: .*a name of tables/arrivals here"
refuses 2 "$simulate" --arrivals tridentserve --queue lifo
says "fcfs, priority, edf and srtf are known"
refuses 2 "$simulate" --arrivals tridentserve --width 64
says "does not go with --arrivals"

# What is shipped is what is drawn.
if command -v python3 >/dev/null; then
    for trace in inflight-burst foreground-burst tridentserve; do
        python3 tools/arrivals.py $trace >"$tmp/drawn"
        same "$tmp/drawn" "tables/arrivals/$trace.txt"
    done
fi
finish
