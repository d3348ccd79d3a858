#!/bin/sh
# Who may call, and how much of everything: tokens, Host and Origin, full queues, large bodies, many and slow
# connections, time to live; what the command line refuses.
. "${STARDIT_SOURCE_DIR:-.}/tests/serve/common.sh"

# The command line.
refuses 2 "$serve" --state "$state"
says "--model is needed"
refuses 2 "$serve" --model "$demo"
says "--state is needed"
refuses 2 "$serve" --model "$demo" --state "$state" --strategy dualparal
says "blocks are at different steps and have no state"
refuses 2 "$serve" --model "$demo" --state "$state" --listen 127.0.0.1
says "an address and a port"
refuses 2 "$serve" --model "$demo" --state "$state" --listen 0.0.0.0:0
says "--token-file is needed"
refuses 1 "$serve" --model "$tmp" --state "$state" --listen 127.0.0.1:0
refuses 1 "$serve" --model "$demo" --state /proc/none --listen 127.0.0.1:0
says "/proc/none"
refuses 2 "$serve" --model "$demo" --model "$demo/" --state "$state" --listen 127.0.0.1:0
says "another one is called stardit-demo already"
refuses 2 "$serve" --model "$demo" --state "$state" --resident-models 1
says "goes with several --model"
refuses 2 "$serve" --model "$demo" --state "$state" --listen 127.0.0.1:0 --max-body 4 --max-field 5
says "larger than --max-body"
refuses 2 "$serve" --model "$demo" --state "$state" --listen 127.0.0.1:0 --queue lifo
says "queue lifo: known are "
refuses 2 "$serve" --model "$demo" --state "$state" --listen 127.0.0.1:0 --queue genserve
says "shares devices out among jobs, and a step has all of them here; edf"
token=0123456789abcdef0123
echo short >"$tmp/token"
chmod 600 "$tmp/token"
refuses 2 "$serve" --model "$demo" --state "$state" --listen 127.0.0.1:0 --token-file "$tmp/token"
says "a token of 5 bytes"
echo $token >"$tmp/token"
chmod 644 "$tmp/token"
refuses 2 "$serve" --model "$demo" --state "$state" --listen 127.0.0.1:0 --token-file "$tmp/token"
says "chmod 600"
chmod 600 "$tmp/token"

# A token, for all but /health and the page, which has a place for it.
start --token-file "$tmp/token" --allow-host video.example
call 200 /health
call 200 /
call 401 /v1/videos
is invalid_token error code
grep -qi '^www-authenticate: bearer' "$tmp/headers" || fail "no WWW-Authenticate"
call 401 /metrics
call 401 /v1/videos -H "Authorization: Bearer ${token}4"
call 401 /v1/videos -H "Authorization: Basic $token"
call 401 /v1/nothing
call 401 /v1/videos -F prompt=x
bearer="Authorization: Bearer $token"
call 200 /v1/videos -H "$bearer"
# Other names are of pages that have led a browser here.
call 403 /v1/videos -H "$bearer" -H "Host: rebound.example"
is unknown_host error code
call 403 /health -H "Host: 127.0.0.1.rebound.example:80"
call 200 /health -H "Host: video.example:8040"
call 200 /health -H "Host: localhost"
call 200 /health -H "Host: [::1]:8040"
call 403 /v1/videos -H "$bearer" -H "Origin: http://rebound.example"
is unknown_origin error code
call 403 /v1/videos -H "$bearer" -H "Origin: null"
call 200 /v1/videos -H "$bearer" -H "Origin: $url"
stop

# A full queue, bodies and fields of their largest size and above, what takes too long.
start --max-waiting 2 --max-body 3 --max-field 2 --max-seconds 100 --queue fcfs --repeat-seconds 0
frames='"num_frames": 5, "num_inference_steps": 900'
make "{\"prompt\": \"a\", $frames}"
first=$id
make "{\"prompt\": \"a\", $frames}"
second=$id
[ "$first" != "$second" ] || fail "without --repeat-seconds the same request is a job of its own"
call 429 /v1/videos -F prompt=c -F num_frames=1
is queue_full error code
is rate_limit_error error type
grep -qi '^retry-after: [1-9]' "$tmp/headers" || fail "no Retry-After"
await reached "$first" in_progress 1
call 200 "/v1/videos/$second"
[ "$(of status)" = in_progress ] || is 1 queue_position
call 200 "/v1/videos/$second" -X DELETE
call 200 "/v1/videos/$first" -X DELETE
text=$(head -c 2048 /dev/zero | tr '\0' x)
call 200 /v1/videos -F prompt="$text" -F num_frames=1 -F num_inference_steps=1
call 413 /v1/videos -F prompt="${text}x" -F num_frames=1
is field_too_large error code
is prompt error param
call 413 /v1/videos -F prompt="$text" -F negative_prompt="$text"
is body_too_large error code
call 413 /v1/videos -H "Transfer-Encoding: chunked" -F prompt="$text" -F negative_prompt="$text"
call 413 /v1/videos $(seq -f '-F f%.0f=1' 1 49)
call 400 /v1/videos -F prompt=x -F num_frames=81 -F height=1024 -F width=1024 -F num_inference_steps=1000
is too_long error code
stop

