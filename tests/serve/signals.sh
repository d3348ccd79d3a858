#!/bin/sh
# SIGTERM in each stage of a job: while its text is encoded, in a step, in its decode, while its video is written,
# while that hangs, and while there is none. The server leaves with 0, within its bound, and the job is finished
# after the next start, once, with the bits of an undisturbed run.
. "${STARDIT_SOURCE_DIR:-.}/tests/serve/common.sh"
# shellcheck disable=SC2046  # options
$(sed -n 's/^CC = //p' "$build/Makefile") -shared -fPIC $(sed -n 's/^STARPU_CFLAGS = //p' "$build/Makefile") \
    -I"$source/include" -o "$tmp/stage.so" "$source/tests/serve/stage.c" -ldl || fail "tests/serve/stage.c"
alone "$tmp/want.mp4" --prompt "a red circle" --num-inference-steps 40

# A row: the stage, --stop-seconds, whether the stage ever ends, and what the log then says.
while read -r stage bound ends words; do
    rm -f "$tmp/gate"
    under="LD_PRELOAD=$tmp/stage.so STAGE=$stage STAGE_GATE=$tmp/gate
        ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0"
    start --stop-seconds "$bound" --checkpoint-every 1000
    under=
    if [ "$stage" = idle ]; then
        kill -TERM "$pid"
    else
        call 200 /v1/videos -F prompt="a red circle" -F num_frames=5 -F num_inference_steps=40
        id=$(of id)
        await grep -q 'stops;' "$tmp/log"
        grep -q "^SIGTERM in $stage" "$tmp/log" || fail "the signal did not come in $stage"
        call 503 /v1/videos -F prompt="another"
        is stopping error code
        [ "$ends" = never ] || : >"$tmp/gate"
    fi
    ended
    [ "$code" -eq 0 ] || fail "$stage: exit $code: $(tail -3 "$tmp/log")"
    sed '1,/stops;/d' "$tmp/log" | grep -q "$words" || fail "$stage: not '$words' but: $(tail -3 "$tmp/log")"
    echo "SIGTERM in $stage: $(sed '1,/stops;/d' "$tmp/log" | head -1)"
    start
    if [ "$stage" != idle ]; then
        video "$id" "$tmp/got.mp4"
        same "$tmp/got.mp4" "$tmp/want.mp4"
        [ "$(ls -A "$state/videos" | wc -l)" -eq 3 ] && [ -z "$(ls -A "$state/states")" ] ||
            fail "$stage leaves: $(ls -A "$state/videos" "$state/states")"
        call 200 "/v1/videos/$id" -X DELETE
    fi
    stop
done <<END
idle 3600 soon ended; jobs that wait
text 3600 soon waits again after step 0 of 40
step 3600 soon waits again after step [67] of 40
decode 3600 soon waits again after step 40 of 40
write 3600 soon completed: 5 frames
write 1 never did not leave the devices within 1 s
END
finish
