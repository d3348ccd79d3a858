#!/bin/sh
# Which steps a request takes: noise levels of one's own, guidance in some steps, steps that skip the layers. One
# request has the same bytes on every number of devices and workers and under every policy;
# settings that change nothing give the bytes of the default; and what moves and is held is what the plan says.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

size="--height 48 --width 80 --num-frames 9"

# run NAME OPTIONS...: the video NAME.safetensors, with its statistics.
run() {
    name=$1
    shift
    # shellcheck disable=SC2086
    passes "$generate" --model "$demo" --token-ids 17,5,1 $size --quiet --force \
        --output "$tmp/$name.safetensors" --stats "$tmp/$name.json" "$@"
}

# everywhere NAME OPTIONS...: the same bytes wherever it runs.
everywhere() {
    what=$1
    shift
    run "$what" "$@"
    for devices in 2 3 4 8; do
        run there --devices $devices --strategy ulysses "$@"
        same "$tmp/there.safetensors" "$tmp/$what.safetensors"
        [ "$("$tool" json "$tmp/there.json" moved between_devices_bytes)" -gt 0 ] ||
            fail "$what: nothing moves between $devices devices"
    done
    for policy in lws eager dmda; do
        run there --devices 3 --strategy pipesp --workers-per-device 2 --scheduler $policy "$@"
        same "$tmp/there.safetensors" "$tmp/$what.safetensors"
    done
    run there --devices 3 --device-speed 1,3,2 --streams 1 "$@"
    same "$tmp/there.safetensors" "$tmp/$what.safetensors"
}

few="--flow-shift 5 --guidance-scale 1"
# shellcheck disable=SC2086
{
    everywhere sigmas --sigmas 1000,750,500,250 --sampler euler $few
    run levels --sigmas 1,0.75,0.5,0.25 --sampler euler $few
    run shifted --sigmas 1,0.9375,0.83333333333333333,0.625 --sampler euler --flow-shift 1 --guidance-scale 1
    everywhere renoise --sigmas 1000,750,500,250 --sampler renoise $few
}
same "$tmp/levels.safetensors" "$tmp/sigmas.safetensors"
same "$tmp/shifted.safetensors" "$tmp/sigmas.safetensors"
cmp -s "$tmp/renoise.safetensors" "$tmp/sigmas.safetensors" && fail "renoise adds no noise"
[ "$("$tool" json "$tmp/sigmas.json" num_inference_steps)" -eq 4 ] || fail "not 4 steps"
# What its own code lays out, given as a list, is the default.
run default --num-inference-steps 4 --sampler euler --sampler-schedule linear --flow-shift 3
run again --sigmas 1,0.75,0.5,0.25 --sampler euler --flow-shift 3 --force-guidance
same "$tmp/again.safetensors" "$tmp/default.safetensors"
# Guidance blurs what was distilled to a few steps.
blurs() {
    refuses 2 "$generate" --model "$demo" --prompt x --quiet --force --output "$tmp/x.y4m" "$@"
    says "$what"
}
what="a guidance of 3 by two forwards.*distilled to a few steps (its sampler is renoise).*1 works"
blurs --sampler renoise --num-inference-steps 30
what="(it has so few given sigmas)"
blurs --sigmas 1000,750,500,250
what="guidance is forced, but the request is not one of a checkpoint distilled"
blurs --force-guidance
what="guidance is forced, but the request has none"
blurs --force-guidance --sigmas 1000,750,500,250 --guidance-scale 1
mkdir "$tmp/distilled"
for part in "$demo"/*; do [ "${part##*/}" = stardit.json ] || ln -s "$part" "$tmp/distilled/"; done
sed 's/{/{"distilled": true,/' "$demo/stardit.json" >"$tmp/distilled/stardit.json"
what="(the checkpoint's stardit.json says so)"
blurs --model "$tmp/distilled"
passes "$generate" --model "$tmp/distilled" --prompt x --dry-run --force-guidance
passes "$generate" --model "$tmp/distilled" --prompt x --dry-run --guidance-scale 1

# ---- guidance in some steps -----------------------------------------------------------------------

# moved NAME: bytes between devices, measured; planned NAME: as the plan has them.
moved() { "$tool" json "$tmp/$1.json" moved between_devices_bytes; }
planned() {
    bytes=$("$tool" json "$tmp/$1.json" plan exchanged_bytes)
    echo "${bytes%.*}"
}

