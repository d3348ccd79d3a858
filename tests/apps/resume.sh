#!/bin/sh
# Runs that are killed go on from their last state, and the video has the bits of a run that nobody
# killed: killed at some step, in the decode, while a state is written; on other devices and
# strategies, and more than once. What does not belong together is refused.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

mkdir "$tmp/v"
size="--height 48 --width 48 --num-frames 9"
steps=30
prompt="@@ a red circle, \"moving\" right"
text=                             # options in place of the prompt and the seed
whole=$tmp/v/whole.safetensors # what goes on is compared with

# plain NAME OPTIONS...: a run of its own.
plain() {
    name=$1
    shift
    # shellcheck disable=SC2086
    "$generate" --model "$demo" --prompt "$prompt" --seed 3 --guidance-scale 2 $size \
        --num-inference-steps $steps --progress plain --output "$tmp/v/$name.safetensors" "$@" \
        2>"$tmp/$name.err" </dev/null
}

# start NAME OPTIONS...: the same in the background; $pid.
start() {
    name=$1
    shift
    # shellcheck disable=SC2086
    if [ -n "$text" ]; then set -- $text "$@"; else set -- --prompt "$prompt" --seed 3 "$@"; fi
    # shellcheck disable=SC2086
    "$generate" --model "$demo" --guidance-scale 2 $size \
        --num-inference-steps $steps --progress plain --output "$tmp/v/$name.safetensors" "$@" \
        2>"$tmp/$name.err" </dev/null &
    pid=$!
}

# step_of FILE: the step that a state says.
step_of() {
    grep -ao '"step":"[0-9]*"' "$1" 2>/dev/null | tr -dc 0-9
}

at_step() {
    at=$(step_of "$tmp/v/$1.state.safetensors")
    [ "${at:-0}" -ge "$2" ]
}

# signalled SIGNAL NAME WHEN OPTIONS...: a run that got the signal on its way, once the state is of step WHEN
# or later (0: once a step is done); $code. A run that was faster than this script is run again.
signalled() {
    signal=$1 run=$2 when=$3
    shift 3
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        rm -f "$tmp/v/$run.safetensors" "$tmp/v/$run".*.safetensors "$tmp/$run.err"
        start "$run" "$@"
        if [ "$when" -gt 0 ]; then await at_step "$run" "$when"; else await under_way "$run"; fi
        kill "-$signal" $pid 2>/dev/null
        wait $pid 2>/dev/null
        code=$?
        [ $code -ne 0 ] && [ ! -e "$tmp/v/$run.safetensors" ] && return
        same "$whole" "$tmp/v/$run.safetensors"
    done
    fail "$run: 20 runs ended before they got $signal: $(cat "$tmp/$run.err")"
}

under_way() {
    grep -q "^denoise [1-9]" "$tmp/$1.err" 2>/dev/null
}

# killed NAME STEP OPTIONS...: the same with KILL; a state stays, and no video.
killed() {
    signalled KILL "$@"
    [ -s "$tmp/v/$1.state.safetensors" ] || fail "$1: killed, and there is no state: $(cat "$tmp/$1.err")"
    [ ! -e "$tmp/v/$1.safetensors" ] || fail "$1: was written before it was killed"
}

# resume NAME OPTIONS...: goes on, which must give the whole run's bytes.
resume() {
    name=$1
    shift
    passes "$generate" --resume "$tmp/v/$name.state.safetensors" --progress plain \
        --output "$tmp/v/$name.safetensors" --force "$@" || return
    grep -q "goes on after step [0-9]* of $steps" "$tmp/err" || fail "$name: $(cat "$tmp/err")"
    from=$(sed -n 's/.*goes on after step \([0-9]*\) of.*/\1/p' "$tmp/err")
    if cmp -s "$whole" "$tmp/v/$name.safetensors"; then
        echo "$name: from step $from, ${*:-as it was}: same bytes"
    else
        fail "$name: other bytes from step $from on, with $*"
    fi
}

plain whole || fail "$(cat "$tmp/whole.err")"

# Whole with states: same bytes, no state is left.
plain states --checkpoint-every 7 || fail "$(cat "$tmp/states.err")"
same "$tmp/v/whole.safetensors" "$tmp/v/states.safetensors"
[ ! -e "$tmp/v/states.state.safetensors" ] || fail "a state is left beside a whole video"

# At several steps; what was given comes from the file.
for step in 1 8 20; do
    killed step$step $step --checkpoint-every 1 --devices 2
    resume step$step
