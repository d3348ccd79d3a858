# STARDIT_CHECK_SERVE
# libmicrohttpd and SQLite, for stardit-serve; --without-serve builds without it. Sets SERVE_CFLAGS,
# SERVE_LIBS, the conditional HAVE_SERVE, and stardit_serve.
AC_DEFUN([STARDIT_CHECK_SERVE], [
  AC_ARG_WITH([serve],
    [AS_HELP_STRING([--without-serve], [build no stardit-serve])],
    [], [with_serve=auto])
  stardit_serve=no
  stardit_have_serve=no
  AS_IF([test "$with_serve" != no], [
    PKG_CHECK_MODULES([SERVE], [libmicrohttpd >= 0.9.75 sqlite3 >= 3.40],
      [stardit_have_serve=yes
       stardit_serve="libmicrohttpd `$PKG_CONFIG --modversion libmicrohttpd`, SQLite `$PKG_CONFIG --modversion sqlite3`"],
      [AS_IF([test "$with_serve" = yes],
        [AC_MSG_ERROR([no libmicrohttpd >= 0.9.75 with SQLite >= 3.40 (pkg-config libmicrohttpd dnl
sqlite3): install libmicrohttpd-dev libsqlite3-dev, or configure --without-serve])])
       stardit_serve="no (libmicrohttpd-dev and libsqlite3-dev are not there)"])
  ])
  AM_CONDITIONAL([HAVE_SERVE], [test "$stardit_have_serve" = yes])
])
