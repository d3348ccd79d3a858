# STARDIT_CHECK_BLAS
# OpenBLAS, which stardit-bench measures beside the products of linear layers; nothing else calls it,
# so it is linked into that program alone, and left out where it is not found. Sets BLAS_CFLAGS,
# BLAS_LIBS, the macro HAVE_BLAS and stardit_blas.
AC_DEFUN([STARDIT_CHECK_BLAS], [
  AC_ARG_WITH([openblas],
    [AS_HELP_STRING([--with-openblas], [measure OpenBLAS in stardit-bench @<:@used if found@:>@])],
    [], [with_openblas=auto])
  stardit_blas=no
  AS_IF([test "$with_openblas" != no], [
    # Where several builds of it are installed side by side, the one with threads has its own folder,
    # which the program must remember: the plain name may lead to another one.
    stardit_saved_path=$PKG_CONFIG_PATH
    for stardit_dir in /usr/lib/*/openblas-pthread/pkgconfig; do
      PKG_CONFIG_PATH=$stardit_dir:$PKG_CONFIG_PATH
    done
    export PKG_CONFIG_PATH
    PKG_CHECK_MODULES([BLAS], [openblas],
      [stardit_blas="OpenBLAS `$PKG_CONFIG --modversion openblas`"
       stardit_blas_dir=`$PKG_CONFIG --variable=libdir openblas | $SED 's,/*$,,'`
       AS_CASE([$stardit_blas_dir],
         [*openblas*], [BLAS_LIBS="-L$stardit_blas_dir -R$stardit_blas_dir -lopenblas"])
       AC_DEFINE([HAVE_BLAS], [1], [Define to 1 if stardit-bench measures OpenBLAS.])],
      [AS_IF([test "$with_openblas" != auto],
         [AC_MSG_ERROR([no OpenBLAS (pkg-config openblas): install libopenblas-pthread-dev, dnl
or configure --without-openblas])])])
    PKG_CONFIG_PATH=$stardit_saved_path
  ])
])
