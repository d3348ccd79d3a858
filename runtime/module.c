/* Which StarPU a policy module was compiled for, by the functions that it wants from others.
 *
 * StarPU's locks are those of the C library in real runs, and its own functions, around SimGrid's,
 * in simulated time. Both libraries have one name, and so the loader takes either. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "runtime/module.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <starpu.h>

/* A file as it lies in memory. */
struct image {
    const unsigned char *bytes; /* [size] */
    size_t size;
};

static bool is_inside(const struct image *image, size_t offset, size_t size) {
    return offset <= image->size && size <= image->size - offset;
}

static bool begins(const char *name, const char *with) {
    return strncmp(name, with, strlen(with)) == 0;
}

/* Adds what an undefined symbol says. */
static void judge(const char *name, bool *simulated, bool *real) {
    *simulated |= begins(name, "starpu_pthread_") || begins(name, "starpu_sem_");
    *real |= begins(name, "pthread_mutex_") || begins(name, "pthread_cond_") ||
             begins(name, "pthread_spin_") || begins(name, "pthread_rwlock_") ||
             begins(name, "_starpu_pthread_spin_") || begins(name, "sem_");
}

/* The undefined symbols of a table and its strings. */
static void read_symbols(const struct image *image, const ElfW(Shdr) * table,
                         const ElfW(Shdr) * strings, bool *simulated, bool *real) {
    if (!is_inside(image, table->sh_offset, table->sh_size) ||
        !is_inside(image, strings->sh_offset, strings->sh_size) || strings->sh_size == 0 ||
        image->bytes[strings->sh_offset + strings->sh_size - 1] != '\0')
        return;
    for (size_t at = 0; at + sizeof(ElfW(Sym)) <= table->sh_size; at += sizeof(ElfW(Sym))) {
        ElfW(Sym) symbol;
        memcpy(&symbol, image->bytes + table->sh_offset + at, sizeof symbol);
        if (symbol.st_shndx == SHN_UNDEF && symbol.st_name < strings->sh_size)
            judge((const char *)image->bytes + strings->sh_offset + symbol.st_name, simulated,
                  real);
    }
}

static bool read_section(const struct image *image, const ElfW(Ehdr) * header, size_t index,
                         ElfW(Shdr) * section) {
    size_t at = header->e_shoff + index * sizeof *section;
    if (index >= header->e_shnum || header->e_shoff > image->size ||
        !is_inside(image, at, sizeof *section))
        return false;
    memcpy(section, image->bytes + at, sizeof *section);
    return true;
}

/* false: no shared object. */
static bool read_image(const struct image *image, bool *simulated, bool *real) {
    ElfW(Ehdr) header;
    ElfW(Shdr) section, strings;
    if (image->size < sizeof header)
        return false;
    memcpy(&header, image->bytes, sizeof header);
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_type != ET_DYN ||
        header.e_ident[EI_CLASS] != (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32))
        return false;
    for (size_t i = 0; read_section(image, &header, i, &section); i++)
        if (section.sh_type == SHT_DYNSYM &&
            read_section(image, &header, section.sh_link, &strings))
            read_symbols(image, &section, &strings, simulated, real);
    return true;
}

enum sdt_status sdt__module_check(const char *path, const char *name, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    bool simulated = false, real = false;
    struct stat about;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &about)) {
        status = sdt_fail(err, SDT_ERROR_USAGE, "%s: %s", name, strerror(errno));
        goto out;
    }
    struct image image = {.size = S_ISREG(about.st_mode) ? (size_t)about.st_size : 0};
    void *map = image.size ? mmap(NULL, image.size, PROT_READ, MAP_PRIVATE, file, 0) : MAP_FAILED;
    image.bytes = map;
    if (map == MAP_FAILED || !read_image(&image, &simulated, &real))
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "%s: no module of this kind of machine; a shared object works", name);
    if (map != MAP_FAILED)
        munmap(map, image.size);
#ifdef STARPU_SIMGRID
    if (status == SDT_OK && real && !simulated)
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "%s: compiled with a StarPU for real runs, whose locks stop simulated "
                          "time; compiled with the one of 'starpu/build.sh simgrid' it works",
                          name);
#else
    if (status == SDT_OK && simulated)
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "%s: compiled with StarPU over SimGrid, for simulated time; compiled "
                          "with the StarPU of real runs it works",
                          name);
#endif
out:
    if (file >= 0)
        close(file);
    return status;
}
