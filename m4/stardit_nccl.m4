# STARDIT_CHECK_NCCL
# NCCL, an optional transport between GPUs. Needs STARDIT_CHECK_CUDA first; looked for in the CUDA
# toolkit too. Sets NCCL_CPPFLAGS, NCCL_LIBS, the conditional and macro HAVE_NCCL, and stardit_nccl.
AC_DEFUN([STARDIT_CHECK_NCCL], [
  AC_ARG_WITH([nccl],
    [AS_HELP_STRING([--with-nccl@<:@=DIR@:>@], [NCCL in DIR @<:@used if found and CUDA is used@:>@])],
    [], [with_nccl=auto])
  stardit_nccl=no
  AS_IF([test "$with_nccl" != no && test "$stardit_cuda" != no], [
    AS_CASE([$with_nccl],
      [auto|yes], [NCCL_CPPFLAGS= NCCL_LIBS=-lnccl],
      [NCCL_CPPFLAGS="-I$with_nccl/include"
       NCCL_LIBS="-L$with_nccl/lib -R$with_nccl/lib -lnccl"])
    stardit_saved_CPPFLAGS=$CPPFLAGS
    stardit_saved_LIBS=$LIBS
    CPPFLAGS="$CPPFLAGS $NCCL_CPPFLAGS $CUDA_CPPFLAGS"
    LIBS="`AS_ECHO(["$NCCL_LIBS $CUDA_LIBS"]) | $SED 's/-R@<:@^ @:>@*//g'` $LIBS"
    AC_MSG_CHECKING([for NCCL])
    AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <nccl.h>]], [[int v; return ncclGetVersion(&v);]])],
      [stardit_nccl=yes])
    AC_MSG_RESULT([$stardit_nccl])
    CPPFLAGS=$stardit_saved_CPPFLAGS
    LIBS=$stardit_saved_LIBS
  ])
  AS_IF([test "$stardit_nccl" != no],
    [AC_DEFINE([HAVE_NCCL], [1], [Define to 1 if NCCL is used.])],
    [NCCL_CPPFLAGS= NCCL_LIBS=
     AS_CASE([$with_nccl], [auto|no], [],
       [AC_MSG_ERROR([NCCL was asked for: nccl.h or libnccl not found, or CUDA is not used; dnl
--with-nccl=DIR says where it is])])])
  AC_SUBST([NCCL_CPPFLAGS])
  AC_SUBST([NCCL_LIBS])
  AM_CONDITIONAL([HAVE_NCCL], [test "$stardit_nccl" != no])
])
