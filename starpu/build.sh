#!/bin/sh
# Builds StarPU for stardit into the user's cache and prints its prefix, the only line on stdout.
# A finished prefix is reused; its name holds the version, the flavour and a hash of all that went in.
set -eu

usage() {
    cat <<'END'
usage: starpu/build.sh [--find] cpu|cuda|simgrid

Prints the prefix of a StarPU of that flavour, built if the cache has none; with --find nothing
is built (exit 1 when there is none).
  STARDIT_STARPU_TARBALL  use this StarPU source tarball (default: Debian's source package)
  XDG_CACHE_HOME          the cache is the folder stardit in it (default: ~/.cache)
  CUDA_HOME               the CUDA toolkit (default: where nvcc is, else /usr/local/cuda)
END
}

die() {
    echo "starpu/build.sh: $*" >&2
    exit 1
}

find_only=no
case ${1-} in
    -h|--help) usage; exit 0 ;;
    --find) find_only=yes; shift ;;
esac
flavour=${1-}
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/stardit
tarball=${STARDIT_STARPU_TARBALL-}

# The limits leave room for 8 stand-in devices plus the host (9 NUMA nodes) and for codelets that
# read one piece per device. cusparse and cusolver are large and nothing here calls them.
options="--enable-maxcpus=64 --enable-maxcudadev=8 --enable-maxnumanodes=16 --enable-maxbuffers=32
    --disable-opencl --disable-hip --disable-mpi --disable-fortran --disable-socl
    --disable-starpupy --disable-openmp --disable-starpufft --disable-papi --disable-glpk
    --disable-fxt --disable-build-tests --disable-build-examples --disable-build-doc
    --disable-static"
case $flavour in
    cpu)
        options="$options --disable-cuda"
        patches=native ;;
    cuda)
        nvcc=${CUDA_HOME:+$CUDA_HOME/bin/nvcc}
        [ -n "$nvcc" ] || nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
        [ -x "$nvcc" ] || die "no nvcc at $nvcc: set CUDA_HOME, or build the flavour cpu"
        cuda=$(cd "$(dirname "$(readlink -f "$nvcc")")/.." && pwd)
        options="$options --enable-cuda --with-cuda-dir=$cuda
            ac_cv_lib_cusparse_cusparseCreate=no ac_cv_lib_cusolver_cusolverDnCreate=no"
        patches=native ;;
    simgrid)
        options="$options --enable-simgrid --disable-cuda"
        patches=simgrid ;;
    *)
        usage >&2
        exit 2 ;;
esac

# prefix_of VERSION CHECKSUM: where that source, with these options and patches, is installed.
prefix_of() {
    hash=$({ echo $options "$2"; cat "$here/patches/$patches/"*.patch; } | sha256sum | cut -c1-8)
    echo "$cache/starpu-${1%+dfsg}-$flavour-$hash"
}

# finished_prefix: the best one in the cache, if any.
finished_prefix() {
    sources | while read -r version checksum; do
        prefix=$(prefix_of "$version" "$checksum")
        if [ -e "$prefix/.complete" ]; then
            echo "$prefix"
            break
        fi
    done
}

# sources: the acceptable ones as lines "version checksum", best first.
sources() {
    if [ -n "$tarball" ]; then
        [ -r "$tarball" ] || die "STARDIT_STARPU_TARBALL=$tarball: no such file"
        top=$(tar -tf "$tarball" 2>/dev/null | sed -n '1{s,/.*,,;p;}')
        case $top in
            starpu-1.[4-9]*) ;;
            *) die "STARDIT_STARPU_TARBALL=$tarball: not a tarball of StarPU 1.4 or later" ;;
        esac
        echo "${top#starpu-} $(sha256sum "$tarball" | cut -c1-64)"
    else
        sed -n '/^[0-9]/p' "$here/versions"
    fi
}

