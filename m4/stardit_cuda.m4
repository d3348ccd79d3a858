# STARDIT_CHECK_CUDA
# The CUDA toolkit, for kernels/cuda/*.cu. Needs STARDIT_CHECK_STARPU first: kernels run on GPUs
# only if StarPU does. Sets NVCC, NVCC_ARCH_FLAGS, CUDA_CPPFLAGS, CUDA_LIBS, CUBLAS_LIBS (for
# stardit-bench; cuBLASLt is loaded when a GPU worker starts), the conditional and macro HAVE_CUDA, and
# stardit_cuda. libcuda is never linked: programs must start without a driver.
AC_DEFUN([STARDIT_CHECK_CUDA], [
  AC_REQUIRE([AC_PROG_SED])
  AC_ARG_WITH([cuda],
    [AS_HELP_STRING([--with-cuda@<:@=DIR@:>@], [CUDA toolkit in DIR @<:@used if found@:>@])],
    [], [with_cuda=auto])
  AC_ARG_VAR([NVCC], [CUDA compiler])
  AC_ARG_VAR([NVCCFLAGS], [CUDA compiler flags])
  : ${NVCCFLAGS="-O3"}
  stardit_cuda=no
  stardit_cuda_why=
  AS_IF([test "$with_cuda" != no], [
    AS_CASE([$with_cuda], [auto|yes], [], [NVCC=$with_cuda/bin/nvcc])
    AC_PATH_PROG([NVCC], [nvcc], [], [$PATH:/usr/local/cuda/bin])
    AS_IF([test -z "$NVCC" || test ! -x "$NVCC"],
      [stardit_cuda_why="no nvcc; --with-cuda=DIR says where DIR/bin/nvcc is"],
      [test "$stardit_starpu_cuda" != yes],
      [stardit_cuda_why="StarPU was built without CUDA; starpu/build.sh cuda builds it with"],
      [_STARDIT_TRY_CUDA])
    AS_IF([test "$stardit_cuda" = no && test "$with_cuda" != auto],
      [AC_MSG_ERROR([CUDA was asked for: $stardit_cuda_why])])
  ])
  AS_IF([test "$stardit_cuda" != no],
    [AC_DEFINE([HAVE_CUDA], [1], [Define to 1 if the CUDA kernels are built.])],
    [CUDA_CPPFLAGS= CUDA_LIBS= CUBLAS_LIBS=])
  AC_SUBST([NVCC_ARCH_FLAGS])
  AC_SUBST([CUDA_CPPFLAGS])
  AC_SUBST([CUDA_LIBS])
  AC_SUBST([CUBLAS_LIBS])
  AM_CONDITIONAL([HAVE_CUDA], [test "$stardit_cuda" != no])
])

m4_define([_STARDIT_TRY_CUDA], [
  stardit_cuda_dir=`AS_DIRNAME(["$NVCC"])`/..
  stardit_cuda_dir=`cd "$stardit_cuda_dir" && pwd -P`
  stardit_cuda_version=`"$NVCC" --version | $SED -n 's/.*release \(@<:@0-9.@:>@*\).*/\1/p'`
  CUDA_CPPFLAGS="-isystem $stardit_cuda_dir/include"
  AS_IF([test -d "$stardit_cuda_dir/lib64"],
    [stardit_cuda_lib=$stardit_cuda_dir/lib64], [stardit_cuda_lib=$stardit_cuda_dir/lib])
  CUDA_LIBS="-L$stardit_cuda_lib -R$stardit_cuda_lib -lcudart -lstdc++"
  CUBLAS_LIBS=-lcublas

  stardit_saved_CPPFLAGS=$CPPFLAGS
  stardit_saved_LIBS=$LIBS
  CPPFLAGS="$CPPFLAGS $CUDA_CPPFLAGS"
  LIBS="-L$stardit_cuda_lib -lcudart -lcublasLt -lcublas -lstdc++ $LIBS"
  AC_MSG_CHECKING([for the CUDA runtime and cuBLAS])
  AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <cuda_runtime.h>
#include <cublas_v2.h>]], [[cublasHandle_t handle; cudaFree(0); return cublasCreate(&handle);]])],
    [stardit_cuda=$stardit_cuda_version],
    [stardit_cuda_why="cuda_runtime, cublas_v2.h or their libraries missing in $stardit_cuda_dir"])
  AC_MSG_RESULT([$stardit_cuda])
  CPPFLAGS=$stardit_saved_CPPFLAGS
  LIBS=$stardit_saved_LIBS

  # Machine code for each of these the compiler knows: that of 8.0 runs on 8.6 as well, that of 10.0 on 10.3, that
  # of 12.0 on 12.1. For GPUs between and after them PTX of the newest up to 9.0, which all of these can compile.
  AC_MSG_CHECKING([for the GPU architectures of $NVCC])
  NVCC_ARCH_FLAGS=
  stardit_cuda_archs= stardit_ptx=80
  for stardit_arch in 80 89 90 100 120; do
    AS_IF(["$NVCC" --list-gpu-arch 2>/dev/null | grep "compute_$stardit_arch\$" >/dev/null],
      [AS_VAR_APPEND([NVCC_ARCH_FLAGS],
         [" -gencode arch=compute_$stardit_arch,code=sm_$stardit_arch"])
       AS_VAR_APPEND([stardit_cuda_archs], [" sm_$stardit_arch"])
       AS_IF([test "$stardit_arch" -le 90], [stardit_ptx=$stardit_arch])])
  done
  AS_IF([test -n "$stardit_cuda_archs"],
    [AS_VAR_APPEND([NVCC_ARCH_FLAGS],
       [" -gencode arch=compute_$stardit_ptx,code=compute_$stardit_ptx"])],
    [stardit_cuda=no
     stardit_cuda_why="$NVCC knows none of sm_80, sm_89, sm_90: CUDA 12 or later would"])
  AC_MSG_RESULT([$stardit_cuda_archs])
  AS_IF([test "$stardit_cuda" != no],
    [stardit_cuda="$stardit_cuda_version,$stardit_cuda_archs ($stardit_cuda_dir)"])
])
