/* Where nothing can or may be written: one clear line, and nothing left behind. */
#define _GNU_SOURCE

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "graph/output/writer.h"
#include "tests/output/check.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

static const char *const outputs[] = {
#ifdef HAVE_LIBAV
    "out.mp4",
#endif
    "out.y4m", "out.safetensors", "out/"};
enum { OUTPUTS = sizeof outputs / sizeof *outputs };

static void touch(const char *path) {
    FILE *file = fopen(path, "w");
    if (!file || fputs("mine\n", file) < 0 || fclose(file) != 0)
        exit(99);
}

/* check_path and write both say `status` and a line with `says`, and the folder does not change. */
static void refused(const struct sdt_video *video, const char *path, bool force,
                    enum sdt_status status, const char *says) {
    struct sdt_error err = {.message = ""};
    const int before = count_entries(".");

    CHECK(sdt_video_check_path(path, force, &err) == status && err.status == status &&
              strstr(err.message, says) && !strchr(err.message, '\n'),
          "check %s: %s, %s", path, sdt_status_name(err.status), err.message);
    err.message[0] = '\0';
    CHECK(sdt_video_write(video, path, force, &err) == status && strstr(err.message, says),
          "write %s: %s", path, err.message);
    CHECK(count_entries(".") == before, "%s: %d entries, were %d", path, count_entries("."),
          before);
}

static void names(const struct sdt_video *video) {
    static const struct {
        const char *path, *says;
    } wrong[] = {
        {"", "empty"},
        {".", "name of its own"},
        {"..", "name of its own"},
        {"/", "name of its own"},
        {"./", "name of its own"},
        {"out.avi", ".avi"},
        {"out.mp4.tmp", ".tmp"},
        {"out.jpg", ".png"},
        {"out.", "unknown ending"},
        {".y4m", "no name"},
        {"missing/out.y4m", "missing"},
        {"missing/out", "missing"},
        {"file/out.y4m", "file"},
        {"/proc/out.y4m", "/proc"},
    };
    touch("file");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        refused(video, wrong[i].path, false, SDT_ERROR_USAGE, wrong[i].says);
    char longer[400];
    memset(longer, 'x', sizeof longer);
    strcpy(longer + sizeof longer - 5, ".y4m");
    refused(video, longer, false, SDT_ERROR_USAGE, "File name too long");
    unlink("file");

    /* What is right is not created by the check. */
    static const char *const right[] = {"a.y4m", "A.Y4M", "frames", "frames/", "a.b/", ".hidden"};
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        struct sdt_error err = {.message = ""};
        CHECK(sdt_video_check_path(right[i], false, &err) == SDT_OK, "%s", err.message);
        CHECK(count_entries(".") == 0, "%s: the check left something", right[i]);
    }
#ifndef HAVE_LIBAV
    refused(video, "out.mp4", false, SDT_ERROR_UNSUPPORTED, "without libav");
#endif
}

static void existing(const struct sdt_video *video) {
    struct sdt_error err = {.message = ""};

    for (int i = 0; i < OUTPUTS; i++) {
        CHECK(sdt_video_write(video, outputs[i], false, &err) == SDT_OK, "%s", err.message);
        refused(video, outputs[i], false, SDT_ERROR_USAGE, "--force");
        CHECK(sdt_video_write(video, outputs[i], true, &err) == SDT_OK, "%s", err.message);
    }
    CHECK(count_entries(".") == OUTPUTS, "%d entries", count_entries("."));

    /* A shorter video leaves no frame of the longer one. */
    struct sdt_video less = *video;
    less.frames--;
    CHECK(sdt_video_write(&less, "out", true, &err) == SDT_OK, "%s", err.message);
    CHECK(count_entries("out") == less.frames && count_entries(".") == OUTPUTS, "out: %d frames",
          count_entries("out"));

    /* A folder with anything else in it is not replaced, nor is anything of another kind. */
    touch("out/notes.txt");
    refused(video, "out", true, SDT_ERROR_USAGE, "notes.txt");
    CHECK(count_entries("out") == less.frames + 1, "out was touched");
    unlink("out/notes.txt");
    touch("out/1.png");
    refused(video, "out", true, SDT_ERROR_USAGE, "1.png");
    unlink("out/1.png");
    if (symlink("out", "link") != 0 || mkdir("folder.y4m", 0777) != 0 ||
        symlink("kept.txt", "link.y4m") != 0)
        exit(99);
    refused(video, "link", true, SDT_ERROR_USAGE, "not a folder");
    refused(video, "link/", true, SDT_ERROR_USAGE, "not a folder");
    refused(video, "out.y4m/", true, SDT_ERROR_USAGE, "not a folder");
    refused(video, "folder.y4m", true, SDT_ERROR_USAGE, "not a file");
    /* A link to a file: the link stays, what it leads to is replaced. */
    touch("kept.txt");
    refused(video, "link.y4m", false, SDT_ERROR_USAGE, "--force");
    CHECK(sdt_video_write(video, "link.y4m", true, &err) == SDT_OK, "%s", err.message);
    struct stat info;
    CHECK(lstat("link.y4m", &info) == 0 && S_ISLNK(info.st_mode) &&
              same_bytes("kept.txt", "out.y4m"),
          "link.y4m or what it leads to");
    empty_folder(".");
}

