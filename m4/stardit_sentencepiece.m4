# STARDIT_CHECK_SENTENCEPIECE
# SentencePiece (C++), for prompts; --without-sentencepiece leaves --token-ids and --prompt-embeds.
# Sets SENTENCEPIECE_CFLAGS, SENTENCEPIECE_LIBS, the conditional and macro HAVE_SENTENCEPIECE, and
# stardit_sentencepiece. Its .pc file is not used: some ask for protobuf's, which nothing here needs.
AC_DEFUN([STARDIT_CHECK_SENTENCEPIECE], [
  AC_ARG_WITH([sentencepiece],
    [AS_HELP_STRING([--without-sentencepiece], [read no text prompts, only token ids and embeddings])],
    [], [with_sentencepiece=yes])
  AC_ARG_VAR([SENTENCEPIECE_CFLAGS], [C++ compiler flags for SentencePiece])
  AC_ARG_VAR([SENTENCEPIECE_LIBS], [linker flags for SentencePiece @<:@-lsentencepiece@:>@])
  stardit_sentencepiece=no
  AS_IF([test "$with_sentencepiece" != no], [
    : ${SENTENCEPIECE_LIBS=-lsentencepiece}
    AC_LANG_PUSH([C++])
    stardit_saved_CPPFLAGS=$CPPFLAGS
    stardit_saved_CXXFLAGS=$CXXFLAGS
    stardit_saved_LIBS=$LIBS
    CXXFLAGS="$CXXFLAGS -std=c++17" # as STARDIT_CXXFLAGS: its header needs it
    CPPFLAGS="$CPPFLAGS $SENTENCEPIECE_CFLAGS"
    LIBS="$SENTENCEPIECE_LIBS $LIBS"
    AC_MSG_CHECKING([for SentencePiece])
    AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <sentencepiece_processor.h>]],
        [[sentencepiece::SentencePieceProcessor processor; return processor.Load("").ok();]])],
      [stardit_sentencepiece=yes])
    AC_MSG_RESULT([$stardit_sentencepiece])
    CPPFLAGS=$stardit_saved_CPPFLAGS
    CXXFLAGS=$stardit_saved_CXXFLAGS
    LIBS=$stardit_saved_LIBS
    AC_LANG_POP([C++])
    AS_IF([test "$stardit_sentencepiece" = no],
      [AC_MSG_ERROR([no SentencePiece (sentencepiece_processor.h, -lsentencepiece): install dnl
libsentencepiece-dev, or configure --without-sentencepiece])])
    AC_DEFINE([HAVE_SENTENCEPIECE], [1], [Define to 1 if text prompts can be tokenized.])
  ], [SENTENCEPIECE_CFLAGS= SENTENCEPIECE_LIBS=])
  AM_CONDITIONAL([HAVE_SENTENCEPIECE], [test "$stardit_sentencepiece" != no])
])
