#!/bin/sh
# Patches behind one another on keys of the step before (PipeFusion), on the demo checkpoint: the same
# bytes wherever it runs; with one patch, or warm-up alone, those of one device. tests/graph/stale.c
# has a plain loop beside it, tests/apps/resume.sh states.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

# run NAME OPTIONS...: the video NAME.safetensors.
run() {
    name=$1
    shift
    passes "$generate" --model "$demo" --token-ids 17,5,1 --height 48 --width 80 --num-frames 9 \
        --num-inference-steps 9 --quiet --force --output "$tmp/$name.safetensors" "$@"
}

# everywhere NAME WAYS OPTIONS...
everywhere() {
    what=$1 ways=$2
    shift 2
    run "$what" --devices 1 --strategy pipefusion "$@"
    echo "$ways" >"$tmp/ways"
    while read -r way; do
        # shellcheck disable=SC2086
        run there --strategy pipefusion $way "$@"
        same "$tmp/there.safetensors" "$tmp/$what.safetensors" || fail "$what: other bytes with $way"
    done <"$tmp/ways"
}

run single --devices 1 --strategy single
some="--devices 3
--devices 8 --ulysses-degree 2
--devices 2 --use-cfg-parallel
--devices 4 --scheduler scatter"
everywhere four "$some
--devices 2
--devices 4
--devices 1 --workers-per-device 2
--devices 3 --device-speed 1,3,2
--devices 2 --streams 1
--devices 3 --workers-per-device 2 --scheduler lws
--devices 5 --use-cfg-parallel
--dit-devices 0-1 --vae-devices 2"
everywhere three "$some" --patches 3 --warmup-steps 2 --refresh-steps 4
everywhere guided "$some" --patches 6 --cfg-gate 0-4
everywhere begun "$some" --cfg-gate 3-6 # a branch that begins has no old keys
for name in four three guided begun; do
    cmp -s "$tmp/$name.safetensors" "$tmp/single.safetensors" && fail "$name: old keys change nothing"
done
for way in "--patches 1" "--warmup-steps 9" "--refresh-steps 1"; do
    # shellcheck disable=SC2086
    run fresh --devices 3 --strategy pipefusion $way
    same "$tmp/fresh.safetensors" "$tmp/single.safetensors"
done
"$build/stardit-eval" --metrics "$tmp/single.safetensors" "$tmp/four.safetensors" | grep PSNR ||
    fail "no error is printed"

plan="--model $demo --token-ids 1 --dry-run --num-inference-steps 9"
# shellcheck disable=SC2086
{
    passes "$generate" $plan --strategy pipefusion --devices 2 --warmup-steps 2 --refresh-steps 6
    grep -q "^  step table     3 with 2 forwards, .* s each: 0-1,6$" "$tmp/out" &&
        grep -q "^                 6 with 2 forwards on keys of the step before, .* s each: 2-5,7-8$" "$tmp/out" ||
        fail "$(cat "$tmp/out")"
    # Layers are cut by speed: of 4, the fast device has 3.
    passes "$generate" $plan --strategy pipefusion --devices 2 --device-speed 1,3
}
small="--strategy pipefusion --num-inference-steps 8 --height 32 --width 32 --num-frames 9"
# shellcheck disable=SC2086
passes "$generate" --model "$demo" --token-ids 1 $small --patches 3 --warmup-steps 8 --refresh-steps 7 --dry-run
while IFS='|' read -r message options; do
    # shellcheck disable=SC2086
    refuses 2 "$generate" --model "$demo" --token-ids 1 --output "$tmp/v.y4m" $options && says "$message"
done <<END
the model has 4 layers, one a stage at least|--strategy pipefusion --devices 5
does not divide 3 devices|--strategy pipefusion --devices 3 --ulysses-degree 2
8 steps or more work|--strategy pipefusion --num-inference-steps 7
^stardit-generate: 1000 patches (--patches) of 12 tokens: of 4 tokens each there are 3, and 3 works$|$small --patches 1000
^stardit-generate: 4 patches (--patches) of 12 tokens: of 4 tokens each there are 3, and 3 works$|$small --patches 4
^stardit-generate: 900 warm-up steps (--warmup-steps) of 8; 1 to 8 work$|$small --warmup-steps 900
^stardit-generate: 9 warm-up steps (--warmup-steps) of 8; 1 to 8 work$|$small --warmup-steps 9
^stardit-generate: a refresh every 900 steps (--refresh-steps) of 8 never comes; leave it out, or take less than 8$|$small --refresh-steps 900
^stardit-generate: a refresh every 8 steps (--refresh-steps) of 8 never comes; leave it out, or take less than 8$|$small --refresh-steps 8
a refresh every 8 steps (--refresh-steps) of 8 never comes|--num-inference-steps 8 --step-cache 5 --refresh-steps 8
--patches does not go with --strategy ulysses|--patches 2 --devices 2 --strategy ulysses
strategy pipesp reads no keys of steps before|--warmup-steps 2 --devices 2 --strategy pipesp
aco and transport nccl do not go with|--strategy pipefusion --devices 2 --transport nccl
aco and transport nccl do not go with|--strategy pipefusion --dit-devices 0 --vae-devices 1 --aco static
END

# The other programs say the same.
echo "a red circle moving right over a blue background" >"$tmp/caption"
while IFS='|' read -r message options; do
    # shellcheck disable=SC2086
    "$bench" quality --model "$demo" --prompt-file "$tmp/caption" --num-inference-steps 8 $options >"$tmp/out" 2>"$tmp/err"
    code=$?
    [ $code -eq 2 ] || fail "stardit-bench quality $options: exit $code"
    says "$message"
done <<END
never comes; leave it out, or take less than 8|--step-cache 5 --refresh-steps 8
1000 patches (--patches) of 80 tokens: of 4 tokens each there are 20, and 20 works|--strategy pipefusion --patches 1000
END
if [ -x "$build/stardit-simulate" ]; then
    # shellcheck disable=SC2086
    refuses 2 "$build/stardit-simulate" --model "$demo" --prompts 1 --devices 1 $small --warmup-steps 9
    says "9 warm-up steps (--warmup-steps) of 8; 1 to 8 work"
    # shellcheck disable=SC2086
    refuses 2 "$build/stardit-simulate" --model "$demo" --prompts 1 --devices 1 $small --patches 1000
    says "1000 patches (--patches) of 12 tokens: of 128 tokens each there are 1, and 1 works"
fi

# Simulated: with 4 patches of 2 branches, N stages take an Nth of one device's step, and little more.
simulate=$build/stardit-simulate
if [ -x "$simulate" ]; then
    for devices in 1 2 3; do
        passes "$simulate" --strategy pipefusion --patches 4 --devices $devices --prompts 1 \
            --num-inference-steps 9 --height 256 --width 512 --num-frames 61 \
            --platform "$source/platforms/h100x8"
        eval "step$devices=$(sed -n 's/^  step  *\([0-9.]*\) s.*/\1/p' "$tmp/out")"
    done
    # shellcheck disable=SC2154
    echo "a step on 1, 2, 3 devices: $step1, $step2, $step3 s"
    awk -v a="$step1" -v b="$step2" -v c="$step3" 'BEGIN { exit !(b < 0.56 * a && c < 0.4 * a) }' ||
        fail "stages wait for one another"
fi
finish
