/* cuDNN's plans as text, shared by all threads of a process that need them, and kept on disk for
 * later ones: making a plan takes a second or more, reading its text a millisecond. Plain C, in
 * builds without CUDA too; cudnn.cu makes plans of the texts.
 *
 * On disk a plan is a file of its own under <$XDG_CACHE_HOME, else ~/.cache>/stardit/cudnn, named
 * by what it is for: the version of cuDNN, the GPU, and the shape. A file that is missing, cut off,
 * changed, of an older form or for something else is as none: the plan is made anew and the file
 * replaced. A folder that cannot be written to is no failure either. */
#ifndef STARDIT_CUDA_PLANS_H
#define STARDIT_CUDA_PLANS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SDT__PLAN_KEY = 16 }; /* numbers that say what a plan computes */

struct sdt__plans;

/* In `folder` (NULL: in memory alone), which is made when the first plan is kept. NULL: no
 * memory. */
struct sdt__plans *sdt__plans_new(const char *folder);
void sdt__plans_free(struct sdt__plans *plans); /* when no thread uses it; NULL is fine */
/* The folder of this user, malloc'ed; NULL: neither variable is set, or no memory. */
char *sdt__plans_folder(void);

enum sdt__plan_found {
    SDT__PLAN_TEXT,  /* here it is */
    SDT__PLAN_NONE,  /* another thread has found that there is none; the text is the reason */
    SDT__PLAN_WANTED /* the caller makes it, and calls sdt__plans_put() whatever comes of it */
};
/* The plan for a key on `of`, one line that names library and GPU. Waits for a thread that is
 * making it. *text is malloc'ed and ends with a 0; NULL where it is wanted, or without memory. */
enum sdt__plan_found sdt__plans_take(struct sdt__plans *plans, const char *of,
                                     const int64_t key[SDT__PLAN_KEY], char **text, size_t *size);
/* What came of it: a plan as text, or, `none`, why there is none. text NULL: nothing that may be
 * kept (a failure that another try may not meet). `ahead`: nobody waits for it yet. */
void sdt__plans_put(struct sdt__plans *plans, const char *of, const int64_t key[SDT__PLAN_KEY],
                    bool none, const char *text, size_t size, bool ahead, double seconds);
/* Its text was no plan for cuDNN after all: as if there had been no file. */
void sdt__plans_spoiled(struct sdt__plans *plans, const char *of, const int64_t key[SDT__PLAN_KEY]);

/* What has been done so far. */
struct sdt__plans_count {
    int made, ahead, read, none; /* made: those made ahead among them; read: from disk */
    double seconds;              /* that making took */
    char first_none[160];        /* the reason of the first shape without a plan, or "" */
};
struct sdt__plans_count sdt__plans_count(struct sdt__plans *plans);

#ifdef __cplusplus
}
#endif
#endif