# Slow clients are cut off, and others do not wait for them.
start --request-seconds 1 --max-connections 8
host=${url#http://}
cat >"$tmp/slow.py" <<'END'
import socket, sys, time
host, port = sys.argv[1].split(":")
slow = [socket.create_connection((host, int(port))) for _ in range(5)]
for s in slow[:3]:
    s.sendall(b"POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
              b"Content-Type: application/json\r\n\r\n")
cut = 0
for s in slow:
    try:
        while True: # a byte now and then, for as long as it is taken
            s.sendall(b" ")
            s.settimeout(0.2)
            try:
                if s.recv(1000) == b"":
                    break
            except TimeoutError:
                pass
    except OSError:
        pass
    cut += 1
print(cut, "slow connections were cut off")
END
if command -v python3 >/dev/null; then
    timeout 120 python3 "$tmp/slow.py" "$host" >"$tmp/slow" 2>&1 &
    slow=$!
    for n in 1 2 3 4 5; do call 200 /health; done
    wait $slow
    cat "$tmp/slow"
    grep -q '^5 slow' "$tmp/slow" || fail "slow clients stay: $(cat "$tmp/slow")"
fi
call 200 /health
stop

# What has ended is kept for a time, and then gone with its files; the id is remembered.
start --keep-hours 0.0003
make '{"prompt": "brief", "num_frames": 1, "num_inference_steps": 1}'
expired() { call 404 "/v1/videos/$id" 2>/dev/null; is expired error code; }
await grep -q "$id is expired" "$tmp/log"
expired
[ -z "$(ls "$state/videos" | grep "$id")" ] || fail "files of an expired job"
stop

# Above the quota nothing is taken, but for repeats; deleted videos make room. It is a byte above what is there.
start --quota-gb "$(find "$state/videos" "$state/states" -type f -exec stat -c %s {} + |
    awk '{ bytes += $1 } END { printf "%.9f", (bytes + 1) / 1e9 }')"
call 200 /v1/videos -H "Idempotency-Key: first" -F prompt=q -F num_frames=1 -F num_inference_steps=1
id=$(of id)
await reached "$id" completed
call 507 /v1/videos -F prompt=r -F num_frames=1 -F num_inference_steps=1
is quota_exceeded error code
grep -qi '^x-should-retry: false' "$tmp/headers" || fail "clients would try again: $(cat "$tmp/headers")"
call 200 /v1/videos -H "Idempotency-Key: first" -F prompt=q -F num_frames=1 -F num_inference_steps=1
is "$id" id
call 200 "/v1/videos?limit=100"
for other in $(grep -o '"id":"video_[0-9a-f]*"' "$tmp/answer" | cut -d '"' -f 4); do
    call 200 "/v1/videos/$other" -X DELETE
done
call 200 /v1/videos -F prompt=r -F num_frames=1 -F num_inference_steps=1
call 200 "/v1/videos/$(of id)" -X DELETE
stop

# A state folder behind a link, as systemd makes one.
mkdir "$tmp/private"
ln -s "$tmp/private" "$tmp/link"
state=$tmp/link
start
stop
[ -s "$tmp/private/jobs.sqlite" ] || fail "the folder behind the link has no table"

# A server of two models: jobs of both, each by its name.
ln -s "$demo" "$tmp/other"
start --model "$tmp/other" --queue fcfs
for model in stardit-demo other stardit-demo; do
    make "{\"prompt\": \"$model\", \"model\": \"$model\", \"num_frames\": 5, \"num_inference_steps\": 2, \"seed\": 4}"
    ids="$ids $id"
done
alone "$tmp/other.want.mp4" --prompt other --num-inference-steps 2 --seed 4
for id in $ids; do video "$id" "$tmp/$id.mp4"; done
set -- $ids
same "$tmp/$2.mp4" "$tmp/other.want.mp4"
stop
# Without its model a job waits; others do not wait for it.
start --model "$tmp/other" --queue fcfs
make '{"prompt": "behind", "num_frames": 5, "num_inference_steps": 900}'
make '{"prompt": "left", "model": "other", "num_frames": 1, "num_inference_steps": 1}'
left=$id
stop
start
call 200 "/v1/videos/$left"
is queued status
make '{"prompt": "goes on", "num_frames": 1, "num_inference_steps": 1}'
await reached "$id" completed
stop

# What holds for all jobs: a LoRA, and pipefusion's own options.
"$tool" lora "$demo/transformer/diffusion_pytorch_model.safetensors" "$tmp/lora.safetensors" "$tmp/merged" F32
stale="--strategy pipefusion --patches 2 --warmup-steps 2 --refresh-steps 4 --lora $tmp/lora.safetensors:0.5"
# shellcheck disable=SC2086
alone "$tmp/stale.want.mp4" --prompt stale --num-inference-steps 9 $stale
alone "$tmp/plain.mp4" --prompt stale --num-inference-steps 9
cmp -s "$tmp/plain.mp4" "$tmp/stale.want.mp4" && fail "neither a LoRA nor old keys change a video"
# shellcheck disable=SC2086
start $stale
make '{"prompt": "stale", "num_frames": 5, "num_inference_steps": 9}'
video "$id" "$tmp/stale.mp4"
same "$tmp/stale.mp4" "$tmp/stale.want.mp4"
# Fewer steps than --warmup-steps and --refresh-steps say.
make '{"prompt": "one", "num_frames": 5, "num_inference_steps": 1}'
await reached "$id" completed
call 400 /v1/videos -H "$json" -d '{"prompt": "few", "num_frames": 5, "num_inference_steps": 5}'
stop
refuses 2 "$serve" --model "$demo" --model "$tmp/other" --lora "$tmp/lora.safetensors" --state "$state" --listen 127.0.0.1:0
says "goes with one --model"
refuses 2 "$serve" --model "$demo" --patches 2 --state "$state" --listen 127.0.0.1:0
says "does not go with --strategy"
refuses 2 "$serve" --model "$demo" --warmup-steps 2 --state "$state" --listen 127.0.0.1:0
says "reads no keys of steps before"
refuses 2 "$serve" --model "$demo" --refresh-steps 2 --state "$state" --listen 127.0.0.1:0
says "does not go with strategy"
finish
