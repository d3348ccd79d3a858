#!/bin/sh
# The floors of the house, which ARCHITECTURE.md names: what a folder includes, and what its
# objects need, lies in a folder that it may stand on. And names: a family's stands in graph/models
# alone, a strategy's in graph/strategies alone. Comments may name both.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

# FOLDER: what it may stand on beside itself. A row holds for the folders below it that have no
# row. A word on the right is a folder with all below it, or a file without its ending; `stardit` is
# the public headers, `starpu` is StarPU's headers and functions, `*` is everything.
floors='
include:            stardit
base:               stardit/status
kernels:            base stardit/status stardit/kernels
schedulers:         stardit/tag starpu
runtime:            base kernels schedulers stardit starpu
codelets:           base kernels runtime stardit starpu
graph/checkpoint:   base kernels stardit
graph/text:         base graph/checkpoint stardit
graph/sampler:      base kernels graph/checkpoint stardit
graph/output:       base graph/checkpoint stardit
graph/models:       TASKS
graph/run:          TASKS
graph/strategies:   TASKS
graph/plan:         TASKS graph/pipeline graph/prompt graph/request graph/steps
graph:              TASKS graph/plan
graph/jobs:         TASKS graph/plan graph/pipeline graph/prompt graph/request graph/steps graph/jobs/queues
graph/jobs/queues:  base stardit
apps:               base kernels runtime schedulers codelets graph stardit starpu
bench:              base kernels runtime schedulers codelets graph apps stardit starpu
tests:              *
docs:               stardit
'
# Three folders of graph that know one another, and what they stand on.
tasks='graph/models graph/run graph/strategies base kernels runtime codelets'
tasks="$tasks graph/checkpoint graph/text graph/sampler stardit starpu"

# Here names may stand: tests and benchmarks say what they run.
named='tests bench'
# Strategies and families that are plain English too: they count as a whole string and beside
# "strategy".
plain='single ring clip'
# FILE NAME: why it may stand there.
exceptions='
apps/settings.c wan: help of --model, the published sizes
apps/settings.c hunyuan: help of --model, the published sizes
apps/settings.c pipesp: help of --chunk-heads, whose default differs
apps/settings.c ulysses: --ulysses-degree
apps/settings.c usp: help of --ulysses-degree
apps/settings.c pipefusion: help of --patches and --ulysses-degree
apps/simulate.c pipefusion: the same
apps/settings.c dualparal: what --block-frames goes with
apps/simulate.c dualparal: the same
apps/steps.h dualparal: help of --block-frames and --overlap-frames
apps/steps.h pipefusion: help of --warmup-steps and --refresh-steps
apps/simulate.c wan: default of --model
apps/info.c wan: whose sizes --platform measures
apps/simulate.c ulysses: --ulysses-degree
apps/simulate.c usp: help of --ulysses-degree
apps/simulate_step.c ulysses: the degree of a placement
apps/simulate_compare.c ulysses: the plans of a paper, by its names
apps/simulate_compare.c pipesp: the plans of a paper, by its names
apps/eval.c pipesp: help of --chunk-heads
apps/eval.c ulysses: --ulysses-degree
apps/eval.h ulysses: --ulysses-degree
apps/eval_transformer.c ulysses: the degree of a placement
apps/eval.c usp: help of --ulysses-degree
apps/placement.c ulysses: --ulysses-degree and messages about it
apps/placement.c ring: --ring-degree in a message
apps/placement.h ulysses: --ulysses-degree
apps/generate.c ulysses: the degree in --stats
apps/ranks.c ulysses: the degree of a placement
apps/state.c ulysses: the degree that a state names
include/stardit/stardit.h ulysses: the degree of a placement
graph/run/layout.h ulysses: the degree, into how many parts heads are split
graph/run/layout.c ulysses: the degree
graph/run/predict.c ulysses: the degree of a layout
graph/plan/plan.c ulysses: the degree of a layout
graph/plan/candidates.c ulysses: the degree that was given
graph/text/bpe_tokenizer.c single: a key of tokenizer.json
'