# held MORE LESS: what device 0 holds more, as planned.
held() {
    planned=$(($("$tool" json "$tmp/$1.json" plan device_phase_bytes 0 denoise) -
        $("$tool" json "$tmp/$2.json" plan device_phase_bytes 0 denoise)))
    measured=$(($("$tool" json "$tmp/$1.json" device 0 peak_bytes) -
        $("$tool" json "$tmp/$2.json" device 0 peak_bytes)))
    echo "$1 takes $measured bytes more than $2 on device 0, planned $planned"
    [ "$measured" -eq "$planned" ] && [ "$planned" -gt 0 ] || fail "$1: $measured bytes more, planned $planned"
}

# exactly FEW MANY: what weights and latents take once falls out of the difference.
exactly() {
    measured=$(($(moved "$2") - $(moved "$1"))) formula=$(($(planned "$2") - $(planned "$1")))
    [ "$measured" -eq "$formula" ] && [ "$formula" -gt 0 ] ||
        fail "$2 moves $measured bytes more than $1, the plan says $formula"
    echo "$2 moves $measured bytes more than $1, as planned"
}

whole="--num-inference-steps 6 --guidance-scale 3"
# shellcheck disable=SC2086
{
    run all $whole
    run gated $whole --cfg-gate 0-5
    same "$tmp/gated.safetensors" "$tmp/all.safetensors"
    everywhere gate $whole --cfg-gate 1-3
    run unguided $whole --cfg-gate 0-0
    cmp -s "$tmp/gate.safetensors" "$tmp/all.safetensors" && fail "the gate changes nothing"
    for strategy in ulysses pipesp ring; do
        run few --devices 3 --strategy $strategy $whole --cfg-gate 0-0
        run many --devices 3 --strategy $strategy $whole --cfg-gate 0-4
        exactly few many
    done
    # The last difference goes on: nothing more moves, and all of it is held where the solver runs.
    run gated $whole --cfg-gate 0-5,delta
    same "$tmp/gated.safetensors" "$tmp/all.safetensors"
    everywhere delta $whole --cfg-gate 0-2,delta
    run off $whole --cfg-gate 0-2
    cmp -s "$tmp/delta.safetensors" "$tmp/off.safetensors" && fail "the difference changes nothing"
    run apart --devices 4 --use-cfg-parallel $whole --cfg-gate 0-2,delta
    same "$tmp/apart.safetensors" "$tmp/delta.safetensors"
    run without --devices 3 --strategy ulysses $whole --cfg-gate 0-2
    run with --devices 3 --strategy ulysses $whole --cfg-gate 0-2,delta
    [ "$(moved with)" -eq "$(moved without)" ] || fail "delta moves $(moved with) bytes, without it $(moved without)"
    for gate in 0-2 0-2,delta; do
        run memory$gate --dit-parallel-size 2 --vae-parallel-size 1 --strategy ulysses $whole --cfg-gate $gate
    done
}
[ "$(grep -o '"kept_difference": *true' "$tmp/delta.json" | wc -l)" -eq 3 ] || fail "not 3 steps with the difference"
held memory0-2,delta memory0-2
[ "$("$tool" json "$tmp/many.json" plan steps 4 forwards)" -eq 2 ] || fail "step 4 has not 2 forwards"
[ "$("$tool" json "$tmp/many.json" plan steps 5 forwards)" -eq 1 ] || fail "step 5 has not 1 forward"
# shellcheck disable=SC2086
passes "$generate" --model "$demo" --prompt red $size $whole --cfg-gate 1-3,delta --dry-run
grep -q "^                 2 with 1 forward and the kept difference, .* s each: 4-5$" "$tmp/out" || fail "$(cat "$tmp/out")"
# shellcheck disable=SC2086
passes "$generate" --model "$demo" --prompt red $size $whole --cfg-gate 1-3 --dry-run
grep -q "^  step table     3 with 1 forward, .* s each: 0,4-5$" "$tmp/out" &&
    grep -q "^                 3 with 2 forwards, .* s each: 1-3$" "$tmp/out" || fail "$(cat "$tmp/out")"