done
resume step8 --devices 3 --strategy pipesp
resume step8 --devices 2 --strategy ulysses --workers-per-device 2 --scheduler eager
resume step20 --devices 3 --dit-devices 0-1 --vae-devices 2
[ -s "$tmp/v/step8.state.safetensors" ] ||
    fail "a state was removed that --checkpoint-every did not name"

# In the decode, which this size makes long: no step is repeated.
small=$size
size="--height 128 --width 128 --num-frames 33" steps=2
mv "$tmp/v/whole.safetensors" "$tmp/v/small.safetensors"
plain whole || fail "$(cat "$tmp/whole.err")"
killed decode 2 --checkpoint-every 1000
resume decode
[ "$from" -eq 2 ] || fail "decode: goes on from step $from"
resume decode --devices 2
size=$small steps=30
mv "$tmp/v/small.safetensors" "$tmp/v/whole.safetensors"

# Killed at any time, again and again, one run gets through, and its state goes with the end.
killed again 2 --checkpoint-every 1
rounds=0
while [ $rounds -lt 5 ]; do
    rounds=$((rounds + 1))
    "$generate" --resume "$tmp/v/again.state.safetensors" --checkpoint-every 1 --progress plain \
        --output "$tmp/v/again.safetensors" 2>"$tmp/again.err" </dev/null &
    pid=$!
    await grep -q "goes on after" "$tmp/again.err"
    sleep 0.$((rounds % 3))
    kill -KILL $pid 2>/dev/null
    wait $pid 2>/dev/null || continue
    break # it was faster than this script
done
if [ ! -e "$tmp/v/again.safetensors" ]; then
    resume again --checkpoint-every 3
    [ "$from" -ge 2 ] || fail "again: from step $from"
else
    same "$tmp/v/whole.safetensors" "$tmp/v/again.safetensors"
fi
echo "again: killed $rounds times"
[ ! -e "$tmp/v/again.state.safetensors" ] || fail "again: the state is left"

# Stopped: the state is as new as can be, and the message names it; without --checkpoint-every the
# kept latent is one.
plain gated --cfg-gate 0-5,delta || fail "$(cat "$tmp/gated.err")"
whole=$tmp/v/gated.safetensors
signalled TERM stopped 8 --cfg-gate 0-5,delta --checkpoint-every 3
grep -q "\(--resume $tmp/v/stopped.state.safetensors goes on\)" "$tmp/stopped.err" ||
    fail "stopped: $(cat "$tmp/stopped.err")"
resume stopped --devices 2
refuses 2 "$generate" --resume "$tmp/v/stopped.state.safetensors" --output "$tmp/v/n.safetensors" --force \
    --save-latent "$tmp/v/../v/stopped.state.safetensors"
says "would replace what --resume reads"
refuses 2 "$generate" --resume "$tmp/v/stopped.state.safetensors" --cfg-gate 0-5 --output "$tmp/v/n.safetensors"
says "there --cfg-gate is '0-5,delta', here '0-5'"
whole=$tmp/v/whole.safetensors
signalled TERM kept 0
[ ! -e "$tmp/v/kept.state.safetensors" ] || fail "kept: a state that nobody asked for"
mv "$tmp/v/kept.latent.safetensors" "$tmp/v/kept.state.safetensors"
resume kept --devices 2
passes "$generate" --model "$demo" --num-inference-steps 0 --quiet --force \
    --latents "$tmp/v/kept.state.safetensors" --output "$tmp/v/decoded.y4m"

# Where sums are in an order that devices decide, the message says which; what it says is typed in.
for where in "--devices 2 --strategy ring" \
    "--devices 4 --strategy usp --ring-degree 2 --workers-per-device 2,1,1,1" \
    "--dit-devices 2,0 --vae-devices 1 --strategy ring --device-speed 1,1,0.5"; do
    # shellcheck disable=SC2086
    plain order $where --force || fail "$(cat "$tmp/order.err")"
    whole=$tmp/v/order.safetensors
    # shellcheck disable=SC2086
    signalled TERM told 0 $where
    options=$(sed -n 's/.* is in [^ ]* (--resume \(.*\) goes on from it.*/\1/p' "$tmp/told.err")
    # shellcheck disable=SC2086
    passes "$generate" --resume $options --quiet --output "$tmp/v/told.safetensors"
    same "$whole" "$tmp/v/told.safetensors"
    rm -f "$tmp"/v/told.*
done
whole=$tmp/v/whole.safetensors

# What is told beforehand is about the steps that are left.
passes "$generate" --resume "$tmp/v/step20.state.safetensors" --dry-run
from=$(sed -n 's/^  resumed *after step \([0-9]*\) of 30$/\1/p' "$tmp/out")
[ "${from:-0}" -ge 20 ] && grep -q "for what is left at" "$tmp/out" || fail "--dry-run: $(cat "$tmp/out")"
refuses 2 "$generate" --resume "$tmp/v/step20.state.safetensors" --dry-run --seed 4
says "there --seed is '3', here '4'"

