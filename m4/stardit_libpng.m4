# STARDIT_CHECK_LIBPNG
# libpng, for frames as a folder of images. Sets LIBPNG_CFLAGS, LIBPNG_LIBS, stardit_libpng.
AC_DEFUN([STARDIT_CHECK_LIBPNG], [
  PKG_CHECK_MODULES([LIBPNG], [libpng >= 1.6], [],
    [AC_MSG_ERROR([no libpng >= 1.6 (pkg-config libpng): install libpng-dev])])
  stardit_libpng=`$PKG_CONFIG --modversion libpng`
])
