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
grep '^| [a-z-]* | [0-9]* | [a-z-]* | ' docs/serving.md | tr -d '|' >"$tmp/table"
while read -r trace devices queue s m l p95; do
    rows=$((rows + 1))
    passes "$simulate" --arrivals "$trace" --devices "$devices" --queue "$queue"
    found=$(awk '/^[SML] /{ sub("%", "", $3); v[$1] = $3; if ($1 == "S") p = $6 }
        END { print v["S"], ("M" in v ? v["M"] : "-"), v["L"], p }' "$tmp/out")
    [ "$found" = "$s $m $l $p95" ] || fail "$trace, $queue: docs/serving.md has $s $m $l $p95, not $found"
done <"$tmp/table"
[ $rows -eq 9 ] || fail "docs/serving.md: $rows rows"

# GENSERVE's table: a row each queue, percent in time by what deadlines are scaled with.
rows=0
sed -n '/^| queue, of the genserve/,/^$/p' docs/serving.md | grep '^| [a-z-]* | [0-9]' | tr -d '|' >"$tmp/table"
while read -r queue values; do
    rows=$((rows + 1)) found=
    for scale in 0.8 0.9 1 1.1 1.2 1.3; do
        passes "$simulate" --arrivals genserve --devices 8 --queue "$queue" --deadline-scale $scale
        found="$found $(awk '/^all /{ print $3 + 0 }' "$tmp/out")"
    done
    [ "$found" = " $(echo "$values" | sed 's/ *([0-9]*)//g; s/  */ /g; s/ *$//')" ] || fail "$queue: docs/serving.md has $values, not$found"
done <"$tmp/table"
[ $rows -eq 6 ] || fail "docs/serving.md: $rows rows of GENSERVE's table"

# A single device: 10 s in 2 steps; the shorter one, due earlier, comes in the middle of a step.
printf 'class long 2 10 9\nclass short 1 1 3\n0 long\n2 short # a comment\n' >"$tmp/trace"
passes "$simulate" --arrivals "$tmp/trace" --queue edf --stats "$tmp/s.json"
grep -q "^long  *1  *100.0%  *11.0 " "$tmp/out" && grep -q "^short  *1  *0.0%  *4.0 " "$tmp/out" || fail "$(cat "$tmp/out")"
[ "$("$tool" json "$tmp/s.json" seconds)" = 11 ] || fail "$(cat "$tmp/s.json")"
passes "$simulate" --arrivals "$tmp/trace" --queue fcfs
grep -q "^long  *1  *100.0%  *10.0 " "$tmp/out" || fail "$(cat "$tmp/out")"


# Two devices shared out: 8 s in 2 steps, which two take in half that, and 1 s of decode on one of them; due after
# 6.75 s, it needs both. Another comes in its first step, and has the device that the decode leaves.
printf 'class wide 2 8 0.75 0 1 2\nclass narrow 1 3 9\n0 wide\n1 narrow\n' >"$tmp/trace"
passes "$simulate" --arrivals "$tmp/trace" --devices 2 --queue edf-best-fit
grep -q "^wide  *1  *100.0%  *5.0 " "$tmp/out" && grep -q "^narrow  *1  *100.0%  *6.0 " "$tmp/out" || fail "$(cat "$tmp/out")"
sed '/1 narrow/d' "$tmp/trace" >"$tmp/alone"
passes "$simulate" --arrivals "$tmp/alone" --devices 2 --queue genserve
grep -q "^wide  *1  *100.0%  *5.0 " "$tmp/out" || fail "$(cat "$tmp/out")"
passes "$simulate" --arrivals "$tmp/trace" --devices 2 --queue edf
grep -q "^wide  *1  *0.0%  *9.0 " "$tmp/out" && grep -q "^narrow  *1  *100.0%  *3.0 " "$tmp/out" || fail "$(cat "$tmp/out")"
passes "$simulate" --arrivals "$tmp/trace" --devices 2 --queue edf --deadline-scale 1.34
grep -q "^wide  *1  *100.0%  *9.0 " "$tmp/out" || fail "$(cat "$tmp/out")"

while IFS='|' read -r message line; do
    printf 'class a 1 1 1\n%s\n' "$line" >"$tmp/bad"
    refuses 1 "$simulate" --arrivals "$tmp/bad"
    says "$message"
done <<'END'
bad:2: '1 b' is neither|1 b
bad:2: '-1 a' is neither|-1 a
bad:2: 'class a 1 1 1' is neither|class a 1 1 1
bad:2: 'class c 0 1 1' is neither|class c 0 1 1
bad:2: 'class c 1.5 1 1' is neither|class c 1.5 1 1
bad:2: 'class c 1 1 1 0 -1' is neither|class c 1 1 1 0 -1
bad:2: 'class c 1 1 1 0 0 0' is neither|class c 1 1 1 0 0 0
bad:2: 'class c 1 1 1 0 1 2 x' is neither|class c 1 1 1 0 1 2 x
nothing arrives|# 1 a
END
refuses 1 "$simulate" --arrivals none
says "none: .*a name of tables/arrivals here"
refuses 2 "$simulate" --arrivals tridentserve --queue lifo
says "known are fcfs, priority, edf, srtf, sjf, edf-best-fit, genserve"
refuses 2 "$simulate" --prompts 2 --queue genserve
says "shares devices out, which --arrivals simulates"
refuses 2 "$simulate" --arrivals tridentserve --width 64
says "does not go with --arrivals"

# What is shipped is what is drawn.
if command -v python3 >/dev/null; then
    for trace in inflight-burst foreground-burst tridentserve genserve; do
        python3 tools/arrivals.py $trace >"$tmp/drawn"
        same "$tmp/drawn" "tables/arrivals/$trace.txt"
    done
fi
finish
