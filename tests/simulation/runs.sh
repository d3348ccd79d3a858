#!/bin/sh
# Whole runs in simulated time: above their bounds, the same bytes again, fast-forward within 1% of the full
# simulation, unequal GPUs by their speeds, and what cannot be is refused.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
simulate=$build/stardit-simulate
if [ ! -x "$simulate" ]; then
    echo "built without StarPU over SimGrid (configure --with-starpu-simgrid)"
    exit 77
fi
unset STARPU_SCHED STARPU_SCHED_LIB
platforms=$source/platforms
demo_size="--model $demo --height 128 --width 128 --num-frames 9"

# json FIELD...: of the last run's --stats.
json() { "$tool" json "$tmp/stats.json" "$@"; }

# run OPTIONS...: a whole run, whose total is above its bounds.
run() {
    # shellcheck disable=SC2086
    passes "$simulate" $demo_size --stats "$tmp/stats.json" "$@" || return 1
    awk -v t="$(json total_seconds)" -v p="$(json bounds path_seconds)" -v w="$(json bounds work_seconds)" \
        'BEGIN { exit !(p > 0 && w > 0 && t >= p && t >= w) }' || fail "$*: below its bounds"
}

for platform in rtx4090x8 a6000x8 l20x8 l40x8 a100x8 h100x8 h200x8 h800x8 mixed nvswitch-8; do
    run --platform "$platforms/$platform" --prompts 1 --num-inference-steps 2
    grep -q '^Machine: .*8 GPUs' "$tmp/out" || fail "$platform: $(head -1 "$tmp/out")"
done

# Again, with the same bytes.
for i in 1 2; do
    run --prompts 2 --num-inference-steps 2 --devices 3 --dit-devices 0-1 --vae-devices 2 \
        --gantt "$tmp/$i.svg" --trace "$tmp/$i.trace"
    cp "$tmp/out" "$tmp/$i.out"
    cp "$tmp/stats.json" "$tmp/$i.json"
done
for ending in out json svg trace; do
    cmp "$tmp/1.$ending" "$tmp/2.$ending" || fail "another $ending the second time"
done
grep -q 'attention</text>' "$tmp/1.svg" && grep -q 'vae</text>' "$tmp/1.svg" ||
    fail "no legend in the picture"

# Steps that are not simulated.
cells=0
compare() { # OPTIONS...
    run "$@" || return
    full=$(json total_seconds) busy=$(json device 0 busy_seconds) tasks=$(json tasks total)
    run "$@" --fast-forward || return
    echo "$*: full $full s, fast-forward $(json total_seconds) s"
    awk -v a="$full" -v b="$(json total_seconds)" 'BEGIN { exit !(b > 0.99 * a && b < 1.01 * a) }' ||
        fail "$*: fast-forward is more than 1% away"
    awk -v a="$busy" -v b="$(json device 0 busy_seconds)" 'BEGIN { exit !(b > 0.99 * a && b < 1.01 * a) }' ||
        fail "$*: device 0 is busy for $(json device 0 busy_seconds) s, in full for $busy s"
    # A decode may end a step sooner or later; of steps that overlap, a mean stands for each.
    case $* in *--aco*) most=0.005 ;; *pipefusion*) most=0.01 ;; *) most=0 ;; esac
    awk -v a="$tasks" -v b="$(json tasks total)" -v most=$most 'BEGIN { exit !((a > b ? a - b : b - a) <= most * a) }' ||
        fail "$*: $(json tasks total) tasks, in full $tasks"
    cells=$((cells + 1))
}
compare --prompts 1 --num-inference-steps 12 --devices 2 --strategy ulysses
compare --prompts 2 --num-inference-steps 10 --devices 3 --strategy pipesp --dit-devices 0-1 --vae-devices 2
compare --prompts 3 --num-inference-steps 10 --devices 3 --dit-devices 0-1 --vae-devices 2 --aco static
compare --prompts 3 --num-inference-steps 10 --devices 3 --dit-devices 0-1 --vae-devices 2 --aco dynamic
compare --prompts 1 --num-inference-steps 20 --devices 3 --strategy pipefusion
[ $cells -eq 5 ] || fail "$cells cells were compared"

refuses 1 "$simulate" --model wan-14b --prompts 1 --num-inference-steps 1 --devices 2 --memory-gb 2
says "may use 2 GB there"
# Queues: of three prompts that come at once, the last one is wanted first.
order() {
    # shellcheck disable=SC2086
    passes "$simulate" $demo_size --prompts 3 --num-inference-steps 3 --devices 2 "$@"
    awk '$1 == "delivered" { gsub(/ at [0-9.]* s( \(late\))?/, ""); $1 = ""; print }' "$tmp/out" | tr -d ' '
}
fcfs=$(order --queue fcfs) priority=$(order --queue priority --priorities 0,1,2)
edf=$(order --queue edf --deadlines 900,800,700)
echo "delivered: fcfs $fcfs, priority $priority, edf $edf"
[ "$fcfs" = 0,1,2 ] && [ "$priority" = "$edf" ] && [ "${priority%%,*}" != 0 ] || fail "$fcfs, $priority, $edf"
refuses 2 "$simulate" --prompts 2 --queue lifo
refuses 2 "$simulate" --prompts 2 --queue edf
refuses 2 "$simulate" --prompts 2 --queue priority --priorities 1
refuses 2 "$simulate" --prompts 2 --queue fcfs --priorities 1,2

refuses 2 "$simulate" --prompts 1 --tile-rows 64
says "not --prompts"
refuses 2 "$simulate" --prompt-embeds
says "goes with --prompts"
refuses 2 "$simulate" --num-inference-steps 2
says "goes with --prompts"
refuses 2 "$simulate" --prompts 1 --devices 2 --dit-devices 0-2 --vae-devices 3
printf 'kind a\nmemory-gb 1\nkind a\n' >"$tmp/platform.txt"
refuses 1 "$simulate" --platform "$tmp"
says "platform.txt:3: there is a kind of that name already: a"
printf 'switch 10 0-3\nswitch 10 3-4\n' >"$tmp/platform.txt"
refuses 1 "$simulate" --platform "$tmp"
says "platform.txt:2: a device stands below two switches"
printf 'kind a\ndevices 8\n' >"$tmp/platform.txt"
refuses 1 "$simulate" --platform "$tmp"
says "device 0 needs memory-gb"
finish
