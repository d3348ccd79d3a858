# STARDIT_COMPILER_OPTIONS
# --enable-native and --enable-sanitizers, and the warnings. Sets STARDIT_CFLAGS, STARDIT_CXXFLAGS,
# STARDIT_LDFLAGS, stardit_native, stardit_sanitizers.
#
# No -ffast-math: a kernel's bits are part of what tests compare. errno of libm is read nowhere, and
# setting it would keep sqrtf and the like out of vectorised loops.
AC_DEFUN([STARDIT_COMPILER_OPTIONS], [
  AC_ARG_ENABLE([native],
    [AS_HELP_STRING([--disable-native], [code for any CPU of this kind, not just for this machine's])],
    [stardit_native=$enableval], [stardit_native=yes])
  AC_ARG_ENABLE([sanitizers],
    [AS_HELP_STRING([--enable-sanitizers=LIST],
      [build with sanitizers: address, undefined, thread, or address,undefined @<:@no@:>@])],
    [stardit_sanitizers=$enableval], [stardit_sanitizers=no])

  STARDIT_CFLAGS="-std=gnu11 -fno-math-errno -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes"
  STARDIT_CXXFLAGS="-std=c++17 -Wall -Wextra"
  STARDIT_LDFLAGS=
  AS_IF([test "$stardit_native" = yes], [
    stardit_saved_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS -march=native"
    AC_MSG_CHECKING([whether $CC knows -march=native])
    AC_COMPILE_IFELSE([AC_LANG_PROGRAM],
      [STARDIT_CFLAGS="$STARDIT_CFLAGS -march=native"
       AC_DEFINE([STARDIT_NATIVE], [1], [Compiled for the CPU of this machine alone])],
      [stardit_native=no])
    AC_MSG_RESULT([$stardit_native])
    CFLAGS=$stardit_saved_CFLAGS
  ])
  AS_CASE([$stardit_sanitizers],
    [no], [],
    [address|undefined|thread|address,undefined|undefined,address], [
      stardit_flags="-fsanitize=$stardit_sanitizers -fno-sanitize-recover=all -fno-omit-frame-pointer"
      STARDIT_CFLAGS="$STARDIT_CFLAGS $stardit_flags"
      STARDIT_CXXFLAGS="$STARDIT_CXXFLAGS $stardit_flags"
      STARDIT_LDFLAGS="$stardit_flags"],
    [AC_MSG_ERROR([--enable-sanitizers=$stardit_sanitizers: give address, undefined, thread dnl
or address,undefined])])
  AC_SUBST([STARDIT_CFLAGS])
  AC_SUBST([STARDIT_CXXFLAGS])
  AC_SUBST([STARDIT_LDFLAGS])
])