# Prompts as token ids and as embeddings go on as well; a changed file of embeddings does not.
"$tool" tensor "$tmp/e.safetensors" prompt_embeds 1 6 96
"$tool" fill "$tmp/n.safetensors" negative_prompt_embeds 0.1 1 4 96
for text in "--token-ids 5,6,7,1" "--prompt-embeds $tmp/e.safetensors" \
    "--prompt-embeds $tmp/e.safetensors --negative-prompt-embeds $tmp/n.safetensors"; do
    rm -f "$tmp"/v/text.*
    request="--model $demo $text --guidance-scale 2 $size --num-inference-steps $steps"
    # shellcheck disable=SC2086
    passes "$generate" $request --quiet --force --output "$tmp/v/text0.safetensors"
    whole=$tmp/v/text0.safetensors
    killed text 7 --checkpoint-every 1
    passes "$generate" --resume "$tmp/v/text.state.safetensors" --quiet --output "$tmp/v/text.safetensors"
    same "$tmp/v/text0.safetensors" "$tmp/v/text.safetensors"
    echo "text: $text: from step $(step_of "$tmp/v/text.state.safetensors")"
done
text='' whole=$tmp/v/whole.safetensors
refuses 2 "$generate" --resume "$tmp/v/text.state.safetensors" --quiet --output "$tmp/v/n.safetensors" \
    --token-ids 5,6,7,1
"$tool" poison "$tmp/e.safetensors" "$tmp/e2.safetensors" prompt_embeds 0.5
mv "$tmp/e2.safetensors" "$tmp/e.safetensors"
refuses 2 "$generate" --resume "$tmp/v/text.state.safetensors" --quiet --output "$tmp/v/n.safetensors"
says "there the sum of --prompt-embeds is .*; the file must be as it was"

# NaN arising in a step: the state of before stays, and its bytes with it.
cp "$tmp/v/step20.state.safetensors" "$tmp/whole.state"
"$tool" poison "$tmp/whole.state" "$tmp/v/huge.state.safetensors" latent 3e38
cp "$tmp/v/huge.state.safetensors" "$tmp/huge.state"
# Not even the same bytes are written again: the file is the same one, too.
file=$(stat -c '%i %y %z' "$tmp/v/huge.state.safetensors")
"$generate" --resume "$tmp/v/huge.state.safetensors" --quiet --checkpoint-every 1 \
    --output "$tmp/v/huge.safetensors" 2>"$tmp/err" && fail "huge: exit 0"
says "made numbers that are NaN or infinite"
same "$tmp/huge.state" "$tmp/v/huge.state.safetensors"
[ "$file" = "$(stat -c '%i %y %z' "$tmp/v/huge.state.safetensors")" ] ||
    fail "huge: the state was written again: $file, now $(stat -c '%i %y %z' "$tmp/v/huge.state.safetensors")"

# unwritten NAME WORDS: a state could not be written, which is said once, and the video came.
unwritten() {
    [ $code -eq 0 ] || fail "$1: $(cat "$tmp/$1.err")"
    [ "$(grep -c "state after step [0-9]* could not be kept: .*$2" "$tmp/$1.err")" -eq 1 ] ||
        fail "$1: $(cat "$tmp/$1.err")"
    same "$tmp/v/whole.safetensors" "$tmp/v/$1.safetensors"
}
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    rm -rf "$tmp"/v/blocked.*
    start blocked --checkpoint-every 1
    await at_step blocked 2
    until mkdir "$tmp/v/blocked.state.safetensors" 2>/dev/null; do
        rm -f "$tmp/v/blocked.state.safetensors"
    done
    ended
    # Else the run was faster than this script.
    ! grep -q "could not be kept" "$tmp/blocked.err" || break
done
unwritten blocked "a directory"
mkdir "$tmp/full"
if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=64k none "$tmp/full" 2>/dev/null; then
    trap 'umount "$tmp/full"; rm -rf "$tmp"' EXIT
    head -c 53000 /dev/zero >"$tmp/full/stuff" # room for the video, not for a state beside it
    bytes=$(wc -c <"$tmp/whole.state")
    # shellcheck disable=SC2086
    "$generate" --model "$demo" --prompt "$prompt" --seed 3 --guidance-scale 2 $size --progress none \
        --num-inference-steps $steps --checkpoint-every 5 --output "$tmp/full/disk.gif" 2>"$tmp/disk.err" ||
        fail "full disk: $(cat "$tmp/disk.err")"
    [ "$(grep -c "could not be kept: .*No space left" "$tmp/disk.err")" -eq 1 ] ||
        fail "full disk: a state of $bytes bytes: $(cat "$tmp/disk.err")"
    [ -s "$tmp/full/disk.gif" ] || fail "full disk: no video"
    grep "could not be kept" "$tmp/disk.err"
