#!/bin/sh
# Two models in one queue: a job of the one takes the place of a job of the other between two steps, both have the
# bits of undisturbed runs, after kills as well; and one whose model is not served any more waits for it.
. "${STARDIT_SOURCE_DIR:-.}/tests/serve/common.sh"
# The same checkpoint with other weights: those of a LoRA are added to it.
other=$tmp/other
cp -R "$demo" "$other"
"$tool" lora "$demo/transformer/diffusion_pytorch_model.safetensors" "$tmp/lora.safetensors" "$tmp/merged" F32
cp "$tmp/merged" "$other/transformer/diffusion_pytorch_model.safetensors"

# job NAME MODEL STEPS DEADLINE: $id.
job() {
    make "{\"prompt\": \"$1\", \"model\": \"$2\", \"num_frames\": 5, \"num_inference_steps\": $3, \"deadline_seconds\": $4}"
}
alone "$tmp/long.want.mp4" --prompt long --num-inference-steps 500
alone "$tmp/urgent.demo.mp4" --prompt urgent --num-inference-steps 3
alone "$tmp/urgent.want.mp4" --prompt urgent --num-inference-steps 3 --model "$other"
alone "$tmp/large.want.mp4" --prompt large --num-inference-steps 2 --num-frames 33 --model "$other"
cmp -s "$tmp/urgent.demo.mp4" "$tmp/urgent.want.mp4" && fail "both models give the same video"

for way in "edf" "edf --dit-devices 0-1 --vae-devices 2" "edf --resident-models 1" \
    "edf --resident-models 1 --dit-devices 0-1 --vae-devices 2"; do
    case $way in *resident*) stay="one at a time is on them" ;; *) stay="all may stay on them" ;; esac
    # shellcheck disable=SC2086  # options
    start --model "$other" --queue $way --checkpoint-every 300 --repeat-seconds 0
    call 200 /v1/models
    is stardit-demo data 0 id
    is other data 1 id
    grep -q "2 models need 0\.[0-9]* GB .*: $stay" "$tmp/log" || fail "$way: $(cat "$tmp/log")"
    job long stardit-demo 500 1e6
    long=$id
    await reached "$long" in_progress 3
    job urgent other 3 0.001
    urgent=$id
    video "$urgent" "$tmp/urgent.mp4"
    same "$tmp/urgent.mp4" "$tmp/urgent.want.mp4"
    grep -q "$long waits again after step [1-9]" "$tmp/log" || fail "$way: the other model's job was not taken off"
    # Killed while one of each is there.
    job urgent other 3 0.001
    kill -KILL "$pid"
    ended
    # shellcheck disable=SC2086
    start --model "$other" --queue $way --checkpoint-every 300
    video "$id" "$tmp/again.mp4"
    same "$tmp/again.mp4" "$tmp/urgent.want.mp4"
    video "$long" "$tmp/long.mp4"
    same "$tmp/long.mp4" "$tmp/long.want.mp4"
    echo "$way: $(grep -c 'waits again' "$tmp/log") jobs taken off after the kill"
    # One that takes more than the defaults, for which all fit, has the devices alone.
    make '{"prompt": "large", "model": "other", "num_frames": 33, "num_inference_steps": 2}'
    video "$id" "$tmp/large.mp4"
    same "$tmp/large.mp4" "$tmp/large.want.mp4"
    stop
done

# Not served any more.
start --model "$other" --queue fcfs
job long stardit-demo 500 1e6
job urgent other 3 1e6
stop
start
grep -q "1 job that is open waits for model other, which is not served now" "$tmp/log" ||
    fail "the log does not say what waits: $(cat "$tmp/log")"
call 200 "/v1/videos/$id"
is queued status
call 400 /v1/videos -F prompt=x -F model=other
is model_not_found error code
stop
start --model "$other" --queue fcfs
video "$id" "$tmp/served.mp4"
same "$tmp/served.mp4" "$tmp/urgent.want.mp4"
stop
finish
