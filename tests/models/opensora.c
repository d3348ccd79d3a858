/* Open-Sora-Plan 1.3 as published, from its configuration alone: parameters, work, and which layers
 * attend in groups. */
#include <math.h>
#include <stdio.h>

#include "graph/models/family.h"
#include "tests/check.h"

int main(void) {
    const struct sdt_family *family;
    const struct sdt_size *size;
    struct sdt_dit *dit = NULL;
    struct sdt_text *text = NULL;
    struct sdt_error err;
    const double s = 21120.0, words = 512.0, d = 2304.0; /* 93 frames of 352x640 */

    if (!sdt_size_find("open-sora-plan-1.3", &family, &size) ||
        sdt_dit_imagine(size->dit, 0, SDT_F32, &dit, &err) != SDT_OK ||
        sdt_text_imagine(size->text[0], SDT_F32, &text, &err) != SDT_OK) {
        fprintf(stderr, "no such size: %s\n", err.message);
        return 1;
    }
    double count = (double)sdt_weights_parameters(dit->weights);
    CHECK(count == 2771981600.0, "%.0f parameters", count);
    double encoder = (double)sdt_weights_parameters(text->weights);
    CHECK(fabs(encoder - 5.66e9) < 0.01e9, "%.0f parameters of mT5-XXL's encoder", encoder);

    struct sdt_work work = dit->kind->work(dit, (int64_t)s, (int)words);
    double linear = 32.0 * (28.0 * d * d * s + 4.0 * s * words * d);
    double attention = 4.0 * 4.0 * s * s * d + 28.0 * 4.0 * s * s * d / 4.0;
    CHECK(work.linear == linear && work.attention == attention, "%g and %g FLOPs, not %g and %g",
          work.linear, work.attention, linear, attention);
    printf("%.0f parameters; %.0f + %.0f TFLOP a forward; %.0f of the encoder\n", count,
           1e-12 * linear, 1e-12 * attention, encoder);

    for (int l = 0; l < dit->layers; l++) {
        struct sdt_token_groups g = sdt_dit_groups(dit, l);
        bool sparse = l >= 2 && l < 30;
        CHECK(g.count == (sparse ? 4 : 1) && (!sparse || g.run == (l % 2 ? 4 : 1)),
              "layer %d: %d groups, runs of %d", l, g.count, g.run);
    }
    /* A group's members, counted and found, are the tokens that the definition says. */
    const struct sdt_token_groups g = {4, 3, 0, 0};
    for (int group = 0; group < g.count; group++)
        for (int64_t n = 0, members = 0; n < 100; n++) {
            CHECK(sdt_group_members(&g, group, n) == members, "members before token %d", (int)n);
            if (n / g.run % g.count != group)
                continue;
            CHECK(sdt_group_token(&g, group, members) == n, "member %d", (int)members);
            members++;
        }
    sdt_text_close(text);
    sdt_dit_close(dit);
    return failures != 0;
}
