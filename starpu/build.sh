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
Where mpicc is, cpu and cuda have StarPU-MPI too; STARDIT_MPI=no leaves it out.
END
}

exec 3>&2 # errors reach the user also from where stderr goes to the log
die() {
    echo "starpu/build.sh: $*" >&3
    exit 1
}

find_only=no
case ${1-} in
    -h | --help) usage; exit 0 ;;
    --find) find_only=yes; shift ;;
esac
flavour=${1-}
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/stardit
own_source="get StarPU's source and set STARDIT_STARPU_TARBALL=FILE"

# The limits leave room for 8 stand-in devices plus the host (9 NUMA nodes) and for codelets that
# read one piece per device. cusparse, cusolver and cuBLASLt are large and nothing here calls them
# through StarPU; patches/native/no-cublas.patch leaves out cuBLAS. What StarPU-MPI was linked with is
# part of the hash, as the libraries of two MPIs do not fit each other.
mpi=--disable-mpi
mpi_is=
if [ "$flavour" != simgrid ] && [ "${STARDIT_MPI-}" != no ] && command -v mpicc >/dev/null; then
    mpi="--enable-mpi --disable-mpi-check --disable-mpi-master-slave --disable-nmad"
    mpi_is=$(mpicc -show)
fi
options="--enable-maxcpus=64 --enable-maxcudadev=8 --enable-maxnumanodes=16 --enable-maxbuffers=32
    --disable-opencl --disable-hip $mpi --disable-fortran --disable-socl
    --disable-starpupy --disable-openmp --disable-starpufft --disable-papi --disable-glpk
    --disable-fxt --disable-build-tests --disable-build-examples --disable-build-doc
    --disable-static"
case $flavour in
    cpu)
        options="$options --disable-cuda"
        patches=$here/patches/native ;;
    cuda)
        nvcc=${CUDA_HOME:+$CUDA_HOME/bin/nvcc}
        [ -n "$nvcc" ] || nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
        [ -x "$nvcc" ] || die "no nvcc at $nvcc: set CUDA_HOME, or build the flavour cpu"
        cuda=$(cd "$(dirname "$(readlink -f "$nvcc")")/.." && pwd)
        options="$options --enable-cuda --with-cuda-dir=$cuda
            ac_cv_lib_cusparse_cusparseCreate=no ac_cv_lib_cusolver_cusolverDnCreate=no
            ac_cv_lib_cublasLt_cublasLtCreate=no"
        patches=$here/patches/native ;;
    simgrid)
        # Up to 64 GPUs and the host's memory; a handle's size grows with the square of the nodes.
        options="$options --enable-simgrid --disable-cuda --enable-maxcudadev=64
            --enable-maxnumanodes=1 --enable-maxnodes=65"
        patches=$here/patches/simgrid ;;
    *)
        usage >&2
        exit 2 ;;
esac

# The acceptable sources as lines "version checksum", best first.
tarball=${STARDIT_STARPU_TARBALL-}
if [ -n "$tarball" ]; then
    [ -r "$tarball" ] || die "STARDIT_STARPU_TARBALL=$tarball: no such file"
    version=$(tar -tf "$tarball" 2>/dev/null | sed -n '1s,^\(\./\)*starpu-\([^/]*\)/.*,\2,p')
    case $version in
        1.4*) ;;
        *) die "STARDIT_STARPU_TARBALL=$tarball: not a source tarball of StarPU 1.4" ;;
    esac
    sources="$version $(sha256sum "$tarball" | cut -c1-64)"
else
    sources=$(sed -n '/^[0-9]/p' "$here/versions")
fi

