#!/bin/sh
# Workers, plans and refusals follow what the process may use: an affinity mask, quotas and limits of control
# groups where this user can make some, ulimit -v and -d; two runs that take half the cores each do not meet.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

small="--model $demo --token-ids 5,6,1 --height 32 --width 32 --num-frames 5 --num-inference-steps 2"

# workers COMMAND...: CPU workers that stardit-info finds under it.
workers() {
    "$@" "$info" | sed -n 's/.*memory node 0, \([0-9]*\) worker.*/\1/p' | head -1
}

cores=$(workers env)
echo "$cores cores"
one=$(taskset -pc $$ | sed 's/.*[ ,-]//') # the last CPU of the mask
[ "$(workers taskset -c "$one")" -eq 1 ] || fail "taskset: $(workers taskset -c "$one") workers"
# shellcheck disable=SC2086
passes taskset -c "$one" "$generate" $small --dry-run
grep -q "1 worker" "$tmp/out" || fail "taskset, --dry-run: $(head -5 "$tmp/out")"
# shellcheck disable=SC2086
passes taskset -c "$one" "$generate" $small --quiet --output "$tmp/a.y4m"
# shellcheck disable=SC2086
passes "$generate" $small --quiet --output "$tmp/b.y4m"
same "$tmp/a.y4m" "$tmp/b.y4m"

# Two runs of one worker each: no worker is bound to a CPU that the other's is bound to.
if [ "$cores" -gt 1 ]; then
    for run in 1 2; do
        : >"$tmp/run$run.err"
        # shellcheck disable=SC2086
        "$generate" $small --num-inference-steps 1000 --workers-per-device 1 --progress plain \
            --output "$tmp/run$run.y4m" 2>"$tmp/run$run.err" </dev/null &
        eval "pid$run=\$!"
    done
    for run in 1 2; do
        eval "pid=\$pid$run"
        await grep -q '^denoise [2-9]' "$tmp/run$run.err"
    done
    # shellcheck disable=SC2154
    for thread in /proc/"$pid1"/task/* /proc/"$pid2"/task/*; do
        case $(cat "$thread/comm" 2>/dev/null) in CPU*) ;; *) continue ;; esac
        allowed=$(sed -n 's/^Cpus_allowed_list:[^0-9]*//p' "$thread/status")
        echo "worker $(cat "$thread/comm") of ${thread%/task*}: CPUs $allowed"
        case $allowed in
        *[-,]*) ;;
        *) fail "a worker that is not alone is bound to CPU $allowed" ;;
        esac
    done
    kill -TERM "$pid1" "$pid2"
    wait "$pid1" "$pid2"
fi

# ulimit -v: what cannot fit is refused, with the limit's name.
(
    ulimit -v 3000000
    refuses 1 "$generate" --model "$demo" --token-ids 1 --height 960 --width 1664 --num-frames 81 --dry-run
    says "of ulimit -v that this process may use"
    [ $failures -eq 0 ]
) || fail "ulimit -v"
# So it is with ulimit -d, and threads whose stacks do not fit name it, not ulimit -u.
if prlimit --data=3000000000 true 2>/dev/null; then
    refuses 1 prlimit --data=3000000000 "$generate" --model "$demo" --token-ids 1 --height 960 --width 1664 \
        --num-frames 81 --dry-run
    says "of ulimit -d that this process may use"
    # shellcheck disable=SC2086
    refuses 1 prlimit --data=400000000 --stack=300000000 "$generate" $small --quiet --output "$tmp/d.y4m"
    says "threads are needed for [0-9]* workers, and [0-9]* could be started (no memory for its stack within ulimit -d;"
    # shellcheck disable=SC2086
    refuses 1 prlimit --as=700000000 --stack=600000000 "$generate" $small --quiet --output "$tmp/d.y4m"
    says "could be started (no memory for its stack within ulimit -v; a smaller ulimit -s takes less)"
else
    echo "prlimit cannot be used here: ulimit -d is not tried"
fi
# Few addresses are no reason to abort: what fits runs, and what does not is refused by a line.
for kilobytes in 300000 400000 500000; do
    (
        ulimit -v $kilobytes
        "$generate" --model "$demo" --token-ids 5,6,1 --num-inference-steps 2 --quiet --output "$tmp/few.y4m" --force \
            2>"$tmp/err" </dev/null
        code=$?
        [ $code -eq 0 ] || { [ $code -eq 1 ] && grep -q "memory" "$tmp/err"; } || fail "exit $code: $(cat "$tmp/err")"
    ) || fail "ulimit -v $kilobytes"
done

# group CONTROLLER: makes a group of version 1 below this process's own; $group.
group() {
    path=$(sed -n "s/^[0-9]*:\([^:]*,\)*$1\(,[^:]*\)*:\(.*\)/\3/p" /proc/self/cgroup | head -1)
    mount=$(sed -n "s/^[^-]* \(\/[^ ]*\) [^-]*- cgroup [^ ]* .*\b$1\b.*/\1/p" /proc/self/mountinfo | head -1)
    group=$mount$path/stardit-test-$$-$1
    [ -n "$mount" ] && mkdir "$group" "$group/inner" 2>/dev/null || {
        echo "no control group of $1 can be made here"
        return 1
    }
}
# within GROUP COMMAND...: runs it in there.
within() {
    sh -c 'echo $$ >"$1/tasks" && shift && exec "$@"' within "$@"
}

if group cpu && echo 50000 >"$group/cpu.cfs_quota_us"; then
    [ "$(workers within "$group/inner")" -eq 1 ] || fail "quota: $(workers within "$group/inner") workers"
    passes within "$group/inner" "$info"
    grep -q "0.5 CPUs by quota" "$tmp/out" || fail "quota: $(cat "$tmp/out")"
    rmdir "$group/inner" "$group"
fi
if group memory && echo 268435456 >"$group/memory.limit_in_bytes"; then
    refuses 1 within "$group/inner" "$generate" --model "$demo" --token-ids 1 --height 512 --width 320 \
        --num-frames 33 --num-inference-steps 2 --output "$tmp/m.y4m"
    says "of its control group that this process may use"
    # shellcheck disable=SC2086
    passes within "$group/inner" "$generate" $small --quiet --output "$tmp/m.y4m"
    rmdir "$group/inner" "$group"
fi
finish
