# STARDIT_CHECK_SENTENCEPIECE
# SentencePiece (C++), for prompts; --without-sentencepiece leaves --token-ids and --prompt-embeds.
# Sets SENTENCEPIECE_CFLAGS, SENTENCEPIECE_LIBS, the conditional and macro HAVE_SENTENCEPIECE, and
# stardit_sentencepiece.
AC_DEFUN([STARDIT_CHECK_SENTENCEPIECE], [
  AC_ARG_WITH([sentencepiece],
    [AS_HELP_STRING([--without-sentencepiece], [read no text prompts, only token ids and embeddings])],
    [], [with_sentencepiece=yes])
  stardit_sentencepiece=no
  AS_IF([test "$with_sentencepiece" != no], [
    PKG_CHECK_MODULES([SENTENCEPIECE], [sentencepiece >= 0.1.95],
      [# The training library comes along in the .pc file; nothing here trains.
       SENTENCEPIECE_LIBS=`AS_ECHO(["$SENTENCEPIECE_LIBS"]) | $SED 's/-lsentencepiece_train//'`
       stardit_sentencepiece=`$PKG_CONFIG --modversion sentencepiece`
       AC_DEFINE([HAVE_SENTENCEPIECE], [1], [Define to 1 if text prompts can be tokenized.])],
      [AC_MSG_ERROR([no SentencePiece (pkg-config sentencepiece): install libsentencepiece-dev, dnl
or configure --without-sentencepiece])])
  ])
  AM_CONDITIONAL([HAVE_SENTENCEPIECE], [test "$stardit_sentencepiece" != no])
])