# prefix_of VERSION CHECKSUM: where that source, with these options and patches, is installed.
prefix_of() {
    hash=$({ echo $options "$2" $mpi_is; cat "$patches"/*.patch; } | sha256sum | cut -c1-8)
    echo "$cache/starpu-${1%+dfsg}-$flavour-$hash"
}

# finished_prefix: the best one in the cache, if any.
finished_prefix() {
    echo "$sources" | while read -r version checksum; do
        prefix=$(prefix_of "$version" "$checksum")
        if [ -e "$prefix/.complete" ]; then
            echo "$prefix"
            break
        fi
    done
}

# mirrors: the archive's mirrors in the system's own apt sources (both formats), one a line.
mirrors() {
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ ! -r "$list" ] ||
            sed -n 's/^deb\(-src\)\{0,1\} *\(\[[^]]*\] *\)\{0,1\}\([^ ]*\) .*/\3/p' "$list"
    done
    for list in /etc/apt/sources.list.d/*.sources; do
        [ ! -r "$list" ] || sed -n 's/^[Uu][Rr][Ii][Ss]: *//p' "$list" | tr -s ' ' '\n'
    done
}

# fetch: leaves one of the listed tarballs in $work/download and prints "version checksum". The
# source index is read through a private apt configuration, so the system's stays as it is. The suites
# are tried in turn, the one most likely to have the best version first.
fetch() {
    command -v apt-get >/dev/null || die "no apt-get here: $own_source"
    distribution=$(. /etc/os-release && echo "$ID")
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
    case $distribution in
        ubuntu) suites="devel $codename" component=universe ;;
        *) suites="sid testing stable" component=main ;;
    esac
    keyring=/usr/share/keyrings/$distribution-archive-keyring.gpg
    mirrors=$(mirrors | sed -n "/security/d; /\\/$distribution/p" | sort -u)
    [ -n "$mirrors" ] || die "no mirror of $distribution in /etc/apt: $own_source"
    apt=$work/apt
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$work/download"
    cat >"$apt/apt.conf" <<END
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "$apt/lists";
Dir::Cache "$apt/cache";
Acquire::Languages "none";
APT::Sandbox::User "";
END
    export APT_CONFIG="$apt/apt.conf"
    cd "$work/download"
    for suite in $suites; do
        for mirror in $mirrors; do
            echo "deb-src [signed-by=$keyring] $mirror $suite $component"
        done >"$apt/sources.list"
        apt-get update >&2 || echo "$suite: not all could be read" >&2
        offered=$(apt-cache showsrc --only-source starpu | sed -n 's/^Version: //p' | sort -u)
        found=$(echo "$sources" | while read -r version checksum; do
            for package in $(echo "$offered" | grep -F "$version-"); do
                rm -f ./*
                apt-get source --download-only --tar-only "starpu=$package" >&2 || continue
                if echo "$checksum *$(ls)" | sha256sum --check >&2; then
                    echo "$version $checksum"
                    exit
                fi
            done
        done)
        [ -z "$found" ] || break
    done
    echo "$found"
}

# build: installs $tarball in $prefix, marked as complete at the end.
build() {
    mkdir "$work/source" &&
        tar -xf "$tarball" -C "$work/source" --strip-components=1 &&
        cd "$work/source" &&
        cat "$patches"/*.patch | patch -p1 &&
        rm -rf "$prefix" &&
        ./configure --prefix="$prefix" $options &&
        make -j"$(nproc)" &&
        make install-strip &&
        : >"$prefix/.complete"
}

prefix=$(finished_prefix)
if [ -z "$prefix" ] && [ $find_only = yes ]; then
    others=$(find "$cache" -maxdepth 2 -name .complete 2>/dev/null |
        sed 's,/.complete$,,; s,.*/starpu-[0-9.]*-\([a-z]*\)-[^/]*$,\1,' | sort -u | tr '\n' ' ')
    die "no StarPU of the flavour $flavour in $cache${others:+, only $others}; '$0 $flavour' builds one"
elif [ -z "$prefix" ]; then
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock 9
    prefix=$(finished_prefix) # another process may have built it meanwhile
fi
if [ -z "$prefix" ]; then
    log=$cache/starpu-$flavour.log
    work=$(mktemp -d "$cache/work.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT TERM
    source=$sources
    if [ -z "$tarball" ]; then
        source=$(fetch 2>"$log")
        [ -n "$source" ] || die "no version of $here/versions could be fetched (see $log): $own_source"
        tarball=$(ls "$work"/download/*)
    fi
    prefix=$(prefix_of ${source% *} ${source#* })
    if ! (build) >>"$log" 2>&1 9>&-; then
        tail -n 5 "$log" >&2
        die "building StarPU failed, see $log"
    fi
fi
echo "$prefix"
