#!/bin/sh
# Unequal GPUs: on the platform mixed, splits that follow speed reach nine tenths of the sum of all speeds, each the
# speed of such a GPU by itself; what equal splits reach is printed beside. And a CPU beside GPUs, as the group that
# decodes.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
simulate=$build/stardit-simulate
if [ ! -x "$simulate" ]; then
    echo "built without StarPU over SimGrid (configure --with-starpu-simgrid)"
    exit 77
fi
mixed=$source/platforms/mixed/platform.txt

# seconds OPTIONS...: of a step.
seconds() {
    passes "$simulate" --model wan-14b --width 832 --height 480 --num-frames 33 --layers 2 --stats "$tmp/s.json" "$@" &&
        "$tool" json "$tmp/s.json" step seconds
}
sum=0
for kind in a6000 l40 half; do
    awk -v kind=$kind '$1 == "kind" { on = $2 == kind } /^fabric/ { on = 1 } /^(switch|bridge)/ { next }
        on { print }' "$mixed" | sed 's/^devices .*/devices 1/' >"$tmp/$kind.txt"
    alone=$(seconds --platform "$tmp/$kind.txt" --strategy single)
    count=$(awk -v kind=$kind '$1 == "kind" { on = $2 == kind } on && $1 == "devices" { print $2 }' "$mixed")
    sum=$(awk -v s="$sum" -v n="$count" -v t="$alone" 'BEGIN { print s + n / t }')
done
for split in speed equal; do
    eval "$split=$(seconds --platform "$mixed" --split $split --strategy ulysses)"
done
awk -v sum="$sum" -v speed="$speed" -v equal="$equal" 'BEGIN {
    printf "of the sum of speeds: by speed %.1f%%, in equal parts %.1f%%\n", 100 / sum / speed, 100 / sum / equal
    exit !(1 / sum / speed >= 0.9 && 1 / sum / speed <= 1 && equal > speed) }' ||
    fail "steps of $speed s by speed and $equal s equally, $sum a second would be all"

# The last two GPUs become a CPU of four workers: it decodes, and nothing else is done there.
awk '$1 == "kind" { on = $2 != "half" } /^fabric/ { on = 1
        print "kind cpu\ncpu-workers 4\ngflops 400\nconv-gflops 400\nmemory-gbps 100\nmemory-gb 64\ndevices 1" }
    /^(switch|bridge)/ { next } on { print }' "$mixed" >"$tmp/cpu.txt"
both="--model wan-1.3b --width 160 --height 96 --num-frames 9 --num-inference-steps 2 --prompts 2 --platform $tmp/cpu.txt"
# busy DEVICE ROLE: seconds.
busy() { "$tool" json "$tmp/s.json" device "$1" roles "$2" busy_seconds 2>/dev/null || echo 0; }
passes "$simulate" $both --dit-devices cuda:0-3 --vae-devices cpu:0 --stats "$tmp/s.json" &&
    echo "on a CPU: decoding $(busy 4 vae) s, denoising $(busy 4 denoise) s; on a GPU $(busy 0 vae) s and $(busy 0 denoise) s"
[ "$(busy 4 denoise) $(busy 0 vae)" = "0 0" ] || fail "the CPU denoises, or a GPU decodes"
awk -v v="$(busy 4 vae)" -v d="$(busy 0 denoise)" 'BEGIN { exit !(v > 0 && d > 0) }' || fail "nothing was done"
# Decoding takes the CPU's rates: half of them, twice as long.
before=$(busy 4 vae)
sed -i 's/gflops 400/gflops 200/; s/memory-gbps 100/memory-gbps 50/; s/cpu-workers 4/cpu-workers 4\nlaunch-us 0/' "$tmp/cpu.txt"
passes "$simulate" $both --dit-devices cuda:0-3 --vae-devices cpu:0 --stats "$tmp/s.json"
awk -v a="$before" -v b="$(busy 4 vae)" 'BEGIN { exit !(b > 1.8 * a && b < 2.01 * a) }' ||
    fail "decoding takes $before s on it, and $(busy 4 vae) s on one half as fast"
refuses 2 "$simulate" $both --dit-devices cuda:0-3,cpu:0 --vae-devices cpu:0
says "must be of one kind"
refuses 2 "$simulate" --model wan-1.3b --platform "$tmp/cpu.txt"
says "a step takes devices of one kind"
sed -i 's/^devices 1$/devices 2/' "$tmp/cpu.txt"
refuses 1 "$simulate" $both
says "one CPU device at most"
finish
