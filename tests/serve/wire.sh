#!/bin/sh
# What clients send and get: /v1/videos by forms and JSON, errors in the shape that clients know, the small
# paths. A video has the bytes that stardit-generate writes.
. "${STARDIT_SOURCE_DIR:-.}/tests/serve/common.sh"
start

# Created by a form, as OpenAI's clients send it, and by JSON.
call 200 /v1/videos -F prompt="a red circle" -F model=stardit-demo -F size=64x64 -F seconds=0.6 \
    -F seed=7 -F num_inference_steps=3 -F 'metadata={"who": "me"}' -F priority=-2
first=$(of id)
is video object
is queued status
is stardit-demo model
is 64x64 size
is 0.625 seconds
is 5 num_frames
is 3 steps
is 7 seed
is me metadata who
is -2 priority
is "a red circle" prompt
alone "$tmp/red.mp4" --prompt "a red circle" --seed 7 --num-inference-steps 3
video "$first" "$tmp/first.mp4"
same "$tmp/first.mp4" "$tmp/red.mp4"
grep -qi '^content-type: video/mp4' "$tmp/headers" || fail "the video's type: $(cat "$tmp/headers")"
grep -qi "^content-disposition: attachment; filename=\"$first.mp4\"" "$tmp/headers" || fail "the video's name"
grep -qi '^x-content-type-options: nosniff' "$tmp/headers" || fail "nosniff is missing"
call 200 "/v1/videos/$first"
is completed status
is 100 progress
is "$(stat -c %s "$tmp/red.mp4")" bytes
is "sha256:$(sha256sum "$tmp/red.mp4" | cut -d ' ' -f 1)" checksum
predicted=$(of predicted_seconds step)
call 200 "/v1/videos/$first/plan"
is video.plan object
is "$first" id
is "$predicted" steps 0 seconds
case $(of device_peak_bytes 0) in [1-9]*) ;; *) fail "a plan without memory: $(of device_peak_bytes 0)" ;; esac
call 404 /v1/videos/video_none/plan
call 404 "/v1/videos/$first/trace"
is no_trace error code
case $predicted in 0.*[1-9]*) ;; *) fail "predicted: $predicted" ;; esac

full='{"prompt": "snow \u00e9t\u00e9", "negative_prompt": "night", "width": 64, "height": 48, "num_frames": 9,
 "num_inference_steps": 4, "guidance_scale": 2.5, "flow_shift": 4, "fps": 12.5, "max_sequence_length": 64,
 "seed": "18446744073709551615", "sampler": "euler", "sampler_schedule": "linear", "tile_size": 32, "tile_stride": "24x16",
 "priority": 3, "deadline_seconds": 1000, "model": null}'
make "$full"
is "snow été" prompt
is 64x48 size
is 0.72 seconds
video "$id" "$tmp/full.mp4"
passes "$generate" --model "$demo" --quiet --output "$tmp/full.want.mp4" --prompt "snow été" \
    --negative-prompt night --width 64 --height 48 --num-frames 9 --num-inference-steps 4 --guidance-scale 2.5 \
    --flow-shift 4 --fps 12.5 --max-sequence-length 64 --seed 18446744073709551615 --sampler euler \
    --sampler-schedule linear --tile-size 32 --tile-stride 24x16
same "$tmp/full.mp4" "$tmp/full.want.mp4"
make '{"prompt": "tiles", "num_frames": 5, "num_inference_steps": 2, "tile_size": 40}'
video "$id" "$tmp/tiles.mp4"
alone "$tmp/tiles.want.mp4" --prompt tiles --num-inference-steps 2 --tile-size 40
same "$tmp/tiles.mp4" "$tmp/tiles.want.mp4"
call 200 "/v1/videos/$id/content?variant=thumbnail"
[ "$(head -c 4 "$tmp/answer" | tail -c 3)" = PNG ] || fail "the thumbnail is no PNG"
call 200 "/v1/videos/$id/content?variant=spritesheet"
[ "$(head -c 4 "$tmp/answer" | tail -c 3)" = PNG ] || fail "the sheet is no PNG"
call 400 "/v1/videos/$id/content?variant=poster"
call 200 /v1/videos -d prompt=urlencoded%20%26%20more -d num_inference_steps=1 -d num_frames=1
is "urlencoded & more" prompt

