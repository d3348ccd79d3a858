#!/bin/sh
# Outputs beyond one file of mp4: a stream, other films, one picture, links; what people see and find again:
# seed and prompt in the file, lines that fit a terminal, prompts that are cut.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

g="$generate --model $demo --height 48 --width 80 --num-frames 5 --num-inference-steps 2 --token-ids 5,6,7,1"

# Standard output is what the file would be, in a pipe as well.
# shellcheck disable=SC2086
passes $g --quiet --output "$tmp/v.y4m"
# shellcheck disable=SC2086
$g --output - 2>"$tmp/err" </dev/null | cat >"$tmp/stream" || fail "--output -: $(cat "$tmp/err")"
same "$tmp/stream" "$tmp/v.y4m"
[ ! -e ./- ] || fail "a file named -"

# Films: the same bytes twice; what they are, by their first bytes.
if "$info" | grep -q "(libav) yes"; then
    for film in mp4 webm gif webp; do
        # shellcheck disable=SC2086
        $g --quiet --output "$tmp/1.$film" --seed 5 2>"$tmp/err" || {
            grep -q "libav has no encoder" "$tmp/err" || fail "$film: $(cat "$tmp/err")"
            echo "$film: no encoder here"
            continue
        }
        # shellcheck disable=SC2086
        passes $g --quiet --output "$tmp/2.$film" --seed 5 --devices 2
        same "$tmp/1.$film" "$tmp/2.$film"
        case $film in
        mp4) grep -q -a ftyp "$tmp/1.mp4" || fail mp4 ;;
        webm) grep -q -a "webm" "$tmp/1.webm" || fail webm ;;
        gif) [ "$(head -c 6 "$tmp/1.gif")" = GIF89a ] || fail gif ;;
        webp) [ "$(head -c 4 "$tmp/1.webp")" = RIFF ] && grep -q -a ANIM "$tmp/1.webp" || fail webp ;;
        esac
        # Rates that would give frames no time are refused before the run.
        if [ $film = gif ]; then
            # shellcheck disable=SC2086
            refuses 2 $g --output "$tmp/fast.gif" --fps 1000
            says "^stardit-generate: --fps: .*fast.gif: 1000 frames a second; a .gif holds at most 100; .mp4 takes more$"
            # shellcheck disable=SC2086
            passes $g --quiet --output "$tmp/fast.gif" --fps 100
        else
            # shellcheck disable=SC2086
            passes $g --quiet --output "$tmp/fast.$film" --fps 1000
        fi
        case $film in mp4 | webm)
            grep -q -a "seed 5, 2 steps, guidance" "$tmp/1.$film" || fail "$film does not name its seed" ;;
        esac
    done
fi

# A checkpoint's rate that no writer takes is refused before the run, too.
cp -r "$demo" "$tmp/slow" && chmod -R u+w "$tmp/slow" || exit 99
sed -i 's/"fps": *[0-9.]*/"fps": 0.001/' "$tmp/slow/stardit.json"
refuses 2 "$generate" --model "$tmp/slow" --token-ids 5 --output "$tmp/slow.y4m"
says "0.001 frames per second; 0.01 to 1000 work"

# One frame is a picture.
# shellcheck disable=SC2086
passes $g --num-frames 1 --output "$tmp/one.png"
grep -q "1 frame of 80x48, seed 0 (" "$tmp/err" || fail "the last line: $(cat "$tmp/err")"
grep -q "^stardit-generate: 1 frame of 80x48, 2 steps, seed 0: about" "$tmp/err" ||
    fail "the first line: $(cat "$tmp/err")"
# shellcheck disable=SC2086
passes $g --num-frames 1 --quiet --output "$tmp/frames/"
same "$tmp/one.png" "$tmp/frames/00000.png"

# A link stays one; what it leads to is replaced, in its folder.
mkdir "$tmp/far"
echo old >"$tmp/far/v.y4m"
ln -s far/v.y4m "$tmp/link.y4m"
refuses 2 $g --output "$tmp/link.y4m"
# shellcheck disable=SC2086
passes $g --quiet --output "$tmp/link.y4m" --force
[ -L "$tmp/link.y4m" ] || fail "the link is gone"
same "$tmp/far/v.y4m" "$tmp/v.y4m"
# Through a chain of links as well, and to what is not there yet; where its folder is none, that is said.
ln -s link.y4m "$tmp/chain.y4m"
# shellcheck disable=SC2086
passes $g --quiet --output "$tmp/chain.y4m" --force --seed 2
[ -L "$tmp/chain.y4m" ] && [ -L "$tmp/link.y4m" ] && [ "$(wc -c <"$tmp/far/v.y4m")" -gt 1000 ] || fail "a chain of links"
cmp -s "$tmp/far/v.y4m" "$tmp/v.y4m" && fail "a chain of links: the old video"
ln -s new.y4m "$tmp/far/first.y4m"
ln -s far/first.y4m "$tmp/second.y4m"
# shellcheck disable=SC2086
passes $g --quiet --output "$tmp/second.y4m"
[ -L "$tmp/second.y4m" ] && same "$tmp/far/new.y4m" "$tmp/v.y4m"
ln -s none/v.y4m "$tmp/dead.y4m"
refuses 2 $g --output "$tmp/dead.y4m" --force
says "none: No such file"
ln -s far/l.safetensors "$tmp/l.safetensors"
# shellcheck disable=SC2086
passes $g --quiet --output "$tmp/v.y4m" --force --save-latent "$tmp/l.safetensors"

