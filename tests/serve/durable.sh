#!/bin/sh
# Nothing that was taken is lost: jobs are finished once, with the bits of an undisturbed run, whether the server
# is killed or stopped in each stage.
. "${STARDIT_SOURCE_DIR:-.}/tests/serve/common.sh"

# job NAME STEPS [FIELDS]: a job whose video is to be $tmp/NAME.want.mp4; $id.
job() {
    make "{\"prompt\": \"$1\", \"num_frames\": 5, \"num_inference_steps\": $2${3:+, $3}}"
}
for name in long:900 second:60 third:30; do
    alone "$tmp/${name%:*}.want.mp4" --prompt "${name%:*}" --num-inference-steps "${name#*:}"
done

# Killed in the middle of a job, with others behind it, twice.
start --checkpoint-every 7 --queue fcfs
job long 900
long=$id
job second 60
second=$id
job third 30
third=$id
refuses 2 "$serve" --model "$demo" --state "$state" --listen 127.0.0.1:0
says "another server works there"
await reached "$long" in_progress 20
kill -KILL "$pid"
ended
: >"$state/videos/video_0.mp4"
: >"$state/states/.stardit-1-1.part"
start --checkpoint-every 7 --queue fcfs
call 200 "/v1/videos/$long"
[ "$(of step)" -ge 14 ] || fail "killed after step 20: begins at $(of step)"
[ ! -e "$state/videos/video_0.mp4" ] && [ ! -e "$state/states/.stardit-1-1.part" ] || fail "leftovers are there"
kill -KILL "$pid"
ended
start --checkpoint-every 7 --queue fcfs
for name in long second third; do
    eval "video \$$name $tmp/$name.mp4"
    same "$tmp/$name.mp4" "$tmp/$name.want.mp4"
done
[ "$(ls "$state/videos" | grep -c 'mp4$')" -eq 3 ] || fail "not three videos: $(ls "$state/videos")"
[ -z "$(ls "$state/states")" ] || fail "states are left: $(ls "$state/states")"
call 200 "/v1/videos?limit=100"
[ "$(grep -o '"status":"completed"' "$tmp/answer" | wc -l)" -eq 3 ] || fail "not three jobs completed"

# A job whose video has gone is no completed job.
stop
rm "$state/videos/$third.mp4"
start
call 200 "/v1/videos/$third"
is failed status
is video_missing error code
call 200 "/v1/videos/$third" -X DELETE
call 200 "/v1/videos/$second" -X DELETE
call 200 "/v1/videos/$long" -X DELETE
stop

# Where the disk takes no more, a job that cannot be stored is not taken, and one that was taken is finished once
# there is room.
blocks=200
start --repeat-seconds 0
taken=
for n in $(seq 200); do
    code=$(curl -s --max-time 120 -o "$tmp/answer" -w '%{http_code}' "$url/v1/videos" -F prompt=third -F num_frames=5 \
        -F num_inference_steps=30)
    [ "$code" = 200 ] || break
    taken="$taken $(of id)"
done
[ "$code" = 503 ] || fail "a full disk: $code after $n jobs"
is not_stored error code
call 200 /health
kill -TERM "$pid"
ended
[ "$code" -eq 0 ] || fail "SIGTERM on a full disk: exit $code: $(tail -3 "$tmp/log")"
blocks=
start
for id in $taken; do
    video "$id" "$tmp/room.mp4"
    same "$tmp/room.mp4" "$tmp/third.want.mp4"
    call 200 "/v1/videos/$id" -X DELETE
done
echo "a full disk: $(echo $taken | wc -w) jobs were taken before, all are completed"
stop

# SIGTERM while a job waits, in its steps, at its last one: it goes on at the next start.
for stage in queued:0 in_progress:3 in_progress:900; do
    start --checkpoint-every 1000
    job long 900
    [ "$stage" = queued:0 ] || await reached "$id" "${stage%:*}" "${stage#*:}"
    stop
    grep -q "$id" "$tmp/log" || fail "the log does not name the job"
    start --checkpoint-every 1000
    call 200 "/v1/videos/$id"
    [ "$stage" = queued:0 ] || [ "$(of step)" -ge "${stage#*:}" ] || fail "$stage: goes on at step $(of step)"
    video "$id" "$tmp/stopped.mp4"
    same "$tmp/stopped.mp4" "$tmp/long.want.mp4"
    call 200 "/v1/videos/$id" -X DELETE
    stop
done

finish
