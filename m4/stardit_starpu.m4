# STARDIT_CHECK_STARPU
# StarPU 1.4 or later, from --with-starpu=PREFIX or pkg-config's search path. Sets STARPU_CFLAGS,
# STARPU_LIBS, stardit_starpu (for the summary) and stardit_starpu_cuda (yes or no).
#
# STARDIT_CHECK_STARPU_SIMGRID
# A second StarPU, built over SimGrid, from --with-starpu-simgrid=PREFIX only. Sets
# STARPU_SIMGRID_CFLAGS, STARPU_SIMGRID_LIBS, STARPU_SIMGRID_LIBDIR and the conditional
# HAVE_STARPU_SIMGRID.

# _STARDIT_STARPU_PATH(PREFIX): the search path of pkg-config with PREFIX's folders first.
m4_define([_STARDIT_STARPU_PATH],
  [$1/lib/pkgconfig:$1/lib64/pkgconfig:$1/share/pkgconfig:$PKG_CONFIG_PATH])

# _STARDIT_STARPU_LIMIT(VARIABLE, MACRO): the value of a limit in starpu_config.h, 0 if undefined.
m4_define([_STARDIT_STARPU_LIMIT], [AC_COMPUTE_INT([$1], [$2], [#include <starpu_config.h>
#ifndef $2
#define $2 0
#endif], [$1=0])])

# _STARDIT_SYSTEM_HEADERS(VARIABLE): silences warnings from headers that are not ours (CUDA's).
m4_define([_STARDIT_SYSTEM_HEADERS], [$1=`AS_ECHO(["$$1"]) | $SED 's/-I */-isystem /g'`])

AC_DEFUN([STARDIT_CHECK_STARPU], [
  AC_ARG_WITH([starpu],
    [AS_HELP_STRING([--with-starpu=PREFIX], [StarPU >= 1.4 installed in PREFIX @<:@pkg-config@:>@])],
    [], [with_starpu=])
  AS_CASE([$with_starpu],
    [no], [AC_MSG_ERROR([StarPU is required: there is no build --without-starpu])],
    [yes], [with_starpu=])
  AS_IF([test -n "$with_starpu" && test ! -d "$with_starpu"],
    [AC_MSG_ERROR([--with-starpu=$with_starpu: no such folder; ./quickstart build makes one])])
  stardit_saved_path=$PKG_CONFIG_PATH
  AS_IF([test -n "$with_starpu"],
    [PKG_CONFIG_PATH=_STARDIT_STARPU_PATH([$with_starpu]); export PKG_CONFIG_PATH])
  PKG_CHECK_MODULES([STARPU], [starpu-1.4 >= 1.4], [],
    [AC_MSG_ERROR([no StarPU >= 1.4 (pkg-config starpu-1.4); ./quickstart build makes one,
or give its place with --with-starpu=PREFIX])])
  stardit_starpu_version=`$PKG_CONFIG --modversion starpu-1.4`
  stardit_starpu_prefix=`$PKG_CONFIG --variable=prefix starpu-1.4`
  PKG_CONFIG_PATH=$stardit_saved_path
  _STARDIT_SYSTEM_HEADERS([STARPU_CFLAGS])

  stardit_saved_CPPFLAGS=$CPPFLAGS
  CPPFLAGS="$CPPFLAGS $STARPU_CFLAGS"
  _STARDIT_STARPU_LIMIT([stardit_starpu_simgrid], [STARPU_SIMGRID])
  _STARDIT_STARPU_LIMIT([stardit_starpu_has_cuda], [STARPU_USE_CUDA])
  _STARDIT_STARPU_LIMIT([stardit_starpu_cpus], [STARPU_MAXCPUS])
  _STARDIT_STARPU_LIMIT([stardit_starpu_nodes], [STARPU_MAXNUMANODES])
  CPPFLAGS=$stardit_saved_CPPFLAGS

  AS_IF([test "$stardit_starpu_simgrid" != 0],
    [AC_MSG_ERROR([$stardit_starpu_prefix is a StarPU over SimGrid: give it with --with-starpu-simgrid])])
  AS_IF([test "$stardit_starpu_nodes" -lt 9],
    [AC_MSG_WARN([this StarPU allows $stardit_starpu_nodes NUMA nodes; 8 devices on CPUs need 9])])
  AS_IF([test "$stardit_starpu_has_cuda" != 0], [stardit_starpu_cuda=yes], [stardit_starpu_cuda=no])
  stardit_starpu="$stardit_starpu_version, at most $stardit_starpu_cpus CPUs and dnl
$stardit_starpu_nodes NUMA nodes, CUDA $stardit_starpu_cuda ($stardit_starpu_prefix)"
])

AC_DEFUN([STARDIT_CHECK_STARPU_SIMGRID], [
  AC_ARG_WITH([starpu-simgrid],
    [AS_HELP_STRING([--with-starpu-simgrid=PREFIX], [StarPU over SimGrid, for the simulator @<:@no@:>@])],
    [], [with_starpu_simgrid=no])
  stardit_simgrid=no
  AS_CASE([$with_starpu_simgrid],
    [no], [],
    [yes], [AC_MSG_ERROR([--with-starpu-simgrid needs a PREFIX; starpu/build.sh simgrid makes one])],
    [stardit_saved_path=$PKG_CONFIG_PATH
     PKG_CONFIG_PATH=_STARDIT_STARPU_PATH([$with_starpu_simgrid]); export PKG_CONFIG_PATH
     PKG_CHECK_MODULES([STARPU_SIMGRID], [starpu-1.4 >= 1.4], [],
       [AC_MSG_ERROR([--with-starpu-simgrid=$with_starpu_simgrid: no StarPU >= 1.4 there; dnl
starpu/build.sh simgrid makes one])])
     stardit_simgrid_version=`$PKG_CONFIG --modversion starpu-1.4`
     STARPU_SIMGRID_LIBDIR=`$PKG_CONFIG --variable=libdir starpu-1.4`
     PKG_CONFIG_PATH=$stardit_saved_path
     _STARDIT_SYSTEM_HEADERS([STARPU_SIMGRID_CFLAGS])
     stardit_saved_CPPFLAGS=$CPPFLAGS
     CPPFLAGS="$CPPFLAGS $STARPU_SIMGRID_CFLAGS"
     AC_CHECK_DECL([STARPU_SIMGRID], [],
       [AC_MSG_ERROR([--with-starpu-simgrid=$with_starpu_simgrid: that StarPU is not over SimGrid])],
       [#include <starpu_config.h>])
     CPPFLAGS=$stardit_saved_CPPFLAGS
     stardit_simgrid="$stardit_simgrid_version ($with_starpu_simgrid)"])
  AC_SUBST([STARPU_SIMGRID_LIBDIR])
  AM_CONDITIONAL([HAVE_STARPU_SIMGRID], [test "$stardit_simgrid" != no])
])