/* What appears between the check and the end of the writing is not replaced either. */
static void meanwhile(const struct sdt_video *video) {
    struct sdt_error err = {.message = ""};
    char *partial = NULL;
    size_t size;

    CHECK(sdt__target_begin("new.y4m", SDT__TARGET_FILE, &partial, &err) == SDT_OK, "%s",
          err.message);
    touch("new.y4m");
    CHECK(sdt__target_commit(partial, "new.y4m", SDT__TARGET_FILE, false, &err) == SDT_ERROR_IO &&
              strstr(err.message, "new.y4m: File exists"),
          "new.y4m: %s", err.message);
    uint8_t *bytes = read_bytes("new.y4m", &size);
    CHECK(bytes && size == 5 && count_entries(".") == 1, "new.y4m was replaced");
    free(bytes);
    empty_folder(".");

    CHECK(sdt_video_write(video, "out", false, &err) == SDT_OK, "%s", err.message);
    CHECK(sdt__target_begin("out", SDT__TARGET_FOLDER, &partial, &err) == SDT_OK, "%s",
          err.message);
    touch("out/notes.txt");
    CHECK(sdt__target_commit(partial, "out", SDT__TARGET_FOLDER, true, &err) == SDT_ERROR_USAGE &&
              strstr(err.message, "notes.txt"),
          "out: %s", err.message);
    CHECK(count_entries("out") == video->frames + 1 && count_entries(".") == 1, "out was replaced");
    empty_folder(".");
}

/* A disk that is full after `limit` bytes of a file. */
static void full(const struct sdt_video *video, const char *path, rlim_t limit) {
    struct sdt_error err = {.message = ""};
    struct rlimit old, small;

    if (getrlimit(RLIMIT_FSIZE, &old) != 0)
        exit(99);
    small = old;
    small.rlim_cur = limit;
    setrlimit(RLIMIT_FSIZE, &small);
    const enum sdt_status status = sdt_video_write(video, path, false, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    CHECK(status == SDT_ERROR_IO && strstr(err.message, path) &&
              strstr(err.message, "File too large"),
          "%s, room for %d bytes: %s, %s", path, (int)limit, sdt_status_name(status), err.message);
    CHECK(count_entries(".") == 0, "%s, room for %d bytes: %d entries left", path, (int)limit,
          count_entries("."));
}

/* The size of a file, or of the largest one in a folder. */
static rlim_t largest_file(const char *path) {
    struct stat info;
    char frame[64];
    rlim_t largest = 0;

    if (stat(path, &info) != 0)
        exit(99);
    if (S_ISREG(info.st_mode))
        return (rlim_t)info.st_size;
    for (int i = 0; i < count_entries(path); i++) {
        snprintf(frame, sizeof frame, "%s/%05d.png", path, i);
        if (stat(frame, &info) == 0 && (rlim_t)info.st_size > largest)
            largest = (rlim_t)info.st_size;
    }
    return largest;
}

static void disk_full(const struct sdt_video *video) {
    struct sdt_error err = {.message = ""};

    for (int i = 0; i < OUTPUTS; i++) {
        CHECK(sdt_video_write(video, outputs[i], false, &err) == SDT_OK, "%s", err.message);
        const rlim_t size = largest_file(outputs[i]);
        empty_folder(".");
        for (rlim_t limit = 0; limit < size; limit = limit * 2 + 10)
            full(video, outputs[i], limit);
        full(video, outputs[i], size - 1); /* the very last byte */
    }
}

static void unwritable(const struct sdt_video *video) {
    const uid_t user = geteuid();

    if (mkdir("locked", 0555) != 0 || mkdir("locked/in", 0777) != 0 || chmod("locked", 0555) != 0)
        exit(99);
    if (user == 0 && seteuid(65534) != 0)
        return; /* root without the right to step down */
    refused(video, "locked/out.y4m", false, SDT_ERROR_USAGE, "Permission denied");
    refused(video, "locked/out", false, SDT_ERROR_USAGE, "Permission denied");
    refused(video, "locked/in", true, SDT_ERROR_USAGE, "Permission denied");
    if (seteuid(user) != 0)
        exit(99);
    chmod("locked", 0777);
    empty_folder(".");
}

int main(void) {
    char folder[] = "refusals-XXXXXX";
    const struct sdt_video video = smooth_video(4, 48, 80, 16.0);
    struct sdt_video bad = video;
    struct sdt_error err;

    signal(SIGXFSZ, SIG_IGN);
    enter_folder(folder);
    names(&video);
    existing(&video);
    meanwhile(&video);
    disk_full(&video);
    unwritable(&video);
    bad.frames = 0;
    CHECK(sdt_video_write(&bad, "none.y4m", false, &err) == SDT_ERROR_USAGE, "no frames");
    bad.frames = 4;
    bad.fps = 0;
    CHECK(sdt_video_write(&bad, "none.y4m", false, &err) == SDT_ERROR_USAGE, "no rate");
    CHECK(count_entries(".") == 0, "something is left");
    free((float *)video.pixels);
    leave_folder(folder);
    return failures != 0;
}
