#!/bin/sh
# Jobs on shares of the devices (--data-parallel-size): side by side, each with the bits of a run on one device;
# an urgent one takes a share; one whose deadline a share would miss has all devices, and what it put off goes on
# with the same bits, after a kill and on other shares as well.
. "${STARDIT_SOURCE_DIR:-.}/tests/serve/common.sh"

# job NAME STEPS [FIELDS]: $id.
job() {
    make "{\"prompt\": \"$1\", \"num_frames\": 5, \"num_inference_steps\": $2${3:+, $3}}"
}
for name in one:500 two:500 three:60 urgent:3; do
    alone "$tmp/${name%:*}.want.mp4" --prompt "${name%:*}" --num-inference-steps "${name#*:}"
done
alone "$tmp/large.want.mp4" --prompt large --num-inference-steps 300 --height 96 --width 96 --num-frames 17
# large [FIELD]: one that takes all devices less time; $id.
large() {
    make "{\"prompt\": \"large\", \"size\": \"96x96\", \"num_frames\": 17, \"num_inference_steps\": 300${1:+, $1}}"
}
check() {
    video "$1" "$tmp/got.mp4"
    same "$tmp/got.mp4" "$tmp/$2.want.mp4"
}

for way in "--devices 2 --data-parallel-size 2" "--devices 3 --data-parallel-size 2 --max-latents 1" \
    "--devices 3 --data-parallel-size 3 --max-latents 2 --resident-models 1 --model $tmp/other"; do
    case $way in *other*) [ -d "$tmp/other" ] || cp -R "$demo" "$tmp/other" ;; esac
    # shellcheck disable=SC2086  # options
    start $way --checkpoint-every 300 --repeat-seconds 0 --queue edf
    job one 500 '"deadline_seconds": 1e6'
    one=$id
    job two 500 '"deadline_seconds": 2e6'
    two=$id
    # Both are on their way: neither waits for the other's end.
    await reached "$two" in_progress 3
    call 200 "/v1/videos/$one"
    [ "$(of status)" = in_progress ] || fail "$way: one job after the other"
    # An urgent one takes a share; the other job is not disturbed.
    job urgent 3 '"deadline_seconds": 1e5'
    check "$id" urgent
    call 200 "/v1/videos/$one"
    first=$(of step)
    grep -q "$one waits again" "$tmp/log" && fail "$way: the more urgent one was taken off"
    echo "$way: two jobs side by side, the first at step $first when a third one was done"
    # Killed, and gone on with on other shares.
    kill -KILL "$pid"
    ended
    start --devices 4 --data-parallel-size 2 --checkpoint-every 300 --repeat-seconds 0 --queue edf
    job three 60
    check "$id" three
    check "$two" two
    check "$one" one
    stop
done

# A deadline between the times of a share and of all devices, as they are predicted.
start --devices 2 --data-parallel-size 2 --checkpoint-every 300 --repeat-seconds 0 --queue edf --max-waiting 100
job one 500 '"deadline_seconds": 1e6'
one=$id
await reached "$one" in_progress 3
# Tried with several, since a busy machine may take its time between the call and the decision.
large
total=$(awk "BEGIN { print $(of predicted_seconds text) + 300 * $(of predicted_seconds step) + $(of predicted_seconds decode) }")
call 200 "/v1/videos/$id" -X DELETE
decided() {
    grep -q "$id has all devices" "$tmp/log" || reached "$id" in_progress 1
}
for times in 1.3 1.5 1.2 1.4 1.7 1.1 2 1.3 1.5; do
    large "\"deadline_seconds\": $(awk "BEGIN { print $times * $total }")"
    await decided
    grep -q "$id has all devices" "$tmp/log" && break
    call 200 "/v1/videos/$id" -X DELETE
done
grep -q "$id has all devices" "$tmp/log" || { fail "no job had all devices: $(tail -5 "$tmp/log")"; finish; }
grep -q "$one waits again after step" "$tmp/log" || fail "all devices, and a share besides: $(cat "$tmp/log")"
check "$id" large
check "$one" one
echo "all devices: $times times what a job takes on all was too short a time for a share"
stop

refuses 2 "$serve" --model "$demo" --state "$state" --listen 127.0.0.1:0 --devices 2 --data-parallel-size 3
says "each job has one at least"
refuses 2 "$serve" --model "$demo" --state "$state" --listen 127.0.0.1:0 --devices 2 --data-parallel-size 2 --strategy ring
says "what strategy ring computes depends on the devices"
refuses 2 "$serve" --model "$demo" --state "$state" --listen 127.0.0.1:0 --dit-devices 0 --vae-devices 1 --data-parallel-size 2
says "goes without groups"
finish
