/* Finding a checkpoint: what the user calls a model, as a folder in diffusers layout. */
#ifndef STARDIT_FOLDER_H
#define STARDIT_FOLDER_H

#include "stardit/status.h"

/* *folder: malloc'ed path that holds model_index.json; caller frees. `model` is a folder, or
 * "org/name" or "org/name@revision": then the snapshot of that revision (a branch, tag or commit;
 * main, else the newest, where none is given) in the folder that huggingface_hub would use:
 * $HF_HUB_CACHE, $HUGGINGFACE_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub,
 * ~/.cache/huggingface/hub. Refused by name with what to do: single files (.safetensors, .gguf,
 * .pth, .pt, .bin, .ckpt) and folders without model_index.json. */
enum sdt_status sdt_checkpoint_find(const char *model, char **folder, struct sdt_error *err);

/* "<folder>/<name>", malloc'ed; NULL: out of memory. */
char *sdt_checkpoint_path(const char *folder, const char *name);
#endif
