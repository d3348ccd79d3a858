/* The options that say which checkpoint: a model, and files in place of its components. */
#ifndef STARDIT_APPS_MODEL_H
#define STARDIT_APPS_MODEL_H

#include "apps/options.h"

/* Lines of a table; `at(field)` is where a field of struct sdt_model_files goes. */
#define APP_MODEL_FILES(at)                                                                        \
    APP_STRING_OPTION("transformer", "FILE", at(transformer),                                      \
                      "a .safetensors file (diffusers', the original's or ComfyUI's names) or a "  \
                      "folder in place of the model's transformer"),                               \
        APP_STRING_OPTION("vae", "FILE", at(vae), "the same in place of its VAE"),                 \
        APP_STRING_OPTION("text-encoder", "FILE", at(text_encoder),                                \
                          "the same in place of its text encoder"),                                \
        APP_STRING_OPTION("text-encoder-2", "FILE", at(text_encoder_2),                            \
                          "the same in place of its second text encoder, where it has one")
#endif