# Programs use the public headers (and base). What else they include, and for what:
programs='
apps/eval.h runtime/devices: kinds and types of devices
apps/eval.c runtime/machine: statistics of the machine
apps/eval_scheduler.c graph/sampler/sampler: runs one component alone
apps/eval_text_encoder.c graph/models/family runtime/machine: likewise
apps/eval_transformer.c graph/run/forward: likewise
apps/eval_vae.c graph/models/family runtime/machine: likewise
apps/info.c codelets/codelets runtime/allowance runtime/machine: codelets, limits, workers by name
apps/info_file.c graph/checkpoint/format graph/checkpoint/untrusted: what kinds of files there are
apps/info_file.c graph/checkpoint/weights graph/models/family: what component a single file holds
apps/info_file.c graph/checkpoint/lora: whether it is a LoRA
apps/info_gpus.h runtime/gpus: links and versions of GPUs
apps/info_platform.c codelets/codelets: tasks that are measured
apps/info_platform.c runtime/allowance runtime/gpus runtime/machine: this machine, measured
apps/info_platform.h graph/plan/reached: rates of kernels by class
apps/gantt.c runtime/machine: when each task ran
apps/simulate.c graph/pipeline graph/strategies/strategy: checks before a machine is simulated
apps/simulate.c runtime/recorder runtime/simulation: simulated time, its trace
apps/simulate.h runtime/platform runtime/recorder: the machine that is simulated, what a step did
apps/simulate_compare.c graph/jobs/job graph/pipeline: the service, and fast-forward
apps/simulate_compare.c runtime/clock runtime/simulation: simulated time, another rate of attention
apps/simulate_table.c runtime/allowance: how many rows at a time
apps/simulate_run.c graph/jobs/job graph/pipeline: the service, and fast-forward
apps/simulate_run.c runtime/clock runtime/recorder: simulated time, bounds
apps/simulate_sweep.c runtime/allowance: how many at once
apps/simulate_step.c graph/pipeline graph/run/latent: a graph of so many layers, without a request
apps/simulate_step.c runtime/clock runtime/simulation: simulated time
'

cd "$source" || exit 99
echo "$floors" | sed -n "s#TASKS#$tasks#; s/^\([a-z/]*\): */\1 /p" >"$tmp/floors"
echo "$exceptions" | sed -n 's/^\([^ ]*\) \([a-z0-9]*\): .*/\1 \2/p' >"$tmp/exceptions"
: >"$tmp/wrong"

# ---- a row for every folder that has code -------------------------------------------------

sources() { # FOLDER...
    find "$@" -type f \( -name '*.c' -o -name '*.h' -o -name '*.cu' -o -name '*.cpp' \)
}
folders=$(sed 's,[ /].*,,' "$tmp/floors" | sort -u)
for folder in */; do
    folder=${folder%/}
    # Builds and distributions are no folders of the tree.
    case $folder in build | _build | _inst | stardit-*) continue ;; esac
    [ ! -e "$folder/config.status" ] || continue
    first=$(sources "$folder" | head -1)
    [ -z "$first" ] || echo "$folders" | grep -qx "$folder" ||
        echo "$first: the folder $folder is on no floor; what would work:" \
            "a row of \"floors\" in tests/house/floors.sh"
done >>"$tmp/wrong"
sources $folders | sort >"$tmp/files"

# ---- includes and symbols ----------------------------------------------------------------------

# Reads the table, then lines "FILE TARGET WHAT": the file stands on the target, by what WHAT says.
cat >"$tmp/floors.awk" <<'EOF'
function under(path, folder) {
    return path == folder || substr(path, 1, length(folder) + 1) == folder "/"
}
# The row for a file or folder: its own or the nearest above; "" where there is none.
function row_of(path) {
    while (!(path in rows) && sub("/[^/]*$", "", path));
    return path in rows ? path : ""
}
function allowed(row, target,   n, word, i) {
    if (row_of(target) == row)
        return 1
    n = split(rows[row], word, " ")
    for (i = 1; i <= n; i++)
        if (word[i] == "*" || under(target, word[i]))
            return 1
    return 0
}
NR == FNR { row = $1; $1 = ""; rows[row] = $0; next }
{
    file = $1
    sub(/\.[a-z]*$/, "", file)
    target = $2
    sub(/\.[a-z]*$/, "", target)
    row = row_of(file)
    what = substr($0, length($1 " " $2 " ") + 1)
    if (!allowed(row, target))
        print what ": " row " may stand on " \
            (rows[row] == "" ? "nothing" : substr(rows[row], 2)) \
            "; what would work: move what both need to one of these," \
            " or let a floor above hand it in (\"floors\" in tests/house/floors.sh)"
}
EOF

