/* Finding a checkpoint: what the user calls a model, as a folder or a file. */
#ifndef STARDIT_FOLDER_H
#define STARDIT_FOLDER_H

#include "stardit/status.h"

/* *folder: malloc'ed path of a folder, or of a .safetensors file; caller frees. `model` is such a
 * path, or "org/name" or "org/name@revision": then the snapshot of that revision (a branch, tag or
 * commit; main, else the newest, where none is given) in the folder that huggingface_hub would use:
 * $HF_HUB_CACHE, $HUGGINGFACE_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub,
 * ~/.cache/huggingface/hub. Other files (.gguf, .pth, .pt, .bin, .ckpt) are refused by name with
 * what to do. */
enum sdt_status sdt_checkpoint_find(const char *model, char **folder, struct sdt_error *err);

/* "<folder>/<name>", malloc'ed; NULL: out of memory. */
char *sdt_checkpoint_path(const char *folder, const char *name);
#endif
