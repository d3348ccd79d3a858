/* The checkpoint tests' folder and files; see files.h. */
#define _GNU_SOURCE
#include "tests/checkpoint/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/seeds.h"

int failures;
static char folder[600];

void fail_check(const char *file, int line, const char *condition, const char *format, ...) {
    va_list args;

    printf("FAIL %s:%d: %s: ", file, line, condition);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
    failures++;
}

static void set_up_failed(const char *what) {
    printf("cannot set up the test: %s: %s\n", what, strerror(errno));
    exit(99);
}

const char *make_folder(const char *test) {
    const char *build = getenv("STARDIT_BUILD_DIR");

    snprintf(folder, sizeof folder, "%.400s/tests", build ? build : ".");
    mkdir(folder, 0777);
    snprintf(folder, sizeof folder, "%.400s/tests/state", build ? build : ".");
    mkdir(folder, 0777);
    snprintf(folder, sizeof folder, "%.400s/tests/state/%s-XXXXXX", build ? build : ".", test);
    if (!mkdtemp(folder))
        set_up_failed(folder);
    return folder;
}

void make_subfolder(const char *name) {
    if (mkdir(path_of(name), 0777) != 0)
        set_up_failed(name);
}

static int remove_entries(const char *path) {
    struct dirent *item;
    DIR *directory = opendir(path);
    int count = 0;

    if (!directory)
        return 0;
    while ((item = readdir(directory))) {
        char child[1000];
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
            continue;
        snprintf(child, sizeof child, "%.650s/%s", path, item->d_name);
        if (unlink(child) != 0) {
            remove_entries(child);
            rmdir(child);
        }
        count++;
    }
    closedir(directory);
    return count;
}

void empty_folder(void) { remove_entries(folder); }

void remove_folder(void) {
    remove_entries(folder);
    rmdir(folder);
}

int count_entries(void) {
    DIR *directory = opendir(folder);
    struct dirent *item;
    int count = 0;

    if (!directory)
        set_up_failed(folder);
    while ((item = readdir(directory)))
        count += strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0;
    closedir(directory);
    return count;
}

const char *path_of(const char *name) {
    static char paths[8][1000];
    static int next;
    char *path = paths[next++ % 8];

    snprintf(path, sizeof paths[0], "%.650s/%s", folder, name);
    return path;
}

void write_bytes(const char *name, const void *bytes, size_t size) {
    const char *path = path_of(name);
    /* Not O_TRUNC: ext4 flushes a file that was emptied and written again, and the fuzzer does
     * nothing else. */
    const int fd = open(path, O_WRONLY | O_CREAT, 0666);

    keep_seed(name, bytes, size);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size || ftruncate(fd, (off_t)size) != 0 ||
        close(fd) != 0)
        set_up_failed(path);
}

void write_text(const char *name, const char *text) { write_bytes(name, text, strlen(text)); }

void write_safetensors(const char *name, const char *header, size_t size) {
    const uint64_t length = strlen(header);
    unsigned char *whole = malloc(sizeof length + length + size + 1);
    unsigned char *body = whole + sizeof length + length;

    if (!whole)
        set_up_failed(name);
    memcpy(whole, &length, sizeof length);
    memcpy(whole + sizeof length, header, length);
    for (size_t i = 0; i < size; i++)
        body[i] = (unsigned char)(i % 251);
    write_bytes(name, whole, sizeof length + length + size);
    free(whole);
}

unsigned char *read_bytes(const char *name, size_t *size) {
    const int fd = open(path_of(name), O_RDONLY);
    struct stat info;
    unsigned char *bytes = NULL;

    if (fd < 0)
        return NULL;
    if (fstat(fd, &info) == 0 && (bytes = malloc((size_t)info.st_size + 1))) {
        *size = (size_t)info.st_size;
        if (read(fd, bytes, *size) != (ssize_t)*size) {
            free(bytes);
            bytes = NULL;
        }
    }
    close(fd);
    return bytes;
}

bool message_fits(const char *test, enum sdt_status status, const struct sdt_error *err,
                  enum sdt_status wanted, const char *words) {
    const char *word = words;
    bool fits = status == wanted && err->status == wanted && err->message[0] != '\0';

    for (const char *c = err->message; *c; c++)
        fits &= (unsigned char)*c >= 0x20 && *c != 0x7f;
    while (fits && *word) {
        char text[200];
        const size_t length = strcspn(word, "|");
        snprintf(text, sizeof text, "%.*s", (int)length, word);
        fits = strstr(err->message, text) != NULL;
        word += length + (word[length] == '|');
    }
    if (!fits) {
        printf("FAIL %s: %s, '%s'; wanted %s with: %s\n", test, sdt_status_name(status),
               err->message, sdt_status_name(wanted), words);
        fflush(stdout);
        failures++;
    }
    return fits;
}

int next_descriptor(void) {
    const int fd = open("/dev/null", O_RDONLY);

    if (fd < 0)
        set_up_failed("/dev/null");
    close(fd);
    return fd;
}

bool folder_is_mapped(void) {
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[1500];
    const char *name = strrchr(folder, '/');
    bool mapped = false;

    if (!maps)
        return false;
    while (fgets(line, sizeof line, maps))
        mapped |= strstr(line, name) != NULL;
    fclose(maps);
    return mapped;
}
