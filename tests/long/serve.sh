#!/bin/sh
# stardit-serve under load, killed at random moments: every job that was taken is there, finished once, with the
# bits of an undisturbed run.
#   serve.sh [KILLS [SEED]]      50 kills of seed 1 by default
#
# Before each kill some jobs are submitted, by several clients at once and with keys, as a client that repeats a
# lost call does; then the server is killed, at a random moment or as soon as a random job has reached a random
# step, and started again. At the end it is left alone until nothing is open.
. "${STARDIT_SOURCE_DIR:-.}/tests/serve/common.sh"
kills=${1:-50}
seed=${2:-1}
echo "seed $seed"

# below LIMIT: a random number in $random, 0 to LIMIT - 1; the same seed gives the same numbers.
number=$seed
below() {
    number=$(((number * 1103515245 + 12345) % 2147483648))
    random=$((number / 65536 % $1))
}

# What the videos must be, one for each number of steps.
kinds="3 20 60 150"
for steps in $kinds; do
    alone "$tmp/want.$steps.mp4" --prompt "a red circle" --num-inference-steps "$steps" --seed "$steps"
done

# send KEY STEPS DEADLINE: one call of a client; the id of what it was told is kept. Sent again where no answer
# came, which the server must not take for another job.
send() {
    for try in 1 2 3; do
        answer=$(curl -s --max-time 20 -H "Idempotency-Key: $1" "$url/v1/videos" -F prompt="a red circle" \
            -F num_frames=5 -F num_inference_steps="$2" -F seed="$2" -F deadline_seconds="$3") && break
    done
    id=$(echo "$answer" | sed -n 's/.*"id":"\(video_[0-9a-f]*\)".*/\1/p')
    [ -z "$id" ] || echo "$id $2 $1" >>"$tmp/taken.$1"
}

again() {
    for way in "--queue edf" "--queue srtf --max-latents 1" "--queue fcfs --max-latents 2" \
        "--queue edf --devices 2" "--queue edf --dit-devices 0 --vae-devices 1"; do
        [ "$random" -ne 0 ] || break
        random=$((random - 1))
    done
    # shellcheck disable=SC2086  # options
    start $way --checkpoint-every 4 --max-waiting 1000 --max-attempts 1000
}

calls=0
for round in $(seq "$kills"); do
    below 5
    again
    senders=
    below 5
    for n in $(seq $((random + 1))); do
        calls=$((calls + 1))
        below 4
        steps=$(echo $kinds | cut -d ' ' -f $((random + 1)))
        below 1000
        (send "key-$calls" "$steps" $((random + 1))) &
        senders="$senders $!"
    done
    below 400
    sleep 0.$(printf %03d $random)
    below 3
    if [ $random -eq 0 ] && [ -n "$(cat "$tmp"/taken.* 2>/dev/null)" ]; then
        line=$(cat "$tmp"/taken.* | tail -1)
        steps=$(echo "$line" | cut -d " " -f 2)
        below "$steps"
        step=$random
        moved() {
            call 200 "/v1/videos/${line%% *}"
            case $(of status) in completed | failed) return 0 ;; esac
            [ "$(of step)" -ge "$step" ]
        }
        await moved
    fi
    kill -KILL "$pid"
    ended
    wait $senders
done

random=0
again
finished() {
    call 200 /metrics
    ! grep -q '^stardit_jobs{status="\(queued\|in_progress\)"} [1-9]' "$tmp/answer"
}
await finished
cat "$tmp"/taken.* >"$tmp/all"
lost=0 wrong=0 twice=0 right=0
while read -r id steps key; do
    call_code=$(curl -s -o "$tmp/v.mp4" -w '%{http_code}' "$url/v1/videos/$id/content")
    if [ "$call_code" != 200 ]; then
        lost=$((lost + 1))
        fail "$id ($key, $steps steps) was taken and is not there: $(head -c 300 "$tmp/v.mp4")"
    elif ! cmp -s "$tmp/v.mp4" "$tmp/want.$steps.mp4"; then
        wrong=$((wrong + 1))
        fail "$id ($key, $steps steps) has other bits"
    else
        right=$((right + 1))
    fi
done <"$tmp/all"
# A key has one job, and each job one video.
twice=$(awk '{ print $3, $1 }' "$tmp/all" | sort -u | awk '{ print $1 }' | uniq -d | wc -l)
[ "$twice" -eq 0 ] || fail "$twice keys have several jobs"
call 200 /metrics
jobs=$(sed -n 's/^stardit_jobs{status="completed"} //p' "$tmp/answer")
failed=$(sed -n 's/^stardit_jobs{status="failed"} //p' "$tmp/answer")
videos=$(ls "$state/videos" | grep -c 'mp4$')
[ "$failed" -eq 0 ] || fail "$failed jobs have failed"
[ "$jobs" -eq "$videos" ] || fail "$jobs jobs and $videos videos"
[ "$jobs" -ge "$right" ] && [ "$jobs" -le "$calls" ] || fail "$jobs jobs of $calls calls"
[ -z "$(ls "$state/states")" ] || fail "states are left: $(ls "$state/states")"
stop
echo "serve: $kills kills, $(wc -l <"$tmp/all") jobs taken, $right right, $lost lost, $wrong of other bits, $twice twice"
[ "$kills" -lt 20 ] || [ "$right" -ge "$kills" ] || fail "too few jobs to say anything"
for part in client page load; do
    code=0
    "$source/tests/long/serve_$part.sh" || code=$?
    [ $code -eq 0 ] || [ $code -eq 77 ] || fail "serve_$part.sh"
done
finish
