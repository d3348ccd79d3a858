/* Prompt cleaning against Python's html.unescape and re (tests/golden/make_prompt.py). */
#define _GNU_SOURCE
#include "tests/text/check.h"

#include "graph/text/tokenizer.h"

int main(void) {
    json_t *cases = load_cases("tests/golden/prompt/cases.json");
    const json_t *one;
    struct sdt_error err;
    size_t i;

    json_array_foreach(cases, i, one) {
        const char *prompt = json_string_value(json_object_get(one, "prompt"));
        const char *expected = json_string_value(json_object_get(one, "clean"));
        char *cleaned = NULL;

        if (sdt_prompt_clean(prompt, &cleaned, &err) != SDT_OK)
            CHECK(0, "prompt %zu: %s", i, err.message);
        else
            CHECK(strcmp(cleaned, expected) == 0, "prompt %zu: '%s' gives '%s', not '%s'", i,
                  prompt, cleaned, expected);
        free(cleaned);
    }
    CHECK(i > 200, "only %zu prompts", i);

    /* Bytes that are not UTF-8 pass through. */
    char *cleaned = NULL;
    CHECK(sdt_prompt_clean(" \xff\xc2&amp;\xe3\x80 \xc2", &cleaned, &err) == SDT_OK &&
              strcmp(cleaned, "\xff\xc2&\xe3\x80 \xc2") == 0,
          "broken UTF-8 gives '%s'", cleaned);
    free(cleaned);
    json_decref(cases);
    return failures > 0;
}
