#!/bin/sh
# stardit-info --platform: this machine's CPUs, measured, are a platform that stardit-simulate takes: one device
# with its workers, and several of one worker each; with the tasks of a real run and above the bounds.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
simulate=$build/stardit-simulate
if [ ! -x "$simulate" ]; then
    echo "built without StarPU over SimGrid (configure --with-starpu-simgrid)"
    exit 77
fi
size="--height 32 --width 32 --num-frames 5"

# line NAME: its number in the file that was written.
line() { awk -v name="$1" '$1 == name { print $2 }' "$tmp/own.txt"; }
above() { awk -v v="$1" 'BEGIN { exit !(v > 0) }'; }

for shape in "1 3" "2 1" "3 1"; do
    devices=${shape% *} workers=${shape#* }
    # shellcheck disable=SC2086
    passes "$info" --platform "$tmp/own.txt" --model "$demo" $size --devices "$devices" \
        --workers-per-device "$workers" || continue
    [ ! -s "$tmp/out" ] || fail "$shape: $(cat "$tmp/out")"
    [ "$(line devices) $(line cpu-workers)" = "$shape" ] || fail "not $shape but: $(cat "$tmp/own.txt")"
    for name in gflops attention-gflops cross-attention-gflops conv-gflops narrow-conv-gflops memory-gbps memory-gb launch-us \
        link-gbps host-gbps host-memory-gb; do
        above "$(line $name)" || fail "$shape: no $name in: $(cat "$tmp/own.txt")"
    done
    # shellcheck disable=SC2086
    passes "$simulate" --model "$demo" $size --platform "$tmp/own.txt" --prompts 1 --num-inference-steps 2 \
        --max-sequence-length 5 --strategy ulysses --stats "$tmp/s.json" || continue
    grep -q "^Machine: *$devices CPU device" "$tmp/out" || fail "$shape: $(head -1 "$tmp/out")"
    "$tool" json "$tmp/s.json" device 0 name | grep -q cpu:0 || fail "$shape: device 0 is no CPU"
    [ "$("$tool" json "$tmp/s.json" device 0 workers)" = "$workers" ] || fail "$shape: other workers"
    # shellcheck disable=SC2086
    passes "$generate" --model "$demo" $size --prompt "a red ball" --num-inference-steps 2 --devices "$devices" \
        --workers-per-device "$workers" --strategy ulysses --stats "$tmp/r.json" --quiet --force \
        --output "$tmp/r.safetensors" || continue
    # The same work on each device, whatever the time; tokens of the prompt are the first five.
    for d in $(seq 0 $((devices - 1))); do
        for role in attention exchange denoise; do
            s=$("$tool" json "$tmp/s.json" device "$d" roles $role tasks 2>&1)
            r=$("$tool" json "$tmp/r.json" device "$d" roles $role tasks 2>&1)
            [ "$s" = "$r" ] && { [ "$d" -gt 0 ] || above "$s"; } || fail "$shape: device $d has $s simulated $role tasks, and $r real ones"
        done
        s=$("$tool" json "$tmp/s.json" device "$d" roles attention flops 2>&1)
        r=$("$tool" json "$tmp/r.json" device "$d" roles attention flops 2>&1)
        [ "$s" = "$r" ] || fail "$shape: device $d has $s FLOPs of attention in simulated time, and $r really"
    done
done

# Four times as fast is four times as fast.
cat >"$tmp/cpu.txt" <<END
kind slow
cpu-workers 2
gflops 10
memory-gbps 5
memory-gb 8
launch-us 0
devices 1
link-gbps 8
host-gbps 8
END
sed 's/^gflops 10/gflops 40/; s/^memory-gbps 5/memory-gbps 20/' "$tmp/cpu.txt" >"$tmp/fast.txt"
for name in cpu fast; do
    passes "$simulate" --model wan-1.3b --num-frames 5 --platform "$tmp/$name.txt" --layers 2 --forwards 1
    eval "$name=$(awk '/^Step:/ { print $2 }' "$tmp/out")"
done
echo "a step of $cpu s, with rates four times as high $fast s"
awk -v a="$cpu" -v b="$fast" 'BEGIN { exit !(a > 3.99 * b && a < 4.01 * b) }' || fail "$cpu s is not 4 x $fast s"

sed -i 's/devices 1/devices 2/' "$tmp/cpu.txt"
refuses 1 "$simulate" --platform "$tmp/cpu.txt"
says "2 CPU devices of 2 workers"
printf 'kind c\ncpu-workers 1\nmemory-gb 1\ndevices 1\nkind g\nmemory-gb 1\ndevices 1\nlink-gbps 1\nhost-gbps 1\n' \
    >"$tmp/both.txt"
refuses 1 "$simulate" --platform "$tmp/both.txt"
says "of another kind"
echo "cpu-workers 0" >"$tmp/none.txt"
refuses 1 "$simulate" --platform "$tmp/none.txt"
says "cpu-workers must be a whole number"
refuses 2 "$info" --platform "$tmp/nowhere/own.txt"
refuses 2 "$info" --platform "$tmp/own.txt" --codelets
refuses 2 "$info" --platform "$tmp/own.txt" --model "$demo" --height 33
refuses 1 "$info" --platform "$tmp/own.txt" --model "$tmp/none"
finish
