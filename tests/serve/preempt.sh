#!/bin/sh
# Jobs that are taken off the devices for a more urgent one, or ended, on several devices and by several queues:
# all have the bits of undisturbed runs.
. "${STARDIT_SOURCE_DIR:-.}/tests/serve/common.sh"

# job NAME STEPS [FIELDS]: a job whose video is to be $tmp/NAME.want.mp4; $id.
job() {
    make "{\"prompt\": \"$1\", \"num_frames\": 5, \"num_inference_steps\": $2${3:+, $3}}"
}
# trace ID STEPS: the trace has tasks of this job alone, of all its steps.
trace() {
    call 200 "/v1/videos/$1/trace"
    [ "$(grep -o '"request":[0-9-]*' "$tmp/answer" | sort -u | wc -l)" -eq 1 ] || fail "a trace of several jobs"
    [ "$(grep -o '"step":[0-9][0-9]*' "$tmp/answer" | sort -u | wc -l)" -eq "$2" ] || fail "a trace of other steps than $2"
    of traceEvents 0 name >/dev/null || fail "a trace that is no JSON"
}
for name in long:900 second:60 urgent:3; do
    alone "$tmp/${name%:*}.want.mp4" --prompt "${name%:*}" --num-inference-steps "${name#*:}"
done

# A queue of one's own, which lets jobs go on that have waited long beside what is left of them.
$(sed -n 's/^CC = //p' "$build/Makefile") -shared -fPIC -I"$source/include" -o "$tmp/mine.so" \
    "$source/docs/examples/queue.c" || fail "docs/examples/queue.c does not compile"

# A more urgent job comes: on one device with one latent at a time the first one goes to the disk meanwhile, with
# several it waits in memory. So on 2 and 3 devices, and in groups.
for way in "$tmp/mine.so --max-latents 1" "edf --traces" "srtf --max-latents 1 --devices 2" "priority --devices 3" \
    "edf --dit-devices 0-1 --vae-devices 2"; do
    # shellcheck disable=SC2086  # options
    start --queue $way --checkpoint-every 300 --repeat-seconds 0
    job long 900 '"deadline_seconds": 1e6'
    long=$id
    await reached "$long" in_progress 3
    job urgent 3 '"deadline_seconds": 0.001, "priority": 7'
    urgent=$id
    video "$urgent" "$tmp/urgent.mp4"
    call 200 "/v1/videos/$long"
    [ "$(of status)" != completed ] || fail "$way: the urgent job came after the long one"
    left=$(of step)
    same "$tmp/urgent.mp4" "$tmp/urgent.want.mp4"
    video "$long" "$tmp/long.mp4"
    same "$tmp/long.mp4" "$tmp/long.want.mp4"
    echo "$way: an urgent job came first, and the other went on after step $left"
    case $way in
    *latents*)
        grep -q "$long waits again" "$tmp/log" || fail "$way: the long job was not taken off"
        call 200 /metrics
        grep -q '^stardit_preemptions_total [1-9]' "$tmp/answer" || fail "$way: no preemption counted"
        case $way in
        *devices*)
            grep -q '^stardit_bytes_moved_total{link="device_to_device"} [1-9]' "$tmp/answer" || fail "$way: nothing moved"
            grep -q '^stardit_device_busy_seconds_total{device="1"} [0-9]*\.[0-9]*[1-9]' "$tmp/answer" ||
                fail "$way: device 1 was never busy"
            ;;
        esac
        ;;
    esac
    [ "$way" = "edf --traces" ] || { stop; continue; }
    trace "$urgent" 3
    trace "$long" 900

    # Cancelled in its steps, and while it waits: failed with the reason, and nothing is left; another is not
    # disturbed. A deleted one is gone at once.
    job long 900 '"seed": 1'
    long=$id
    job second 60
    second=$id
    job third 30 '"seed": 5, "deadline_seconds": 1e6'
    third=$id
    await reached "$long" in_progress 2
    call 200 "/v1/videos/$long/cancel" -X POST
    is failed status
    is cancelled error code
    call 200 "/v1/videos/$third" -X DELETE
    call 404 "/v1/videos/$third"
    video "$second" "$tmp/second.mp4"
    same "$tmp/second.mp4" "$tmp/second.want.mp4"
    job long 900 '"seed": 2'
    await reached "$id" in_progress 2
    call 200 "/v1/videos/$id" -X DELETE
    gone() { [ -z "$(ls "$state/states")" ]; }
    gone || fail "a state of a deleted job: $(ls "$state/states")"
    call 200 "/v1/videos/$long/cancel" -X POST
    is cancelled error code
    stop
done
finish