else
    echo "no tmpfs can be mounted here: full disks are not tried"
fi

# Strategies with sums of their own go on as they were, and only so.
plain ring --devices 2 --strategy ring || fail "$(cat "$tmp/ring.err")"
whole=$tmp/v/ring.safetensors
killed ring2 9 --devices 2 --strategy ring --checkpoint-every 1
whole=$tmp/v/whole.safetensors
state=$tmp/v/ring2.state.safetensors
passes "$generate" --resume "$state" --quiet --devices 2 --output "$tmp/v/ring2.safetensors"
same "$tmp/v/ring.safetensors" "$tmp/v/ring2.safetensors"
refuses 2 "$generate" --resume "$state" --quiet --devices 3 --output "$tmp/v/n.safetensors"
says "there the order of sums is 'ring"
refuses 2 "$generate" --resume "$state" --quiet --strategy single --output "$tmp/v/n.safetensors"
says "there --strategy is 'ring', here an exact one; leave the option out"
refuses 2 "$generate" --resume "$state" --quiet --devices 3 --output "$tmp/v/n.safetensors"
says "there the order of sums is .*; the same --strategy and --devices have it"

# Refusals: words that the message must have | options.
state=$tmp/v/step8.state.safetensors
mkdir "$tmp/other"
cp -r "$demo"/. "$tmp/other"
weights=$(find "$tmp/other/transformer" -name '*.safetensors' | head -1)
# One number, wherever it is.
"$tool" poison "$weights" "$tmp/changed" blocks.1.ffn.net.2.weight 0.5 3333 || fail "no other checkpoint"
mv -f "$tmp/changed" "$weights"
while IFS='|' read -r words arguments; do
    # shellcheck disable=SC2086
    refuses 2 "$generate" --resume "$state" --quiet --output "$tmp/v/n.safetensors" $arguments
    says "$words"
done <<EOF
there --prompt is '@@ a red circle.*here 'x'; leave the option out|--prompt x
here not given; leave|--token-ids 5,1
there --negative-prompt is '', here 'x'|--negative-prompt x
there --height is '48', here '64'|--height 64
there --num-frames is '9', here '5'|--num-frames 5
there --num-inference-steps is '30', here '31'|--steps 31
there --guidance-scale is '2', here '3'|--guidance-scale 3
there --guidance-scale is '2', here '1'|--guidance-scale 1
there --enable-tiling is not given, here given; leave the option out|--enable-tiling
there --strategy is an exact one, here 'pipefusion'; leave the option out|--strategy pipefusion
there --strategy is an exact one, here 'dualparal'; leave the option out|--strategy dualparal
there --warmup-steps is not given, here '3'|--warmup-steps 3
there --seed is '3', here '16'|--seed 0x10
there --flow-shift is '3', here '4'|--flow-shift 4
there --cfg-gate is not given, here '0-3'|--cfg-gate 0-3
there --step-cache is not given, here '4'|--step-cache 4
there --sampler is 'unipc', here 'euler'|--sampler euler
there --sigmas is not given, here '0.5,0.1'|--sigmas 0.5,0.1
there --sigmas is not given, here '1,0.9,.*'; leave the option out|--sigmas 1,0.9,0.8,0.7,0.6,0.5,0.4,0.3,0.2
there --sampler-schedule is 'new', here 'old'|--sampler-schedule old
there --max-sequence-length is '512', here '64'|--max-sequence-length 64
there --seed is '3', here '4'|--seed 4
there --tile-size is not given, here '32'|--tile-size 32 --tile-stride 16
exclude one another|--latents x
2 prompts are given|--prompt a --prompt b --output $tmp/v/n%d.safetensors
there the checkpoint is|--model $tmp/other
EOF
rm -f "$tmp/v/step8.safetensors"
refuses 2 "$generate" --model "$demo" --prompt x --checkpoint-every 2 \
    --output "$tmp/v/step8.safetensors"
says "exists already (--resume goes on from it, --force replaces it)"