# ---- steps that skip the layers -------------------------------------------------------------------

whole="--num-inference-steps 10 --guidance-scale 3"
# shellcheck disable=SC2086
{
    run all $whole
    run fresh $whole --step-cache 4-8 --refresh-steps 1
    same "$tmp/fresh.safetensors" "$tmp/all.safetensors"
    everywhere cache $whole --step-cache 3-4,6,8
    everywhere both $whole --step-cache 3-4,6,8 --cfg-gate 0-4
    cmp -s "$tmp/cache.safetensors" "$tmp/all.safetensors" && fail "skipped steps change nothing"
    cmp -s "$tmp/cache.safetensors" "$tmp/both.safetensors" && fail "a gate changes nothing"
    for strategy in ulysses pipesp ring; do
        run few --devices 3 --strategy $strategy $whole --step-cache 3-4,6,8
        run many --devices 3 --strategy $strategy $whole --step-cache 4
        exactly few many
    done
    # A device that only denoises holds what is kept, as planned.
    for cache in 3 none; do
        [ $cache = none ] || set -- --step-cache $cache
        [ $cache != none ] || set --
        run memory$cache --dit-parallel-size 2 --vae-parallel-size 1 --strategy ulysses $whole "$@"
    done
}
held memory3 memorynone
# A checkpoint's own ratios, of another number of steps.
cp -r "$demo" "$tmp/demo"
chmod -R u+w "$tmp/demo"
printf '{ "num_inference_steps": 20, "magcache_ratios": [1, 1, 1, 1, 0.95, 0.95, 0.97, 0.97, 0.9, 0.9] }' \
    >"$tmp/demo/stardit.json"
# shellcheck disable=SC2086
passes "$generate" --model "$tmp/demo" --prompt red $size --step-cache magcache:0.12,2 --dry-run
grep -q "by ratios of the checkpoint's, threshold 0.12, at most 2 in a row; they are of 5 steps" "$tmp/out" &&
    grep -q "that skip the layers" "$tmp/out" || fail "$(cat "$tmp/out")"

# Its own polynomial as well; of a size alone there is no time embedding.
printf '{ "teacache_polynomial": [0, 0, 0, 1, 0], "teacache_modulation_polynomial": [0, 0, 0, 1, 0] }' \
    >"$tmp/demo/stardit.json"
for ret in "" ,ret; do
    # shellcheck disable=SC2086
    passes "$generate" --model "$tmp/demo" --prompt red $size $whole --step-cache teacache:0.7$ret --dry-run
    grep -q "teacache by the .* polynomial of the checkpoint's, threshold 0.7" "$tmp/out" &&
        grep -q "that skip the layers" "$tmp/out" || fail "$(cat "$tmp/out")"
    # shellcheck disable=SC2086
    run tea$ret --model "$tmp/demo" $whole --step-cache teacache:0.7$ret
    # shellcheck disable=SC2086
    run there --model "$tmp/demo" $whole --step-cache teacache:0.7$ret --devices 3 --strategy pipesp
    same "$tmp/there.safetensors" "$tmp/tea$ret.safetensors"
done
# shellcheck disable=SC2086
refuses 2 "$generate" --model wan-14b --prompt red --step-cache teacache:0.2 --dry-run
says "reads the checkpoint's time embedding"

# Simulated: what stands for steps that are like others leaves what later ones read. So few layers are the
# published model's, shortened.
simulate=$build/stardit-simulate
for fast in "" --fast-forward; do
    [ -x "$simulate" ] || continue
    # shellcheck disable=SC2086
    passes "$simulate" --model wan-1.3b --layers 2 --devices 2 --height 256 --width 256 --num-frames 17 --prompts 1 \
        --prompt-embeds --num-inference-steps 20 --step-cache magcache:0.12,2 --cfg-gate 0-13,delta --stats "$tmp/fast$fast.json" $fast
