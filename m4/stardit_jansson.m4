# STARDIT_CHECK_JANSSON
# Jansson, for the JSON of checkpoints and reports. Sets JANSSON_CFLAGS, JANSSON_LIBS, stardit_jansson.
AC_DEFUN([STARDIT_CHECK_JANSSON], [
  PKG_CHECK_MODULES([JANSSON], [jansson >= 2.13], [],
    [AC_MSG_ERROR([no Jansson >= 2.13 (pkg-config jansson): install libjansson-dev])])
  stardit_jansson=`$PKG_CONFIG --modversion jansson`
])