# A quoted name without a folder is of the same one; of <names>, stardit's and StarPU's count.
xargs awk '
    /^[ \t]*#[ \t]*include[ \t]*["<]/ {
        split($0, part, /["<>]/)
        target = part[2]
        if ($0 ~ /include[ \t]*</ && target !~ /^(stardit\/|starpu)/)
            next
        if (target ~ /^starpu/)
            where = "starpu"
        else if (target ~ /\//)
            where = target
        else
            next
        print FILENAME, where, FILENAME ":" FNR ": includes " target
    }' <"$tmp/files" >"$tmp/includes"
awk -f "$tmp/floors.awk" "$tmp/floors" "$tmp/includes" >>"$tmp/wrong"
echo "$programs" | sed -n 's/^\(apps[^ ]*\) \(.*\): .*/\1 \2/p' |
    awk '{ for (i = 2; i <= NF; i++) print $1, $i }' | sort >"$tmp/given"
awk '$1 ~ /^apps\// && $2 ~ /^(graph|runtime|schedulers|codelets|kernels)\// {
         sub(/\.h$/, "", $2); print $1, $2 }' "$tmp/includes" | sort -u >"$tmp/taken"
comm -13 "$tmp/given" "$tmp/taken" |
    sed 's/\(.*\) \(.*\)/\1: includes \2; what would work: a public header, or a reason in "programs" in tests\/house\/floors.sh/' \
        >>"$tmp/wrong"
comm -23 "$tmp/given" "$tmp/taken" |
    sed 's/\(.*\) \(.*\)/"programs" in tests\/house\/floors.sh: \1 does not include \2 any more/' >>"$tmp/wrong"
grep ' \.\./[^ ]* ' "$tmp/includes" |
    sed 's/^[^ ]* [^ ]* //; s,$,; what would work: a name from the root ("runtime/task.h"),' \
        >>"$tmp/wrong"

# An object is named after its source; one whose source has gone is left from an older build.
# Examples in docs link with the library: tests/house/exports.sh says what that holds.
(cd "$build" && find $folders -name '*.o' 2>/dev/null) | grep -v '^tests/\|^docs/' |
    awk -v files="$tmp/files" '
        BEGIN {
            while ((getline source <files) > 0) {
                stem = source
                if (sub(/\.(c|cu|cpp)$/, "", stem))
                    source_of[stem] = source
            }
        }
        {
            stem = $0
            sub(/\.libs\//, "", stem)
            sub(/\.o$/, "", stem)
            folder = stem
            sub(/[^\/]*$/, "", folder)
            sub(/.*[\/-]/, "", stem)
            if (folder stem in source_of)
                print source_of[folder stem], $0
        }' >"$tmp/objects"
# "PATH: SYMBOL TYPE": small letters are local but for w and v, undefined and weak.
(cd "$build" && cut -d ' ' -f 2 "$tmp/objects" | xargs "${NM:-nm}" -A -g -P) >"$tmp/symbols" ||
    exit 99
awk -v objects="$tmp/objects" -v symbols="$tmp/symbols" '
    function read_symbols(pass,   line, part, source) {
        while ((getline line <symbols) > 0) {
            split(line, part, " ")
            sub(/(\[.*\])?:$/, "", part[1])
            source = source_of[part[1]]
            if (pass == 1 && part[3] ~ /^[A-TX-Z]$/)
                defined[part[2]] = source
            if (pass == 2 && part[3] ~ /^[Uwv]$/) {
                where = part[2] ~ /^_*starpu_/ ? "starpu" : defined[part[2]]
                if (where != "" && where != source && !((source, part[2]) in seen)) {
                    seen[source, part[2]] = 1
                    print source, where, source ": needs " part[2] " of " where
                }
            }
        }
        close(symbols)
    }
    BEGIN {
        while ((getline line <objects) > 0) {
            split(line, part, " ")
            source_of[part[2]] = part[1]
        }
        read_symbols(1)
        read_symbols(2)
    }' >"$tmp/needs"
awk -f "$tmp/floors.awk" "$tmp/floors" "$tmp/needs" >>"$tmp/wrong"

# ---- names -----------------------------------------------------------------------------------

# A family is named as its first file in graph/models: one without a header, which frame files have.
families=$(for file in graph/models/*.c; do
    [ "$file" = graph/models/list.c ] || [ -e "${file%.c}.h" ] || basename "${file%.c}"
done | sed 's/_.*//' | sort -u)
strategies=$(sed -n 's/^ *\.name = "\(.*\)",$/\1/p' graph/strategies/*.c | sort -u)

cat >"$tmp/names.awk" <<'EOF'
# The line without comments.
function code(line,   out, token, end) {
    out = ""
    for (;;) {
        if (comment) {
            if (!(end = index(line, "*/")))
                return out
            line = substr(line, end + 2)
            comment = 0
        }
        if (!match(line, /"([^"\\]|\\.)*"|'([^'\\]|\\.)*'|\/\*|\/\/.*/))
            return out line
        token = substr(line, RSTART, RLENGTH)
        out = out substr(line, 1, RSTART - 1)
        line = substr(line, RSTART + RLENGTH)
        if (token == "/*")
            comment = 1
        else if (substr(token, 1, 2) != "//")
            out = out token
    }
}
function learn(list, kind, folder,   n, name, i) {
    n = split(list, name, " ")
    for (i = 1; i <= n; i++) {
        kinds[name[i]] = kind
        homes[name[i]] = folder
    }
}
# As a part of a word: of_wan_size, WAN_SIZE, AutoencoderKLWan, but not allowance.
function names(text, name,   large, capital) {
    if (!index(tolower(text), name))
        return 0
    if (name in plain)
        return tolower(text) ~ \
            ("\"" name "\"|strategy_+" name "([^a-z]|$)|(^|[^a-z])" name "_strategy")
    large = toupper(name)
    capital = substr(large, 1, 1) substr(name, 2)
    return text ~ \
        ("(^|[^a-zA-Z])" name "([^a-z]|$)|" capital "([^a-z]|$)|(^|[^A-Z])" large "([^A-Z]|$)")
}
BEGIN {
    learn(families, "family", "graph/models")
    learn(strategies, "strategy", "graph/strategies")
    for (n = split(common, word, " "); n; n--)
        plain[word[n]] = 1
    while ((getline line <exceptions) > 0)
        excepted[line] = 1
    frame["family"] = "a field of the structs in graph/models/family.h"
    frame["strategy"] = "a field of struct sdt_strategy (graph/strategies/strategy.h)"
}
FNR == 1 { comment = 0 }
{
    text = code($0)
    for (name in kinds)
        if (names(text, name) && index(FILENAME, homes[name] "/") != 1) {
            if ((FILENAME " " name) in excepted)
                used[FILENAME " " name] = 1
            else
                print FILENAME ":" FNR ": the " kinds[name] " " name " is named outside " \
                    homes[name] "; what would work: " frame[kinds[name]] ", which each fills in" \
                    " (or a row of \"exceptions\" in tests/house/floors.sh)"
        }
}
END {
    for (line in excepted)
        if (!(line in used)) {
            split(line, word, " ")
            print "tests/house/floors.sh: " word[1] " does not name " word[2] \
                " any more; what would work: delete its exception"
        }
}
EOF
grep -Ev "^($(echo "$named" | tr ' ' '|'))/" "$tmp/files" >"$tmp/nameless"
# One call, so that the end knows all files.
awk -v families="$(echo $families)" -v strategies="$(echo $strategies)" -v common="$plain" \
    -v exceptions="$tmp/exceptions" -f "$tmp/names.awk" $(cat "$tmp/nameless") >>"$tmp/wrong"

# ---- the end ---------------------------------------------------------------------------------

count() {
    wc -l <"$1" | tr -d ' '
}
echo "$(count "$tmp/floors") rows; $(count "$tmp/includes") includes of $(count "$tmp/files")" \
    "files, $(count "$tmp/needs") symbols that $(count "$tmp/objects") objects need of other files"
echo "families: "$families"; strategies: "$strategies"; $(count "$tmp/nameless") files," \
    "$(count "$tmp/exceptions") exceptions"
[ "$(count "$tmp/includes")" -gt 300 ] || fail "too few includes: this test cannot read the sources"
[ "$(count "$tmp/needs")" -gt 500 ] ||
    fail "too few symbols: this test cannot read the objects in $build"
[ -n "$families" ] && [ -n "$strategies" ] ||
    fail "no names: this test cannot read graph/models and graph/strategies"
while read -r line; do
    fail "$line"
done <"$tmp/wrong"
finish
