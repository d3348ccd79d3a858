#!/bin/sh
# What the documents print is run: every stardit command in README, docs, checkpoints/README and the man pages, in
# a folder of its own, and the figures that README gives for some. A command that needs what is not here must be
# on the list below, with the reason.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

# What commands need that is not here: a word of the command | why it is not run.
cat >"$tmp/elsewhere" <<END
Wan-AI/|a checkpoint to be downloaded
wan2.1_t2v|single files to be downloaded; tests/apps/published.sh has their names and shapes
cuda|a GPU
--input io.safetensors|a file that the reader's Python writes
--resume long|the state of a run that was killed; tests/apps/resume.sh has some
node1|a second machine
mine.so|a module that the reader compiles; tests/docs/policy.sh does
stardit-serve|a server, which does not end; tests/serve/docs.sh runs its page
END

mkdir "$tmp/here" "$tmp/bin"
cd "$tmp/here" || exit 99
for program in generate eval info bench simulate; do
    [ ! -x "$build/stardit-$program" ] || ln -s "$build/stardit-$program" "$tmp/bin/"
done
# More ranks than cores, and as root in a container.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
if "$build/stardit-info" | grep -q 'MPI yes' && mpirun --version 2>/dev/null | grep -q 'Open MPI'; then
    ln -s "$(command -v mpirun)" "$tmp/bin/"
fi
PATH=$tmp/bin:$PATH
ln -s "$source/checkpoints" checkpoints
ln -s "$source/tests" tests
ln -s "$source/platforms" platforms
ln -s "$source/tables" tables
mkdir -p docs/images
printf 'a red circle\na blue square\n' >prompts.txt

# Commands of a document, one a line: indented lines (or lines between .nf and .fi) with their continuations.
commands() {
    case $1 in
    *.1) awk '/^\.nf/ { on = 1; next } /^\.fi/ { on = 0 } on' "$1" | sed 's/\\-/-/g; s/\\e$/\\/' ;;
    *) sed -n 's/^    //p' "$1" ;;
    esac | sed -e :a -e '/\\$/N; s/\\\n */ /; ta' | grep -E '^ *(mpirun .*)?stardit-'
}

run=0 left=0
for document in "$source"/README.md "$source"/docs/*.md "$source"/checkpoints/README.md "$source"/man/*.1; do
    commands "$document" >"$tmp/commands"
    while IFS= read -r command; do
        why=
        while IFS='|' read -r word reason; do
            case $command in *"$word"*) why=$reason ;; esac
        done <"$tmp/elsewhere"
        [ -x "$tmp/bin/${command%% *}" ] || why="${command%% *} is not built"
        # shellcheck disable=SC2016
        case $command in *'$'*) why="in a loop, which is run below" ;; esac
        if [ -n "$why" ]; then
            left=$((left + 1))
            echo "not run ($why): $command"
            continue
        fi
        run=$((run + 1))
        printf '%s\n' "$command" | sed 's/^\(stardit-generate .*--output\)/\1/' >"$tmp/one"
        case $command in *stardit-generate*--output*) sed -i 's/$/ --force/' "$tmp/one" ;; esac
        if ! sh "$tmp/one" >"$tmp/printed.$run" 2>"$tmp/err" </dev/null; then
            fail "${document#"$source"/}: $command: $(tail -3 "$tmp/err")"
        fi
        # What stands behind a command as its output: the figures may be of another machine, the words not.
        case $command in
        *"--component text_encoder"*)
            for name in out.y out.y_long; do
                grep -q "^$name \[[0-9,]*\] max_abs .* limit 5e-05 ok$" "$tmp/printed.$run" ||
                    fail "$command prints $(cat "$tmp/printed.$run")"
            done
            ;;
        stardit-simulate*"--link-gbps 50"*)
            sed -n 's/.*step *\([0-9.]*\) s.*/\1/p' "$tmp/printed.$run" | head -1 >>"$tmp/steps"
            cat "$tmp/printed.$run" >>"$tmp/simulated"
            ;;
        esac
    done <"$tmp/commands"
done
echo "$run commands run, $left not"
[ "$run" -ge 12 ] || fail "only $run commands were found"

# README: "They print a step of A s and of B s, of which C s are computing."
if [ -s "$tmp/simulated" ]; then
    # shellcheck disable=SC2046
    set -- $(tr '\n' ' ' <"$source/README.md" |
        sed 's/.*They print a step of \([0-9.]*\) s and of \([0-9.]*\) s, of which \([0-9.]*\) s.*/\1 \2 \3/')
    head -40 "$tmp/simulated"
    for figure in "$@"; do
        # The figure, or what rounds to it.
        grep -o '[0-9][0-9]*\.[0-9]*' "$tmp/simulated" |
            awk -v wanted="$figure" '{ if (sprintf("%.2f", $1) == wanted) found = 1 } END { exit !found }' ||
            fail "README says $figure s; the two simulations print nothing that rounds to it"
    done
fi

# README: three equal sums, and the megabytes that went from device to device.
for n in 1 3 8; do
    passes stardit-generate --model checkpoints/stardit-demo --prompt "a red circle" --devices $n \
        --output $n.safetensors --stats $n.json --quiet
    bytes=$("$tool" json $n.json moved between_devices_bytes)
    awk -v b="$bytes" 'BEGIN { printf "%.0f\n", b / 1e6 }' >>"$tmp/moved"
done
same 1.safetensors 3.safetensors
same 1.safetensors 8.safetensors
said=$(tr '\n' ' ' <"$source/README.md" |
    sed 's/.*between_devices_bytes. in the JSON files says that \([0-9]*\), \([0-9]*\) and \([0-9]*\) MB.*/\1 \2 \3/')
[ "$(tr '\n' ' ' <"$tmp/moved")" = "$said " ] ||
    fail "README says $said MB; it is $(tr '\n' ' ' <"$tmp/moved")"
finish
