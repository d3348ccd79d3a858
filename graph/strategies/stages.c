/* Stages: some of the layers on some of the devices. */
#include "graph/strategies/strategy.h"

int sdt_stages(const struct sdt_layout *layout) { return layout->devices / layout->ulysses; }

int sdt_stage_of(const struct sdt_layout *layout, int layers, int layer) {
    int bounds[SDT_MAX_DEVICES + 1], stages = sdt_stages(layout), stage = 0;
    double speed[SDT_MAX_DEVICES] = {0.0};
    bool alike = true;
    for (int s = 0; s < stages; s++) {
        for (int u = 0; u < layout->ulysses; u++)
            speed[s] += layout->place[s * layout->ulysses + u].speed;
        alike = alike && speed[s] == speed[0];
    }
    sdt_split(layers, stages, alike ? NULL : speed, bounds);
    while (layer >= bounds[stage + 1])
        stage++;
    return stage;
}
