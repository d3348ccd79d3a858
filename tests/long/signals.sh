#!/bin/sh
# Runs of 8 prompts that are signalled at random: INT, TERM, HUP, KILL, and STOP with CONT, at a
# random place of the progress, on one device, two, and two groups, with and without states.
#   signals.sh [ROUNDS [SEED]]      100 rounds of seed 1 by default
#
# After each round: the run has ended as it should, each video that is there is whole and has the
# bits of an undisturbed run, each state and latent goes on to these bits, and no folder or
# temporary file stays once another run has begun. A run that uses no CPU time any more is a hang; the clock
# says nothing.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
rounds=${1:-100}
seed=${2:-1}
echo "seed $seed"

count=8
export TMPDIR="$tmp/tmp"
mkdir "$TMPDIR" "$tmp/v" "$tmp/whole"
options="--model $demo --height 32 --width 32 --num-frames 5 --num-inference-steps 6
    --guidance-scale 2 --progress plain"
for i in $(seq $count); do
    echo "a red circle, number $i"
done >"$tmp/prompts.txt"

# below LIMIT: a random number in $random, 0 to LIMIT - 1; the same seed gives the same numbers.
number=$seed
below() {
    number=$(((number * 1103515245 + 12345) % 2147483648))
    random=$((number / 65536 % $1))
}

at_line() {
    [ "$(wc -l <"$tmp/err")" -ge "$1" ]
}

# What an undisturbed run writes, and how many lines of progress it prints.
# shellcheck disable=SC2086
"$generate" $options --prompt-file "$tmp/prompts.txt" --output "$tmp/whole/%d.safetensors" \
    2>"$tmp/err" </dev/null || { cat "$tmp/err" >&2; exit 1; }
lines=$(wc -l <"$tmp/err")

right=0 resumed=0 completed=0
sent_INT=0 sent_TERM=0 sent_HUP=0 sent_KILL=0 sent_STOP=0
for round in $(seq "$rounds"); do
    below 5
    signal=$(echo INT TERM HUP KILL STOP | cut -d ' ' -f $((random + 1)))
    below 4
    case $random in
        0) how="--devices 1" ;;
        1) how="--devices 2" ;;
        2) how="--dit-devices 0 --vae-devices 1" ;;
        3) how="--dit-devices 0-1 --vae-devices 2 --aco dynamic" ;;
    esac
    below 3
    [ $random -eq 0 ] || how="$how --checkpoint-every 1"
    below $((lines + 2))
    place=$random
    below 60
    pause=0.$(printf %03d $random)
    what="round $round, $signal at line $place, $how"

    : >"$tmp/err"
    # shellcheck disable=SC2086
    env --default-signal=HUP "$generate" $options $how --prompt-file "$tmp/prompts.txt" \
        --output "$tmp/v/%d.safetensors" 2>"$tmp/err" </dev/null &
    pid=$!
    await at_line "$place"
    sleep "$pause"
    begun=$(grep -c '^denoise\|^decode\|^text' "$tmp/err")
    kill -$signal $pid 2>/dev/null
    if [ $signal = STOP ]; then
        sleep "$pause"
        kill -CONT $pid 2>/dev/null
    fi
    ended
    was=$code
    eval "sent_$signal=\$((sent_$signal + 1))"

    there=$(ls "$tmp/v" | grep -c '^[0-9]*\.safetensors$')
    case $signal/$code in
        */0)
            completed=$((completed + 1))
            [ "$there" -eq $count ] || fail "$what: exit 0 with $there videos"
            ;;
        INT/1 | TERM/1 | HUP/1)
            grep -q "stopped on request" "$tmp/err" || fail "$what: $(tail -n 3 "$tmp/err")" ;;
        KILL/137) ;;
        INT/130 | TERM/143 | HUP/129) # before it was listened for
            [ "$begun" -eq 0 ] || fail "$what: exit $code after it had begun" ;;
        *) fail "$what: exit $code: $(tail -n 3 "$tmp/err")" ;;
    esac
    if [ $was -ne 137 ]; then
        left=$(ls -A "$TMPDIR")
        [ -z "$left" ] || fail "$what: left behind: $left"
        left=$(find "$tmp/v" -name '.stardit-*')
        [ -z "$left" ] || fail "$what: left behind: $left"
    fi

    # What it has written.
    for video in "$tmp"/v/[0-9].safetensors; do
        [ -e "$video" ] || continue
        same "$tmp/whole/${video##*/}" "$video"
        right=$((right + 1))
    done
    # What a killed run leaves is old by now, for all that the next one knows.
    find "$TMPDIR" -mindepth 1 -maxdepth 1 -exec touch -d '10 minutes ago' {} +
    find "$tmp/v" -name '.stardit-*' -exec touch -d '10 minutes ago' {} +
    # What it has kept.
    for kept in "$tmp"/v/*.state.safetensors "$tmp"/v/*.latent.safetensors; do
        [ -e "$kept" ] || continue
        name=${kept##*/} name=${name%%.*}
        if [ -e "$tmp/v/$name.safetensors" ] && [ $was -ne 137 ]; then
            fail "$what: $kept beside its video"
        fi
        # shellcheck disable=SC2086
        "$generate" --resume "$kept" --quiet --force --output "$tmp/again.safetensors" \
            2>"$tmp/err2" </dev/null &
        pid=$!
        ended
        [ $code -eq 0 ] || fail "$what: $kept: exit $code: $(cat "$tmp/err2")"
        same "$tmp/whole/$name.safetensors" "$tmp/again.safetensors"
        rm -f "$tmp/again.safetensors"
        resumed=$((resumed + 1))
    done
    # shellcheck disable=SC2086
    "$generate" $options --prompt x --num-inference-steps 1 --quiet --progress none \
        --output "$tmp/v/next.safetensors" 2>"$tmp/err2" </dev/null ||
        fail "$what: the run after it: $(cat "$tmp/err2")"
    left=$(ls -A "$TMPDIR"; find "$tmp/v" -name '.stardit-*')
    [ -z "$left" ] || fail "$what: left behind for ever: $left"
    rm -rf "$tmp/v"
    mkdir "$tmp/v"
    [ $((round % 10)) -ne 0 ] || echo "$round rounds, $failures failures"
done
echo "$rounds rounds of seed $seed: $sent_INT INT, $sent_TERM TERM, $sent_HUP HUP," \
    "$sent_KILL KILL, $sent_STOP STOP; $completed ran through, $right videos with the right bits," \
    "$resumed states went on to them, $failures failures"
finish