# system_mirrors: lines "keyring mirror" from the system's own apt sources (both formats), archive
# mirrors only, never the security ones.
system_mirrors() {
    case $distribution in
        ubuntu) keyring=/usr/share/keyrings/ubuntu-archive-keyring.gpg ;;
        *) keyring=/usr/share/keyrings/debian-archive-keyring.gpg ;;
    esac
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ ! -r "$list" ] || sed -n 's/^deb\(-src\)\{0,1\} *\(\[[^]]*\] *\)\{0,1\}\([^ ]*\) .*/\3/p' "$list"
    done >"$work/mirrors"
    for list in /etc/apt/sources.list.d/*.sources; do
        [ ! -r "$list" ] || sed -n 's/^[Uu][Rr][Ii][Ss]: *//p' "$list" | tr -s ' ' '\n'
    done >>"$work/mirrors"
    sed -n "/security/d; s,/*\$,,; /\\/$distribution\$/p" "$work/mirrors" | sort -u |
        sed "s,^,$keyring ,"
}

# fetch: leaves one of the listed tarballs in $work/download and prints "version checksum". The
# source index is read through a private apt configuration, so the system's stays as it is.
fetch() {
    command -v apt-get >/dev/null ||
        die "no apt-get here: get StarPU's source and set STARDIT_STARPU_TARBALL=FILE"
    distribution=$(. /etc/os-release && echo "$ID")
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
    case $distribution in
        ubuntu) suites="devel $codename" component=universe ;;
        *) suites="sid testing stable $codename" component=main ;;
    esac
    mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/download"
    system_mirrors | while read -r keyring mirror; do
        for suite in $suites; do
            echo "deb-src [signed-by=$keyring] $mirror $suite $component"
        done
    done >"$work/apt/sources"
    [ -s "$work/apt/sources" ] || die "no $distribution mirror in /etc/apt:" \
        "get StarPU's source and set STARDIT_STARPU_TARBALL=FILE"
    apt="-o Dir::Etc::sourcelist=$work/apt/sources -o Dir::Etc::sourceparts=/dev/null
        -o Dir::State::lists=$work/apt/lists -o Dir::Cache=$work/apt/cache
        -o Acquire::Languages=none -o APT::Sandbox::User=root"
    apt-get $apt update >&2 || echo "some suites could not be read; going on with the others" >&2
    offered=$(apt-cache $apt showsrc --only-source starpu | sed -n 's/^Version: //p')
    [ -n "$offered" ] || die "the mirror offers no StarPU source, see $log:" \
        "get it and set STARDIT_STARPU_TARBALL=FILE"
    sources | while read -r version checksum; do
        for package in $(echo "$offered" | grep -F "$version-"); do
            (cd "$work/download" && rm -f ./* &&
                apt-get $apt source --download-only --tar-only "starpu=$package") >&2 || continue
            file=$(ls "$work"/download/starpu_*.orig.tar.*)
            if [ "$(sha256sum "$file" | cut -c1-64)" = "$checksum" ]; then
                echo "$version $checksum"
                exit 0
            fi
            echo "$file: not the checksum in starpu/versions" >&2
        done
    done
}

# build: configures, makes and installs the tarball, then marks the prefix as complete.
build() {
    mkdir "$work/source"
    tar -xf "$tarball" -C "$work/source" --strip-components=1
    cd "$work/source"
    for patch in "$here/patches/$patches/"*.patch; do
        patch -p1 <"$patch"
    done
    rm -rf "$prefix"
    ./configure --prefix="$prefix" $options
    make -j"$(nproc)"
    make install-strip
    : >"$prefix/.complete"
}

prefix=$(finished_prefix)
if [ -n "$prefix" ]; then
    echo "$prefix"
    exit 0
fi
[ $find_only = no ] || exit 1

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
prefix=$(finished_prefix) # another process may have built it meanwhile
if [ -n "$prefix" ]; then
    echo "$prefix"
    exit 0
fi
log=$cache/starpu-$flavour.log
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

if [ -n "$tarball" ]; then
    source=$(sources)
else
    source=$(fetch 2>"$log")
    [ -n "$source" ] || die "no version of starpu/versions could be fetched, see $log:" \
        "get one and set STARDIT_STARPU_TARBALL=FILE"
    tarball=$(ls "$work"/download/starpu_*.orig.tar.*)
fi
prefix=$(prefix_of ${source% *} ${source#* })
(build) >>"$log" 2>&1 9>&- || die "building StarPU failed, see the end of $log"
echo "$prefix"
