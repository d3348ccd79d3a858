# STARDIT_CHECK_PCRE2
# PCRE2 and utf8proc, for byte-level BPE tokenizers (LLaMA, CLIP); --without-pcre2 leaves them out.
# Sets PCRE2_CFLAGS, PCRE2_LIBS, the macro HAVE_PCRE2, and stardit_pcre2.
AC_DEFUN([STARDIT_CHECK_PCRE2], [
  AC_ARG_WITH([pcre2],
    [AS_HELP_STRING([--without-pcre2], [read no byte-level BPE tokenizers (LLaMA, CLIP)])],
    [], [with_pcre2=yes])
  stardit_pcre2=no
  AS_IF([test "$with_pcre2" != no], [
    PKG_CHECK_MODULES([PCRE2], [libpcre2-8 >= 10.30 libutf8proc >= 2.3], [],
      [AC_MSG_ERROR([no PCRE2 >= 10.30 or no utf8proc >= 2.3 (pkg-config libpcre2-8 libutf8proc): dnl
install libpcre2-dev and libutf8proc-dev, or configure --without-pcre2])])
    AC_DEFINE([HAVE_PCRE2], [1], [Define to 1 if byte-level BPE tokenizers can be read.])
    stardit_pcre2=`$PKG_CONFIG --modversion libpcre2-8`
  ])
])