# A random seed is told, and another one each time.
for i in 1 2; do
    # shellcheck disable=SC2086
    passes $g --seed -1 --output "$tmp/random$i.y4m"
    sed -n 's/.*random.*seed \([0-9]*\) .*/\1/p' "$tmp/err" >"$tmp/seed$i"
done
cmp -s "$tmp/seed1" "$tmp/seed2" && fail "two random seeds are $(cat "$tmp/seed1")"
# shellcheck disable=SC2086
passes $g --seed "$(cat "$tmp/seed1")" --quiet --output "$tmp/again.y4m"
same "$tmp/again.y4m" "$tmp/random1.y4m"

if "$info" | grep -q "SentencePiece) yes"; then
    p="$generate --model $demo --height 32 --width 32 --num-frames 1 --num-inference-steps 1"
    # shellcheck disable=SC2086
    passes $p --prompt "a red ball rolls over the grass" --max-sequence-length 4 --output "$tmp/cut.png"
    grep -q "prompt 1 has [0-9]* tokens, of which 4 are read" "$tmp/err" || fail "cut: $(cat "$tmp/err")"
    # Files of other encodings: a byte order mark is no text, and what is not UTF-8 is refused.
    printf 'red\r\n' >"$tmp/plain"
    printf '\357\273\277red\n' >"$tmp/marked"
    for file in plain marked; do
        # shellcheck disable=SC2086
        passes $p --prompt-file "$tmp/$file" --quiet --output "$tmp/$file.png"
    done
    same "$tmp/plain.png" "$tmp/marked.png"
    printf 'red\n\ncaf\351\n' >"$tmp/latin"
    refuses 2 $p --prompt-file "$tmp/latin" --output "$tmp/no.png"
    says "latin: line 3 is not UTF-8"
    refuses 2 $p --prompt "@$tmp/latin" --output "$tmp/no.png"
    says "latin: is not UTF-8"
    for prompt in "$(printf 'caf\351')" "$(printf 'a\300\200')" "$(printf '\355\240\200')"; do
        refuses 2 $p --prompt "$prompt" --output "$tmp/no.png"
        says "^stardit-generate: --prompt: is not UTF-8"
        refuses 2 $p --prompt red --negative-prompt "$prompt" --guidance-scale 3 --output "$tmp/no.png"
        says "negative-prompt: is not UTF-8"
    done
    refuses 2 $p --prompt @ --output "$tmp/no.png"
    says "@@ is an @"
    # shellcheck disable=SC2086
    passes $p --prompt "@@home" --output "$tmp/at.png"
    printf @home >"$tmp/at"
    # shellcheck disable=SC2086
    passes $p --prompt "@$tmp/at" --quiet --output "$tmp/at2.png"
    same "$tmp/at.png" "$tmp/at2.png"
fi

# Lines that fit the terminal, also where it is narrow.
if command -v script >/dev/null; then
    for width in 1 2 3 5 9 12 18 20 26 40 60 100; do
        script -qec "stty cols $width; $g --num-inference-steps 30 --progress bar --output $tmp/w$width.y4m" \
            /dev/null >"$tmp/typed" 2>&1 </dev/null || fail "script: $(cat "$tmp/typed")"
        tr '\r' '\n' <"$tmp/typed" | grep -a 'K$' | sed 's/\x1b\[[0-9;]*[mK]//g' >"$tmp/bars"
        [ -s "$tmp/bars" ] || fail "no bar at $width columns"
        widest=$(awk '{ if (length > most) most = length } END { print most + 0 }' "$tmp/bars")
        echo "$width columns: lines of at most $widest"
        [ "$widest" -lt "$width" ] || fail "$width columns: a line of $widest"
    done
    # A terminal without a size, as docker -t and serial lines have: lines, since a bar might not fit.
    for columns in "" 40; do
        TERM=xterm COLUMNS=$columns script -qec "stty cols 0; $g --progress auto --output $tmp/z$columns.y4m" \
            /dev/null >"$tmp/typed" 2>&1 </dev/null || fail "script: $(cat "$tmp/typed")"
        bars=$(tr '\r' '\n' <"$tmp/typed" | grep -a -c 'K$')
        lines=$(grep -a -c '^denoise [0-9]*/2, .* elapsed' "$tmp/typed")
        echo "0 columns, COLUMNS '$columns': $bars bars, $lines lines"
        if [ -n "$columns" ]; then [ "$bars" -gt 0 ] && [ "$lines" -eq 0 ]; else [ "$bars" -eq 0 ] && [ "$lines" -gt 0 ]; fi ||
            fail "$(cat -v "$tmp/typed")"
    done
fi
finish
