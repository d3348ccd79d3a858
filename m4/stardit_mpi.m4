# STARDIT_CHECK_MPI
# StarPU-MPI, for runs over several machines: where the StarPU that was found has it, and an MPI
# compiler says what it was built with. Needs STARDIT_CHECK_STARPU first. Sets MPI_CFLAGS, MPI_LIBS,
# the conditional and macro HAVE_MPI, and stardit_mpi.
AC_DEFUN([STARDIT_CHECK_MPI], [
  AC_ARG_WITH([mpi],
    [AS_HELP_STRING([--with-mpi@<:@=MPICC@:>@], [several ranks, with that MPI's compiler @<:@mpicc, if StarPU has MPI@:>@])],
    [], [with_mpi=auto])
  AS_CASE([$with_mpi], [auto|yes|no], [MPICC=mpicc], [MPICC=$with_mpi])
  stardit_mpi=no MPI_CFLAGS= MPI_LIBS=
  stardit_saved_path=$PKG_CONFIG_PATH
  AS_IF([test -n "$with_starpu"],
    [PKG_CONFIG_PATH=_STARDIT_STARPU_PATH([$with_starpu]); export PKG_CONFIG_PATH])
  AS_IF([test "$with_mpi" != no && $PKG_CONFIG --exists starpumpi-1.4 && stardit_show=`$MPICC -show 2>/dev/null`], [
    # What the compiler would be called with: "gcc -I... -L... -lmpi".
    for stardit_word in $stardit_show; do
      AS_CASE([$stardit_word],
        [-I*|-D*|-pthread], [MPI_CFLAGS="$MPI_CFLAGS $stardit_word"],
        [-L*|-l*|-Wl,*], [MPI_LIBS="$MPI_LIBS $stardit_word"])
    done
    stardit_saved_CPPFLAGS=$CPPFLAGS
    stardit_saved_LIBS=$LIBS
    CPPFLAGS="$CPPFLAGS $STARPU_CFLAGS $MPI_CFLAGS"
    LIBS="-lstarpumpi-1.4 $STARPU_LIBS $MPI_LIBS $LIBS"
    AC_MSG_CHECKING([for StarPU-MPI])
    AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <starpu_mpi.h>]],
        [[return starpu_mpi_irecv_detached_prio(0, 0, 0, 0, MPI_COMM_WORLD, 0, 0);]])],
      [stardit_mpi="yes, of $MPICC"])
    AC_MSG_RESULT([$stardit_mpi])
    CPPFLAGS=$stardit_saved_CPPFLAGS
    LIBS=$stardit_saved_LIBS
  ])
  PKG_CONFIG_PATH=$stardit_saved_path
  AS_IF([test "$stardit_mpi" != no],
    [AC_DEFINE([HAVE_MPI], [1], [Define to 1 if a run may have several ranks.])
     _STARDIT_SYSTEM_HEADERS([MPI_CFLAGS])
     MPI_LIBS="-lstarpumpi-1.4 $MPI_LIBS"],
    [MPI_CFLAGS= MPI_LIBS=
     AS_CASE([$with_mpi], [auto|no], [],
       [AC_MSG_ERROR([MPI was asked for, and it needs $MPICC and a StarPU that was built with it; dnl
starpu/build.sh makes one where mpicc is])])])
  AC_SUBST([MPI_CFLAGS])
  AC_SUBST([MPI_LIBS])
  AM_CONDITIONAL([HAVE_MPI], [test "$stardit_mpi" != no])
])
