# STARDIT_CHECK_CUDNN
# cuDNN 9, optional: fused attention and convolutions. Only its headers are needed here: programs load the
# library when a GPU worker starts, and go on with their own kernels where it is missing. Needs
# STARDIT_CHECK_CUDA first. Adds to CUDA_CPPFLAGS; sets the macro HAVE_CUDNN and stardit_cudnn.
AC_DEFUN([STARDIT_CHECK_CUDNN], [
  AC_ARG_WITH([cudnn],
    [AS_HELP_STRING([--with-cudnn@<:@=DIR@:>@],
      [cuDNN headers in DIR/include @<:@used if found and CUDA is used@:>@])],
    [], [with_cudnn=auto])
  stardit_cudnn=no
  AS_IF([test "$with_cudnn" != no && test "$stardit_cuda" != no], [
    AS_CASE([$with_cudnn],
      [auto|yes], [stardit_cudnn_cppflags=],
      [stardit_cudnn_cppflags=" -isystem $with_cudnn/include"])
    stardit_saved_CPPFLAGS=$CPPFLAGS
    CPPFLAGS="$CPPFLAGS$stardit_cudnn_cppflags $CUDA_CPPFLAGS"
    AC_MSG_CHECKING([for the headers of cuDNN 9])
    AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[#include <cudnn_version.h>
#include <cudnn_backend.h>
#if CUDNN_MAJOR < 9
#error cuDNN is too old
#endif]], [[cudnnBackendDescriptor_t part; (void)part;]])],
      [stardit_cudnn=yes])
    AC_MSG_RESULT([$stardit_cudnn])
    CPPFLAGS=$stardit_saved_CPPFLAGS
  ])
  AS_IF([test "$stardit_cudnn" != no],
    [CUDA_CPPFLAGS="$CUDA_CPPFLAGS$stardit_cudnn_cppflags"
     AC_SEARCH_LIBS([dlopen], [dl])
     AC_DEFINE([HAVE_CUDNN], [1], [Define to 1 if cuDNN may be used.])
     stardit_cudnn="yes, loaded at run time"],
    [AS_CASE([$with_cudnn], [auto|no], [],
       [AC_MSG_ERROR([cuDNN was asked for: cudnn_backend.h of version 9 not found, or CUDA is not used; dnl
--with-cudnn=DIR says where include/cudnn_backend.h is])])])
])