# A number is another way to write it.
passes "$generate" --resume "$state" --quiet --output "$tmp/v/n.safetensors" --seed 0x3 --guidance-scale 2.0 --dry-run
# Words that no run writes are told with the file that has them.
for word in '"seed":"x"' '"height":"00"' '"sampler":"euleR"' '"fps":"x"'; do # of the same length
    key=${word%%:*}
    sed "s/$key:\"[^\"]*\"/$word/" "$state" >"$tmp/words"
    refuses 2 "$generate" --resume "$tmp/words" --quiet --output "$tmp/v/n.y4m"
    says "^stardit-generate: --resume $tmp/words says --$(echo "$key" | tr -d \") "
done

# Files that are no state, or not whole. A state cut anywhere is refused.
bytes=$(wc -c <"$state")
for length in 0 7 100 $((bytes / 2)) $((bytes - 1)); do
    head -c "$length" "$state" >"$tmp/cut"
    "$generate" --resume "$tmp/cut" --quiet --output "$tmp/v/n.y4m" 2>"$tmp/err" &&
        fail "cut at $length: exit 0"
    [ "$(wc -l <"$tmp/err")" -eq 1 ] || fail "cut at $length: $(cat "$tmp/err")"
done
"$tool" tensor "$tmp/foreign" latent 1 16 3 6 6
for file in "$tmp/foreign" "$tmp/v/whole.safetensors" "$source/README.md" "$tmp/none" "$tmp"; do
    "$generate" --resume "$file" --quiet --output "$tmp/v/n.y4m" 2>"$tmp/err" &&
        fail "$file: exit 0"
    [ "$(wc -l <"$tmp/err")" -eq 1 ] && grep -q -e --resume "$tmp/err" ||
        fail "$file: $(cat "$tmp/err")"
done
"$tool" poison "$state" "$tmp/nan" m0 nan
"$generate" --resume "$tmp/nan" --quiet --output "$tmp/v/n.y4m" 2>"$tmp/err" && fail "NaN: exit 0"
says "m0"
[ ! -e "$tmp/v/n.safetensors" ] && [ ! -e "$tmp/v/n.y4m" ] || fail "a refused run wrote a video"

# Several prompts have a state each.
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    rm -f "$tmp"/v/many*
    # shellcheck disable=SC2086
    "$generate" --model "$demo" --prompt a --prompt b $size --num-inference-steps $steps \
        --progress plain --checkpoint-every 1 --output "$tmp/v/many%d.safetensors" \
        2>"$tmp/many.err" </dev/null &
    pid=$!
    await [ -s "$tmp/v/many2.state.safetensors" ]
    kill -KILL $pid 2>/dev/null
    wait $pid 2>/dev/null || break
done
[ -s "$tmp/v/many1.safetensors" ] && [ ! -e "$tmp/v/many1.state.safetensors" ] ||
    fail "many: $(ls "$tmp/v")"
passes "$generate" --resume "$tmp/v/many2.state.safetensors" --quiet \
    --output "$tmp/v/many2.safetensors"
# shellcheck disable=SC2086
passes "$generate" --model "$demo" --prompt b $size --num-inference-steps $steps --quiet \
    --output "$tmp/v/b.safetensors"
same "$tmp/v/b.safetensors" "$tmp/v/many2.safetensors"

# A checkpoint whose path is no text: the state is kept all the same, and the path is given again.
odd=$(printf '%s/odd\377' "$tmp")
cp -r "$demo" "$odd"
# shellcheck disable=SC2086
"$generate" --model "$odd" --token-ids 5,1 $size --num-inference-steps 1000 --progress plain \
    --output "$tmp/v/odd.safetensors" 2>"$tmp/odd.err" </dev/null &
pid=$!
await under_way odd
kill -TERM $pid
wait $pid
grep -q "latent after step [0-9]* of 1000 is in $tmp/v/odd.latent.safetensors" "$tmp/odd.err" ||
    fail "odd: $(cat "$tmp/odd.err")"
refuses 2 "$generate" --resume "$tmp/v/odd.latent.safetensors" --dry-run
says "model is needed"
passes "$generate" --resume "$tmp/v/odd.latent.safetensors" --model "$odd" --dry-run

left=$(find "$tmp/v" -name '.stardit-*' -mmin +2)
[ -z "$left" ] || fail "left behind: $left"
# Keys of the step before are in no state: it is of a step that reads none.
old="--strategy pipefusion --patches 3 --refresh-steps 3"
# shellcheck disable=SC2086
{
    plain stale $old --devices 2 || fail "$(cat "$tmp/stale.err")"
    whole=$tmp/v/stale.safetensors
    killed fresh 3 --checkpoint-every 1 --devices 3 $old
}
[ $(($(step_of "$tmp/v/fresh.state.safetensors") % 3)) -eq 0 ] || fail "a state of a step that reads old keys"
resume fresh --devices 2

finish
