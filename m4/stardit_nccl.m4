# STARDIT_CHECK_NCCL
# NCCL, an optional transport between GPUs. Needs STARDIT_CHECK_CUDA first; looked for in the CUDA
# toolkit too. Only its header is needed: libnccl.so.2 is loaded when a run asks for it, so that
# programs start without it. Sets NCCL_CPPFLAGS, NCCL_LIBS (where a program looks for it first), the
# conditional and macro HAVE_NCCL, and stardit_nccl.
AC_DEFUN([STARDIT_CHECK_NCCL], [
  AC_ARG_WITH([nccl],
    [AS_HELP_STRING([--with-nccl@<:@=DIR@:>@], [NCCL in DIR @<:@used if found and CUDA is used@:>@])],
    [], [with_nccl=auto])
  stardit_nccl=no
  AS_IF([test "$with_nccl" != no && test "$stardit_cuda" != no], [
    AS_CASE([$with_nccl],
      [auto|yes], [NCCL_CPPFLAGS= NCCL_LIBS=],
      [NCCL_CPPFLAGS="-I$with_nccl/include"
       NCCL_LIBS="-R$with_nccl/lib"])
    stardit_saved_CPPFLAGS=$CPPFLAGS
    CPPFLAGS="$CPPFLAGS $NCCL_CPPFLAGS $CUDA_CPPFLAGS"
    AC_MSG_CHECKING([for NCCL])
    AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[#include <nccl.h>
#if NCCL_MAJOR != 2 || NCCL_MINOR < 14
#error "no ncclCommFinalize"
#endif]], [[ncclComm_t c = 0; return ncclCommFinalize(c);]])],
      [stardit_nccl="yes, loaded at run time"])
    AC_MSG_RESULT([$stardit_nccl])
    CPPFLAGS=$stardit_saved_CPPFLAGS
  ])
  AS_IF([test "$stardit_nccl" != no],
    [AC_DEFINE([HAVE_NCCL], [1], [Define to 1 if NCCL is used.])],
    [NCCL_CPPFLAGS= NCCL_LIBS=
     AS_CASE([$with_nccl], [auto|no], [],
       [AC_MSG_ERROR([NCCL was asked for: no nccl.h of 2.14 or later, or CUDA is not used; dnl
--with-nccl=DIR says where it is])])])
  AC_SUBST([NCCL_CPPFLAGS])
  AC_SUBST([NCCL_LIBS])
  AM_CONDITIONAL([HAVE_NCCL], [test "$stardit_nccl" != no])
])