done
if [ -x "$simulate" ]; then
    full=$("$tool" json "$tmp/fast.json" total_seconds) fast=$("$tool" json "$tmp/fast--fast-forward.json" total_seconds)
    echo "simulated: $full s, $fast s by fast-forward"
    full_busy=$("$tool" json "$tmp/fast.json" device 0 busy_seconds)
    fast_busy=$("$tool" json "$tmp/fast--fast-forward.json" device 0 busy_seconds)
    awk -v a="$full_busy" -v b="$fast_busy" 'BEGIN { exit !(a > 0 && b > 0.97 * a && b < 1.03 * a) }' ||
        fail "by fast-forward device 0 is busy for $fast_busy s, in full for $full_busy s"
    awk -v a="$full" -v b="$fast" 'BEGIN { exit !(a > 0 && b > 0.97 * a && b < 1.03 * a) }' ||
        fail "fast-forward takes $fast s, the full simulation $full s"
fi

# Refusals: words that the message must have | options.
while IFS='|' read -r words arguments; do
    # shellcheck disable=SC2086
    refuses 2 "$generate" --model "$demo" --prompt red $size --steps 6 --output "$tmp/never.y4m" $arguments
    says "$words"
done <<END
must be the first and the last step|--cfg-gate 3
must be the first and the last step|--cfg-gate 3-1
must be the first and the last step|--cfg-gate 1-3,gamma
there are steps 0 to 5|--cfg-gate 0-6
one forward a step|--cfg-gate 0-3 --guidance-scale 1
beside 6 steps|--step-cache 3
it is the first|--step-cache 0,4 --steps 9
had a forward of the negative prompt|--step-cache 4 --steps 9 --cfg-gate 4-6
there are steps 0 to 8|--step-cache 4,9 --steps 9
must be magcache, teacache, or steps|--step-cache 4- --steps 9
must be magcache, teacache, or steps|--step-cache teatime --steps 9
must be an error above 0|--step-cache teacache --steps 9
must be an error above 0|--step-cache teacache:0.1,no --steps 9
no polynomial is known for Wan 2.1 of 4 layers, 128 wide|--step-cache teacache:0.1 --steps 9
must be an error above 0|--step-cache magcache:0 --steps 9
must be an error above 0|--step-cache magcache:0.1,0 --steps 9
no ratios are known for Wan 2.1 of 4 layers, 128 wide|--step-cache magcache --steps 9
goes with --step-cache|--refresh-steps 2 --steps 9
END

# Lists of noise levels that are none, or two kinds at once.
while IFS='|' read -r words arguments; do
    # shellcheck disable=SC2086
    refuses 2 "$generate" --model "$demo" --prompt red $size --guidance-scale 1 --output "$tmp/never.y4m" $arguments
    says "$words"
done <<END
must be numbers with commas|--sigmas ,
must be numbers with commas|--sigmas 1000,750,
must be numbers with commas|--sigmas 1000;750
must be numbers with commas|--sigmas 1000,,750
must be numbers with commas|--sigmas 1000,half
sigma 1 of 1 is nan|--sigmas nan
sigma 2 of 2 is nan|--sigmas 1000,nan
sigma 1 of 2 is inf|--sigmas inf,500
sigma 1 of 1 is 0:|--sigmas 0
sigma 1 of 1 is -0.5|--sigmas -0.5
sigma 1 of 2 is 1.001|--sigmas 1001,500
sigma 2 of 2 is 1:|--sigmas 1000,1000
sigma 2 of 2 is 0.75|--sigmas 500,750
sigma 4 of 4 is 0:|--sigmas 1000,750,500,0
number 3, 0.25, is below 1|--sigmas 1000,500,0.25
sigma 2 of 2 is 750|--sigmas 1,750
cannot be told apart in float|--sigmas 0.5,0.499999999 --sampler euler
out of range|--sigmas 1000,500 --sampler euler --flow-shift 1e9
flow-shift|--sigmas 1000,500 --flow-shift 0
flow-shift|--sigmas 1000,500 --flow-shift nan
flow-shift|--sigmas 1000,500 --flow-shift -5
the list alone says how many|--sigmas 1000,500 --num-inference-steps 3
euler-ancestral|--sigmas 1000,500 --sampler euler-ancestral
takes the place of a schedule|--sigmas 1000,500 --sampler-schedule linear
END
# Steps between those of a list's table are levels as others are: 1000 times the level, then shifted.
run between --sigmas 1000,333.25 --sampler euler --guidance-scale 1
run level --sigmas 1,0.33325 --sampler euler --guidance-scale 1
same "$tmp/between.safetensors" "$tmp/level.safetensors"
finish
