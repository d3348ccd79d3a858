# STARDIT_CHECK_BLAS
# A BLAS with the C interface that several threads may call at once, each call in its own thread. That
# is OpenBLAS built with threads (stardit tells it to use one); its serial build has no locks and
# mixes up the work buffers of two callers. OpenBLAS is found by pkg-config; any other BLAS can be
# given by BLAS_CFLAGS and BLAS_LIBS. Sets these and stardit_blas.
AC_DEFUN([STARDIT_CHECK_BLAS], [
  AC_REQUIRE([AC_CANONICAL_HOST])
  AC_ARG_VAR([BLAS_CFLAGS], [C compiler flags for a thread-safe BLAS, overriding pkg-config])
  AC_ARG_VAR([BLAS_LIBS], [linker flags for a thread-safe BLAS, overriding pkg-config])
  AS_IF([test -n "$BLAS_LIBS"], [stardit_blas="$BLAS_LIBS"], [
    # Where several builds of OpenBLAS are installed side by side, the one with threads has its own folder,
    # which the programs must remember: the plain name may lead to another one.
    stardit_saved_path=$PKG_CONFIG_PATH
    for stardit_dir in /usr/lib/*/openblas-pthread/pkgconfig; do
      PKG_CONFIG_PATH=$stardit_dir:$PKG_CONFIG_PATH
    done
    export PKG_CONFIG_PATH
    PKG_CHECK_EXISTS([openblas], [],
      [AC_MSG_ERROR([no OpenBLAS (pkg-config openblas): install libopenblas-pthread-dev, dnl
or give another thread-safe BLAS by BLAS_CFLAGS and BLAS_LIBS])])
    stardit_blas_dir=`$PKG_CONFIG --variable=libdir openblas | $SED 's,/*$,,'`
    BLAS_CFLAGS=`$PKG_CONFIG --cflags openblas`
    BLAS_LIBS=`$PKG_CONFIG --libs openblas`
    stardit_blas="OpenBLAS `$PKG_CONFIG --modversion openblas` ($stardit_blas_dir)"
    AS_CASE([$stardit_blas_dir],
      [*openblas*], [BLAS_LIBS="-L$stardit_blas_dir -R$stardit_blas_dir -lopenblas"])
    PKG_CONFIG_PATH=$stardit_saved_path
  ])

  stardit_saved_CPPFLAGS=$CPPFLAGS
  stardit_saved_LIBS=$LIBS
  CPPFLAGS="$CPPFLAGS $BLAS_CFLAGS"
  LIBS="`AS_ECHO(["$BLAS_LIBS"]) | $SED 's/-R/-Wl,-rpath,/g'` $LIBS"
  AC_MSG_CHECKING([for cblas_sgemm])
  AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <cblas.h>]],
      [[float a = 1; cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, 1, 1, 1, 1, &a, 1, &a, 1, 0, &a, 1);]])],
    [AC_MSG_RESULT([yes])],
    [AC_MSG_RESULT([no])
     AC_MSG_ERROR([cblas_sgemm does not link with BLAS_LIBS=$BLAS_LIBS: install libopenblas-pthread-dev])])
  AC_MSG_CHECKING([whether several threads may call it])
  AC_RUN_IFELSE([AC_LANG_PROGRAM([[extern int openblas_get_parallel(void) __attribute__((weak));]],
      [[return openblas_get_parallel && openblas_get_parallel() == 0;]])],
    [AC_MSG_RESULT([yes])],
    [AC_MSG_RESULT([no])
     AC_MSG_ERROR([this OpenBLAS was built without threads and gives wrong numbers when two workers dnl
call it: install libopenblas-pthread-dev])],
    [AC_MSG_RESULT([unknown when cross-compiling])])
  CPPFLAGS=$stardit_saved_CPPFLAGS
  LIBS=$stardit_saved_LIBS
])
