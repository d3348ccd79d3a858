/* What a video's file says of how it was made. */
#include "apps/comment.h"

#include <stdio.h>

#include "config.h"

void app_comment(const struct sdt_request *request, char text[APP_COMMENT]) {
    int length = snprintf(text, APP_COMMENT, "stardit %s", PACKAGE_VERSION);
    if (request->steps > 0)
        snprintf(text + length, APP_COMMENT - (size_t)length,
                 ", seed %llu, %d step%s, guidance %g, flow shift %g, %s",
                 (unsigned long long)request->seed, request->steps, request->steps == 1 ? "" : "s",
                 request->guidance_scale, request->flow_shift,
                 sdt_sampler_kind_name(request->sampler));
}
