/* What a video's file says of how it was made. */
#ifndef STARDIT_APPS_COMMENT_H
#define STARDIT_APPS_COMMENT_H

#include "stardit/stardit.h"

enum { APP_COMMENT = 400 };
/* "stardit 0.1.0, seed 7, 20 steps, ..." */
void app_comment(const struct sdt_request *request, char text[APP_COMMENT]);
#endif
