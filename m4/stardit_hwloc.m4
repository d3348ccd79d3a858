# STARDIT_CHECK_HWLOC
# hwloc 2: what stardit-info prints of the machine, and the topology of CPU stand-ins. Sets HWLOC_CFLAGS, HWLOC_LIBS, stardit_hwloc.
AC_DEFUN([STARDIT_CHECK_HWLOC], [
  PKG_CHECK_MODULES([HWLOC], [hwloc >= 2.0], [],
    [AC_MSG_ERROR([no hwloc >= 2.0 (pkg-config hwloc): install libhwloc-dev])])
  stardit_hwloc=`$PKG_CONFIG --modversion hwloc`
])
