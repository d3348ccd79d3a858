/* The wrapped functions of the C library. */
#define _GNU_SOURCE
#include "tests/faults.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void __real_free(void *block);
char *__real_strdup(const char *text);
int __real_posix_memalign(void **block, size_t alignment, size_t size);
void *__real_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
char *__wrap_strdup(const char *text);
int __wrap_asprintf(char **text, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap_posix_memalign(void **block, size_t alignment, size_t size);
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);

struct faults faults;

void faults_arm(struct faults *f, long first, bool all) {
    atomic_store(&f->calls, 0);
    atomic_store(&f->failed, false);
    f->first = first;
    f->all = all;
    atomic_store(&f->armed, true);
}

void faults_disarm(struct faults *f) { atomic_store(&f->armed, false); }

bool faults_refuse(struct faults *f) {
    if (!atomic_load(&f->armed))
        return false;
    const long call = atomic_fetch_add(&f->calls, 1);
    if (call == f->first || (f->all && call > f->first)) {
        atomic_store(&f->failed, true);
        errno = ENOMEM;
        return true;
    }
    return false;
}

static void *count_block(void *block) {
    atomic_fetch_add(&faults.blocks, block != NULL);
    return block;
}

void *__wrap_malloc(size_t size) {
    return faults_refuse(&faults) ? NULL : count_block(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size) {
    return faults_refuse(&faults) ? NULL : count_block(__real_calloc(count, size));
}

void *__wrap_realloc(void *block, size_t size) {
    if (faults_refuse(&faults))
        return NULL;
    void *moved = __real_realloc(block, size);
    if (!block)
        count_block(moved);
    return moved;
}

void __wrap_free(void *block) {
    atomic_fetch_sub(&faults.blocks, block != NULL);
    __real_free(block);
}

char *__wrap_strdup(const char *text) {
    return faults_refuse(&faults) ? NULL : count_block(__real_strdup(text));
}

int __wrap_asprintf(char **text, const char *format, ...) {
    if (faults_refuse(&faults))
        return -1;
    va_list args;
    va_start(args, format);
    int length = vasprintf(text, format, args);
    va_end(args);
    if (length >= 0)
        count_block(*text);
    return length;
}

/* Never fails here: our policies call it where StarPU lets them report nothing. */
int __wrap_posix_memalign(void **block, size_t alignment, size_t size) {
    int result = __real_posix_memalign(block, alignment, size);
    if (!result)
        count_block(*block);
    return result;
}

void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset) {
    return faults_refuse(&faults) ? MAP_FAILED
                                  : __real_mmap(address, size, protection, flags, fd, offset);
}
