# STARDIT_CHECK_LIBAV
# FFmpeg's libraries, for mp4; --without-libav leaves y4m, PNG and safetensors. Sets LIBAV_CFLAGS,
# LIBAV_LIBS, the conditional and macro HAVE_LIBAV, and stardit_libav.
AC_DEFUN([STARDIT_CHECK_LIBAV], [
  AC_ARG_WITH([libav],
    [AS_HELP_STRING([--without-libav], [write no mp4, only y4m, PNG and safetensors])],
    [], [with_libav=yes])
  stardit_libav=no
  AS_IF([test "$with_libav" != no], [
    PKG_CHECK_MODULES([LIBAV], [libavformat >= 59 libavcodec >= 59 libavutil >= 57],
      [stardit_libav="libavcodec `$PKG_CONFIG --modversion libavcodec`"
       AC_DEFINE([HAVE_LIBAV], [1], [Define to 1 if mp4 files can be written.])],
      [AC_MSG_ERROR([no FFmpeg >= 5.0 (pkg-config libavformat): install libavformat-dev dnl
libavcodec-dev libavutil-dev, or configure --without-libav])])
  ])
  AM_CONDITIONAL([HAVE_LIBAV], [test "$stardit_libav" != no])
])
