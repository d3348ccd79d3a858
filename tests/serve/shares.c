/* Who runs where: a picture of each case. A claim is written as its letter's place in the order,
 * "model slot flags": flags s (stays), l (leaves), a (wants all devices). */
#include "apps/serve/shares.h"

#include <stdio.h>
#include <string.h>

#include "tests/check.h"

struct scene {
    const char *what;
    int shares, window;
    const char *claims; /* "0 - -;0 1 s": model, slot (- none, w all devices), flags */
    const char *want;   /* a slot each: "0 1 -", w: all devices */
};

static int slot_of(char text, int shares) {
    return text == '-' ? SERVE_NOWHERE : text == 'w' ? serve_wide(shares) : text - '0';
}

static void check(const struct scene *c) {
    struct serve_claim claim[16];
    int count = 0;
    for (const char *at = c->claims; at; at = strchr(at, ';') ? strchr(at, ';') + 1 : NULL) {
        const size_t length = strcspn(at, ";");
        claim[count++] = (struct serve_claim){.model = at[0] - '0',
                                              .slot = slot_of(at[2], c->shares),
                                              .stays = memchr(at, 's', length) != NULL,
                                              .leaves = memchr(at, 'l', length) != NULL,
                                              .all = memchr(at, 'a', length) != NULL};
        claim[count - 1].stays |= claim[count - 1].leaves;
    }
    serve_shares_assign(claim, count, c->shares, c->window);
    for (int i = 0; i < count; i++)
        CHECK(claim[i].assigned == slot_of(c->want[2 * i], c->shares),
              "%s: job %d is assigned to %d, not %c", c->what, i, claim[i].assigned,
              c->want[2 * i]);
}

int main(void) {
    static const struct scene cases[] = {
        {"one share, in their order", 1, 2, "0 -;0 -;0 -", "0 0 -"},
        {"one share, an urgent one takes the last one's place", 1, 2, "0 -;0 0;0 0", "0 0 -"},
        {"one share, what is decoded counts", 1, 2, "0 -;0 0 s;0 0", "0 0 -"},
        {"one share, of another model: the first one's alone", 1, 3, "1 -;0 0;1 -", "0 - 0"},
        {"side by side", 2, 3, "0 -;0 -", "0 1"},
        {"each keeps its share", 2, 1, "0 1;0 0", "1 0"},
        {"an urgent one takes the least urgent one's share", 2, 1, "0 -;0 1;0 0", "0 1 -"},
        {"the same with room for both", 2, 2, "0 -;0 1;0 0", "0 1 0"},
        {"more than one a share", 2, 2, "0 -;0 -;0 -;0 -;0 -", "0 1 0 1 -"},
        {"two on one share, and one is free", 2, 2, "0 0;0 0", "0 1"},
        {"a decode leaves its share to the next", 2, 2, "0 0 s;0 -;0 -", "0 1 0"},
        {"what leaves is not counted on", 2, 1, "0 1 l;0 -;0 -", "1 0 -"},
        {"a short deadline has all", 2, 2, "0 - a;0 0;0 1", "w - -"},
        {"what is decoded stays beside", 2, 2, "0 - a;0 0 s;0 1", "w 0 -"},
        {"all devices are kept by the first", 2, 2, "0 w;0 -;0 -", "w - -"},
        {"and lost to a more urgent one", 2, 2, "0 -;0 w", "0 1"},
        {"one that needs all waits for its turn", 2, 2, "0 -;0 - a;0 -", "0 - 1"},
        {"one model at a time", 3, 2, "1 -;0 0;1 -;0 1 s", "0 - 2 1"},
        {"nobody", 2, 2, "0 0 s", "0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check(&cases[i]);
    printf("%zu cases: %s\n", sizeof cases / sizeof cases[0], failures ? "FAIL" : "ok");
    return failures ? 1 : 0;
}
