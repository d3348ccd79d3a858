# What tests/long/fuzz.sh and tests/long/sanitize.sh share; sourced. Needs $source and $build.

# configure_tree OPTION...: configures stardit in the folder where it is called, once, as the build is
# configured, but without what takes time and shows nothing more (the simulator, CUDA), and with these
# options.
configure_tree() {
    [ ! -e Makefile ] || [ "$source/configure" -nt Makefile ] || return 0
    # "$@" becomes the build's options with those of the call behind them, which win.
    given=$#
    eval "set -- $("$build/config.status" --config) -- \"\$@\""
    while [ "$1" != -- ]; do
        case $1 in
            --with-starpu-simgrid=* | --with-cuda* | --enable-sanitizers=* | C*FLAGS=*) ;;
            *) set -- "$@" "$1" ;;
        esac
        shift
    done
    shift
    for _ in $(seq $given); do
        set -- "$@" "$1"
        shift
    done
    "$source/configure" --without-cuda "$@" >configure.log 2>&1 ||
        { tail -n 5 configure.log >&2; exit 99; }
}
