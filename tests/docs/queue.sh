#!/bin/sh
# What docs/serving.md says about queues as modules: the example compiles as it says there, chooses for traces,
# prompts and the server, and what is no queue of this version is refused.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
simulate=$build/stardit-simulate
source=$(realpath "$source")
compiler=$(sed -n 's/^CC = //p' "$build/Makefile")

# The example, by the command of the page.
mkdir -p "$tmp/here/docs/examples"
ln -s "$source/include" "$tmp/here/include"
cp "$source/docs/examples/queue.c" "$tmp/here/docs/examples/"
command=$(sed -n 's/^    cc \(.*queue\.c\)$/\1/p' "$source/docs/serving.md")
[ -n "$command" ] || fail "docs/serving.md: no command for docs/examples/queue.c"
# shellcheck disable=SC2086  # options
(cd "$tmp/here" && $compiler -Wall -Wextra $command) 2>"$tmp/err" || fail "$command: $(cat "$tmp/err")"
[ ! -s "$tmp/err" ] || fail "$command: $(cat "$tmp/err")"
mine=$tmp/here/mine.so

# make NAME: a module of the C on standard input.
module() {
    { echo '#include <stardit/queue.h>'; cat; } >"$tmp/$1.c"
    $compiler -shared -fPIC -I"$source/include" -o "$tmp/$1.so" "$tmp/$1.c" || fail "$1 does not compile"
}
module none <<'END'
int nothing;
END
module old <<'END'
static const struct sdt_queue queue = {SDT_QUEUE_ABI + 1, "old", 0, 0};
const struct sdt_queue *sdt_queue_module(void) { return &queue; }
END
module idle <<'END'
static const struct sdt_queue queue = {SDT_QUEUE_ABI, "idle", 0, 0};
const struct sdt_queue *sdt_queue_module(void) { return &queue; }
END
module greedy <<'END'
static void share(const struct sdt_share *s) {
    for (int i = 0; i < s->count; i++)
        s->given[i] = s->job[i].ready ? 1 : 0;
}
static const struct sdt_queue queue = {SDT_QUEUE_ABI, "greedy", 0, share};
const struct sdt_queue *sdt_queue_module(void) { return &queue; }
END
module lazy <<'END'
static void share(const struct sdt_share *s) { (void)s; }
static const struct sdt_queue queue = {SDT_QUEUE_ABI, "lazy", 0, share};
const struct sdt_queue *sdt_queue_module(void) { return &queue; }
END
echo text >"$tmp/text.so"

# Programs that take one.
refused() { # MODULE WORDS
    while IFS= read -r program; do
        # shellcheck disable=SC2086  # options
        refuses 2 $program --queue "$1"
        says "$2"
    done <"$tmp/programs"
}
: >"$tmp/programs"
if [ -x "$simulate" ]; then
    cat >>"$tmp/programs" <<END
$simulate --arrivals $source/tables/arrivals/tridentserve.txt --devices 2
$simulate --prompts 2 --num-inference-steps 1 --prompt-embeds
END
fi
[ ! -x "$build/stardit-serve" ] ||
    echo "$build/stardit-serve --model $demo --state $tmp/state --listen 127.0.0.1:0" >>"$tmp/programs"
[ -s "$tmp/programs" ] || { echo "neither stardit-simulate nor stardit-serve is built"; exit 77; }
refused "$tmp/none.so" "no queue is in there: it must have sdt_queue_module"
refused "$tmp/old.so" "made for version 2 of stardit/queue.h, and this stardit has 1; compile it again"
refused "$tmp/idle.so" "one of choose and share"
refused "$tmp/absent.so" "absent.so: cannot open"
refused "$tmp/text.so" "text.so: "
refused lifo "known are fcfs, priority, edf, srtf, sjf, edf-best-fit, genserve, and a module"

if [ -x "$simulate" ]; then
    for queue in greedy:"that are not idle" lazy:"lets none of 80 requests go on"; do
        refuses 2 "$simulate" --arrivals "$source/tables/arrivals/tridentserve.txt" --devices 8 \
            --queue "$tmp/${queue%%:*}.so"
        says "${queue#*:}"
    done
    cd "$tmp/here" || exit 99
    passes "$simulate" --arrivals "$source/tables/arrivals/tridentserve.txt" --devices 8 --queue mine.so
    grep -q '^Queue: *response-ratio, 8 devices that take a request each, 80 requests' "$tmp/out" || fail "$(cat "$tmp/out")"
    cat "$tmp/out"
    passes "$simulate" --arrivals "$source/tables/arrivals/tridentserve.txt" --devices 8 --queue fcfs
    passes "$simulate" --model "$demo" --num-frames 5 --height 64 --width 64 --prompts 2 --num-inference-steps 1 \
        --devices 2 --queue ./mine.so
    grep -q '^  delivered' "$tmp/out" || fail "$(cat "$tmp/out")"
fi
finish
