#!/bin/sh
# The calls of docs/serving.md, as they stand there, against a server; and that it names all fields, codes and
# options.
. "${STARDIT_SOURCE_DIR:-.}/tests/serve/common.sh"
page=$source/docs/serving.md
start --traces
sed -n 's/^    //p' "$page" | sed -e :a -e '/\\$/N; s/\\\n */ /; ta' | grep '^curl' |
    sed "s,http://127.0.0.1:8040,$url,g" >"$tmp/calls"
[ "$(wc -l <"$tmp/calls")" -gt 10 ] || fail "too few calls: this test cannot read the page"
cd "$tmp" || exit 99
while IFS= read -r line; do
    case $line in
    */content*) await reached "$id" completed ;;
    esac
    line=$(echo "$line" | sed "s,VIDEO_ID,$id,g")
    sh -c "$line -f" >"$tmp/answer" 2>"$tmp/err" || fail "$line: $(cat "$tmp/answer")"
    count_passed=$((count_passed + 1))
    case $line in
    *"/v1/videos -"*) id=$(of id) ;;
    esac
done <"$tmp/calls"
[ -s video.mp4 ] && [ -s sheet.png ] && [ -s video.trace.json ] || fail "no video, no sheet, or no trace"
stop

# Names that the sources have and the page must.
sed -n 's/^    {"\([a-z_]*\)", \(TEXT\|WHOLE\|REAL\).*/\1/p' "$source/apps/serve/request.c" >"$tmp/names"
cat "$source"/apps/serve/*.c | tr '\n' ' ' | grep -o '[45][0-9][0-9], "[a-z_]*"' | cut -d '"' -f 2 |
    grep -v -x 'cannot_plan\|no_random\|not_read\|not_supported' >>"$tmp/names"
[ "$(wc -l <"$tmp/names")" -gt 50 ] || fail "too few names: this test cannot read the sources"
sort -u "$tmp/names" | while read -r name; do
    grep -q "\`$name\`" "$page" || echo "$name"
done >"$tmp/missing"
[ ! -s "$tmp/missing" ] || fail "not in docs/serving.md: $(tr '\n' ' ' <"$tmp/missing")"
finish
