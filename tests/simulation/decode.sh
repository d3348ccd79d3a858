#!/bin/sh
# What a decode is predicted to need on a GPU is enough: nothing goes to the host but what goes there from a GPU of
# any size. It is not too much: frames that stream take as much, and where they do not, a quarter less is too little.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
decode=$build/tests/simulation/decode
if [ ! -x "$decode" ]; then
    echo "built without StarPU over SimGrid (configure --with-starpu-simgrid)"
    exit 77
fi
unset STARPU_SCHED STARPU_SCHED_LIB

# Of all devices: what went to the host, and the most of column N.
sent() { awk '{ s += $4 } END { printf "%.6f", s }' "$tmp/out"; }
most() { awk -v n="$1" '$n > s { s = $n } END { printf "%.6f", s }' "$tmp/out"; }

cases=0
while read -r limit size height width frames tile devices; do
    what="$size, $frames frames of ${height}x$width, tiles of $tile, $devices GPU"
    set -- "$size" "$height" "$width" "$frames" "$tile" "$devices"
    passes "$decode" "$@" 1000 || continue
    needed=$(most 3) held=$(most 2) sent=$(sent)
    passes "$decode" "$@" "$needed" || continue
    enough=$(sent) cases=$((cases + 1))
    echo "$what: $needed GB predicted, $held GB taken where there is more, $sent GB to the host, then $enough"
    [ "$enough" = "$sent" ] || fail "$what: more is needed than $needed GB"
    case $limit in
    streams)
        awk -v p="$needed" -v h="$held" 'BEGIN { exit !(p < 1.05 * h) }' || fail "$what: $needed GB are too much"
        ;;
    less)
        passes "$decode" "$@" "$(echo "$needed" | awk '{ print 0.75 * $1 }')" || continue
        [ "$(sent)" != "$sent" ] || fail "$what: a quarter less than $needed GB is enough"
        ;;
    esac
done <<'END'
streams wan-1.3b 480 832 13 0 1
streams wan-1.3b 720 1280 13 0 1
streams wan-1.3b 480 832 13 0 2
streams wan-1.3b 480 832 13 256 3
streams open-sora-plan-1.3 352 640 29 0 1
streams open-sora-plan-1.3 352 640 29 0 2
less hunyuan-13b 480 832 17 0 1
any hunyuan-13b 720 1280 13 0 2
any hunyuan-13b 480 832 33 256 1
any hunyuan-13b 480 832 33 256 3
END
[ $cases -eq 10 ] || fail "$cases cases"
finish