# Repeats give the first job: by a key, by the header, and the same form again.
make '{"prompt": "k", "num_frames": 1, "num_inference_steps": 1, "request_id": "a-key", "seed": -1}'
keyed=$id
make '{"prompt": "k", "num_frames": 1, "num_inference_steps": 1, "request_id": "a-key", "seed": -1}'
[ "$id" = "$keyed" ] || fail "a key gives another job"
call 200 /v1/videos -H "Idempotency-Key: a-key" -F prompt=k -F num_frames=1 -F num_inference_steps=1 -F seed=-1
is "$keyed" id
call 422 /v1/videos -H "Idempotency-Key: a-key" -F prompt=other -F num_frames=1
is idempotency_key_reused error code
call 200 /v1/videos -F prompt=twice -F num_frames=1 -F num_inference_steps=1
once=$(of id)
call 200 /v1/videos -F prompt=twice -F num_frames=1 -F num_inference_steps=1
is "$once" id

# Lists, page by page.
await reached "$once" completed
call 200 "/v1/videos?limit=2&order=asc"
is list object
is "$first" first_id
is "$first" data 0 id
grep -q '"has_more":true' "$tmp/answer" || fail "there are no more"
call 200 "/v1/videos?limit=100&order=asc&after=$(of last_id)"
grep -q '"has_more":false' "$tmp/answer" || fail "there are more"
call 200 "/v1/videos?limit=1"
is "$once" data 0 id
call 400 "/v1/videos?limit=0"
call 400 "/v1/videos?order=up"

# /sync answers with the video.
call 200 /v1/videos/sync -F prompt="a red circle" -F num_frames=5 -F seed=7 -F num_inference_steps=3
cmp -s "$tmp/answer" "$tmp/red.mp4" || fail "/sync gives another video"

# Deleted: gone, with its files.
call 200 "/v1/videos/$first" -X DELETE
is video.deleted object
grep -q '"deleted":true' "$tmp/answer" || fail "not deleted"
call 404 "/v1/videos/$first"
is deleted error code
call 404 "/v1/videos/$first/content"
call 404 "/v1/videos/$first" -X DELETE
[ ! -e "$state/videos/$first.mp4" ] || fail "the deleted video's file is there"

# Refusals, in the shape of OpenAI's errors: HTTP code param form.
refusal() {
    refusal_code=$2 refusal_param=$3
    call "$1" /v1/videos -H "$json" -d "$4"
    is "$refusal_code" error code
    [ -z "$refusal_param" ] || is "$refusal_param" error param
    [ -n "$(of error message)" ] && [ -n "$(of error type)" ] || fail "an error without words: $4"
    grep -qi '^x-should-retry: false' "$tmp/headers" || fail "a retry is not advised against: $4"
    ! grep -q "$tmp\|/checkpoints" "$tmp/answer" || fail "a path of this machine: $(cat "$tmp/answer")"
}
refusal 400 missing_field prompt '{}'
refusal 400 unknown_field promt '{"prompt": "x", "promt": "y"}'
refusal 400 unsupported_field input_reference '{"prompt": "x", "input_reference": "y"}'
refusal 400 model_not_found model '{"prompt": "x", "model": "sora-2"}'
refusal 400 invalid_value num_frames '{"prompt": "x", "num_frames": "many"}'
refusal 400 invalid_value num_inference_steps '{"prompt": "x", "num_inference_steps": 0}'
refusal 400 invalid_value num_inference_steps '{"prompt": "x", "num_inference_steps": 2.5}'
refusal 400 invalid_value guidance_scale '{"prompt": "x", "guidance_scale": "nan"}'
refusal 400 invalid_value size '{"prompt": "x", "size": "64"}'
refusal 400 invalid_value size '{"prompt": "x", "size": "64x64", "width": 64}'
refusal 400 invalid_value seconds '{"prompt": "x", "seconds": -1}'
refusal 400 invalid_value seconds '{"prompt": "x", "seconds": 1, "num_frames": 5}'
refusal 400 invalid_value seed '{"prompt": "x", "seed": -2}'
refusal 400 invalid_value sampler '{"prompt": "x", "sampler": "ddim"}'
refusal 400 invalid_value sampler_schedule '{"prompt": "x", "sampler_schedule": "cosine"}'
refusal 400 invalid_value tile_size '{"prompt": "x", "tile_size": "big"}'
refusal 400 invalid_value tile_stride '{"prompt": "x", "tile_stride": 8}'
refusal 400 invalid_value negative_prompt '{"prompt": "x", "negative_prompt": "y", "guidance_scale": 1}'
refusal 400 invalid_value true_cfg_scale '{"prompt": "x", "true_cfg_scale": 2}'
refusal 400 invalid_value metadata '{"prompt": "x", "metadata": "text"}'
refusal 400 invalid_type prompt '{"prompt": ["x"]}'
refusal 400 invalid_type prompt '{"prompt": true}'
refusal 400 invalid_text prompt '{"prompt": "a\u0007bell"}'
refusal 400 invalid_json "" '{"prompt": "x", "prompt": "y"}'
refusal 400 invalid_json "" '{"prompt": '
refusal 400 invalid_json "" '["prompt"]'
refusal 400 invalid_value "" '{"prompt": "x", "num_frames": 6}'
grep -q '5 or 9 would work' "$tmp/answer" || fail "no numbers that would work: $(cat "$tmp/answer")"
refusal 400 does_not_fit "" '{"prompt": "x", "width": 16384, "height": 16384, "num_frames": 81}'
call 400 /v1/videos -F prompt=x -F prompt=y
is field_twice error code
call 400 /v1/videos -F prompt=x -F input_reference=@"$tmp/red.mp4"
is unsupported_field error code
call 415 /v1/videos -H "Content-Type: text/plain" -d prompt=x
call 400 /v1/videos -H "Content-Type: multipart/form-data" -d prompt=x
call 404 /v1/videos/video_none
is video_not_found error code
call 404 /v1/video
call 404 "/v1/videos/../../etc/passwd/content" --path-as-is
call 405 /v1/videos -X PUT
call 405 "/v1/videos/$id" -X POST
call 501 "/v1/videos/$id/remix" -H "$json" -d '{"prompt": "x"}'
call 400 "/v1/videos" -H "$json" -d ''

