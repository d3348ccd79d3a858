/* Printing GPUs. NVLink is what hwloc knows of it, which takes its NVML plugin; peer access is
 * CUDA's word. */
#include "apps/info_gpus.h"

#include <stdio.h>

#include <hwloc/distances.h>

/* -1: hwloc does not know the card. */
static int numa_node(hwloc_topology_t topology, const struct sdt_gpu *gpu) {
    hwloc_obj_t card = hwloc_get_pcidev_by_busidstring(topology, gpu->bus);
    hwloc_obj_t place = card ? hwloc_get_non_io_ancestor_obj(topology, card) : NULL;
    return place && place->nodeset ? hwloc_bitmap_first(place->nodeset) : -1;
}

/* The card of an object of a distance matrix. */
static hwloc_obj_t card_of(hwloc_obj_t object) {
    while (object && object->type != HWLOC_OBJ_PCI_DEVICE)
        object = object->parent;
    return object;
}

/* MB/s over NVLink, as hwloc has it from NVML; 0: none, or not known. */
static double nvlink(hwloc_topology_t topology, const struct sdt_gpu *from,
                     const struct sdt_gpu *to) {
    struct hwloc_distances_s *distances = NULL;
    unsigned number = 1;
    double bandwidth = 0.0;
    if (hwloc_distances_get_by_name(topology, "NVLinkBandwidth", &number, &distances, 0) ||
        number < 1)
        return 0.0;
    hwloc_obj_t a = hwloc_get_pcidev_by_busidstring(topology, from->bus);
    hwloc_obj_t b = hwloc_get_pcidev_by_busidstring(topology, to->bus);
    for (unsigned i = 0; i < distances->nbobjs; i++)
        for (unsigned j = 0; a && b && j < distances->nbobjs; j++)
            if (i != j && card_of(distances->objs[i]) == a && card_of(distances->objs[j]) == b)
                bandwidth = (double)distances->values[i * distances->nbobjs + j];
    hwloc_distances_release(topology, distances);
    return bandwidth;
}

static void print_links(hwloc_topology_t topology, const struct sdt_gpus *gpus, int from) {
    bool first = true;
    printf("                ");
    for (int to = 0; to < gpus->count; to++) {
        if (to == from)
            continue;
        double bandwidth = nvlink(topology, &gpus->gpu[from], &gpus->gpu[to]);
        printf("%scuda:%d ", first ? "to " : ", ", to);
        if (bandwidth > 0.0)
            printf("by NVLink, %.0f GB/s", bandwidth * 1e-3);
        else
            printf("%s", sdt__gpu_reaches(from, to) ? "directly" : "through the host");
        first = false;
    }
    printf("\n");
}

void app_info_gpus(hwloc_topology_t topology, const struct sdt_gpus *gpus) {
    if (!gpus->count)
        printf("GPUs:         none: %s\n", gpus->why);
    for (int g = 0; g < gpus->count; g++) {
        const struct sdt_gpu *gpu = &gpus->gpu[g];
        double available = (double)sdt__gpu_free(g);
        int node = numa_node(topology, gpu);
        printf("%scuda:%d: %s, %.1f GB", g ? "              " : "GPUs:         ", g, gpu->name,
               (double)gpu->total_bytes * 1e-9);
        if (available > 0.0)
            printf(" (%.1f free)", available * 1e-9);
        printf(", compute capability %d.%d%s, %d multiprocessors, PCI %s", gpu->major, gpu->minor,
               gpu->major < 8 ? " (8.0 is needed)" : "", gpu->multiprocessors, gpu->bus);
        if (node >= 0)
            printf(", NUMA node %d", node);
        printf("; auto: %s\n", gpus->count == 1      ? "denoises and decodes"
                               : g < gpus->count - 1 ? "denoises"
                                                     : "decodes");
        if (gpus->count > 1)
            print_links(topology, gpus, g);
    }
    if (gpus->all > gpus->count && gpus->count)
        printf("              %d more, which this StarPU has no room for\n",
               gpus->all - gpus->count);
    if (gpus->count > 1)
        printf("              (auto, --vae-devices auto: for a usual request; --model DIR computes "
               "its own)\n");
}

static void print_version(const char *name, const char *version, const char *why) {
    printf(", %s %s", name, version ? version : why);
}

void app_info_libraries(void) {
    char text[300];
    const char *why, *runtime = sdt__cuda_runtime(text, sizeof text);
    if (!runtime)
        return;
    printf("CUDA:         runtime %s", runtime);
    print_version("driver for CUDA", sdt__cuda_driver(text, sizeof text), "-: there is none");
    const char *version = sdt__cudnn_version(text, sizeof text, &why);
    print_version("cuDNN", version, why);
    version = sdt__nccl_version(text, sizeof text, &why);
    print_version("NCCL", version, why);
    printf("\n");
}
