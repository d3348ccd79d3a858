/* What the tests of the writers share: a place of their own, files as bytes, a smooth video. */
#ifndef STARDIT_TESTS_OUTPUT_CHECK_H
#define STARDIT_TESTS_OUTPUT_CHECK_H

#include <dirent.h>
#include <ftw.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stardit/video.h"
#include "tests/check.h"

/* Makes a folder and works in it. Leaves the test with 99 when that cannot be. */
static inline void enter_folder(char *folder /* mkdtemp's template */) {
    if (!mkdtemp(folder) || chmod(folder, 0777) != 0 || chdir(folder) != 0) {
        perror(folder);
        exit(99);
    }
}

static inline int remove_entry(const char *path, const struct stat *info, int type,
                               struct FTW *place) {
    (void)info, (void)type;
    return place->level > 0 ? remove(path) : 0;
}

/* Removes all that is in it. */
static inline void empty_folder(const char *folder) {
    if (nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0)
        perror(folder);
}

static inline void leave_folder(const char *folder) {
    empty_folder(".");
    if (chdir("..") != 0 || rmdir(folder) != 0)
        perror(folder);
}

/* How many entries a folder has, hidden ones too; -1: there is none. */
static inline int count_entries(const char *folder) {
    int count = -2;
    DIR *dir = opendir(folder);

    if (!dir)
        return -1;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* The bytes of a file; caller frees. NULL: it cannot be read. */
static inline uint8_t *read_bytes(const char *path, size_t *size) {
    uint8_t *bytes = NULL;
    struct stat info;
    FILE *file = fopen(path, "rb");

    *size = 0;
    if (file && fstat(fileno(file), &info) == 0) {
        bytes = malloc((size_t)info.st_size + 1);
        if (bytes)
            *size = fread(bytes, 1, (size_t)info.st_size, file);
    }
    if (file)
        fclose(file);
    return bytes;
}

static inline int same_bytes(const char *a, const char *b) {
    size_t a_size, b_size;
    uint8_t *a_bytes = read_bytes(a, &a_size), *b_bytes = read_bytes(b, &b_size);
    const int same =
        a_bytes && b_bytes && a_size > 0 && a_size == b_size && !memcmp(a_bytes, b_bytes, a_size);

    free(a_bytes);
    free(b_bytes);
    return same;
}

/* Colours that drift over the picture and over time, within -1..1. pixels: caller frees. */
static inline struct sdt_video smooth_video(int frames, int height, int width, double fps) {
    const size_t count = (size_t)frames * (size_t)height * (size_t)width * 3;
    float *pixels = malloc(count * sizeof *pixels), *p = pixels;

    if (!pixels)
        exit(99);
    for (int t = 0; t < frames; t++)
        for (int i = 0; i < height; i++)
            for (int j = 0; j < width; j++)
                for (int c = 0; c < 3; c++)
                    *p++ = 0.9f * sinf(0.02f * (float)i * (float)(c + 1) + 0.015f * (float)j +
                                       0.3f * (float)t + 1.7f * (float)c);
    return (struct sdt_video){
        .frames = frames, .height = height, .width = width, .fps = fps, .pixels = pixels};
}

static inline uint8_t expected_byte(float x) {
    const double value = floor(((double)x / 2 + 0.5) * 255 + 0.5);
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}
#endif