# The small paths.
call 200 /health
is ok status
call 200 /health/ready
call 200 /version
[ "$(of version)" = "$("$serve" --version | cut -d ' ' -f 2)" ] || fail "another version"
call 200 /v1/models
is stardit-demo data 0 id
is 17 data 0 defaults num_frames
call 200 /metrics
grep -qi '^content-type: text/plain; version=0.0.4' "$tmp/headers" || fail "the type of the metrics"
for name in 'stardit_jobs{status="completed"} [1-9]' 'stardit_jobs_total{result="completed"} [1-9]' \
    'stardit_queue_seconds_count [1-9]' 'stardit_stage_seconds_total{stage="decode"} [0-9.e-]*$' \
    'stardit_device_busy_seconds_total{device="0"} [0-9]*\.[0-9]*[1-9]' 'stardit_device_workers{device="0"} [1-9]' \
    'stardit_bytes_moved_total{link="device_to_device"} [0-9]' \
    'stardit_http_requests_total{route="/v1/videos",code="400"} [1-9]' 'stardit_build_info{version='; do
    grep -q "^$name" "$tmp/answer" || fail "no metric $name"
done
[ "$(tail -c 1 "$tmp/answer" | od -An -tx1 | tr -d ' ')" = 0a ] || fail "the metrics do not end with a line"
curl -s --max-time 60 -I "$url/health" | grep -q '^HTTP/1.1 200' || fail "HEAD"

# The page: its own files, nothing from elsewhere.
for file in "" page.css page.js; do
    call 200 "/$file"
    cmp -s "$tmp/answer" "$source/apps/serve/page/${file:-page.html}" || fail "/$file is not the file"
    grep -qi "^content-security-policy: default-src 'none'; script-src 'self';" "$tmp/headers" ||
        fail "/$file: $(cat "$tmp/headers")"
    ! grep -q 'http[s]*:\|//[a-z]*\.\|innerHTML\|eval(' "$tmp/answer" || fail "/$file takes something from elsewhere"
done
if command -v node >/dev/null; then
    passes node --check "$source/apps/serve/page/page.js"
fi

# No prompt is in the log.
! grep -q 'red circle\|snow\|twice' "$tmp/log" || fail "the log has a prompt"
stop
finish
