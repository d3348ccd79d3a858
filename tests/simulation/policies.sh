#!/bin/sh
# stardit-bench policies on a tiny scenario: ratios above 1 that are those of stardit-simulate itself, a policy of
# a module beside ours, pictures, and one that fails named with its reason while the others are compared.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
simulate=$build/stardit-simulate
module=$build/tests/simulation/.libs/forgetful.so
if [ ! -x "$simulate" ]; then
    echo "built without StarPU over SimGrid (configure --with-starpu-simgrid)"
    exit 77
fi
policies="$bench policies --platforms $source/platforms --scenario tiny --layers 2"

# shellcheck disable=SC2086
passes $policies --scheduler "pipedit,static,lws,$module" --gantt "$tmp/pictures"
cat "$tmp/out"
awk '$1 == "tiny" { rows++; for (i = 2; i <= NF; i++) if (!($i + 0 >= 1)) bad = 1; columns = NF - 1; stars += gsub(/\*/, "") }
    END { exit !(rows == 1 && columns == 4 && !bad && stars >= 1) }' "$tmp/out" || fail "$(cat "$tmp/out")"
awk 'NR == 2 && $4 != "forgetful.so" { exit 1 }' "$tmp/out" || fail "no column of the module: $(cat "$tmp/out")"
for name in pipedit static lws forgetful.so; do
    grep -q '</svg>' "$tmp/pictures/tiny-$name.svg" || fail "no picture of $name"
done
ratio=$(awk '$1 == "tiny" { print $3 + 0 }' "$tmp/out")
passes "$simulate" --platform "$source/platforms/a6000x8" --model wan-1.3b --width 64 --height 64 --num-frames 5 \
    --prompts 1 --num-inference-steps 2 --devices 2 --layers 2 --fast-forward --prompt-embeds --scheduler static
[ "$(awk '$1 == "ratio" { print $2 + 0 }' "$tmp/out")" = "$ratio" ] ||
    fail "static: $ratio, and by itself $(grep ratio "$tmp/out")"

# shellcheck disable=SC2086
STARDIT_FORGET=to_out $policies --scheduler "static,$module" >"$tmp/out" 2>"$tmp/err"
[ $? -eq 1 ] || fail "a policy that failed, and exit 0"
grep -q '^tiny  *[0-9.]*\*  *failed$' "$tmp/out" || fail "$(cat "$tmp/out")"
grep -q '^stardit-bench policies: tiny, forgetful.so: the simulation came to a deadlock' "$tmp/err" ||
    fail "$(cat "$tmp/err")"
# shellcheck disable=SC2086
refuses 2 $policies --scheduler static,,lws
finish
