/* The status table's texts, and the one function that fills an error. */
#include "stardit/status.h"

#include <stdarg.h>
#include <stdio.h>

const char *sdt_status_name(enum sdt_status status) {
    switch (status) {
#define SDT_STATUS_NAME(name, exit_code, meaning)                                                  \
    case SDT_##name:                                                                               \
        return "SDT_" #name;
        SDT_STATUS_TABLE(SDT_STATUS_NAME)
    }
    return "SDT_UNKNOWN";
}

const char *sdt_status_meaning(enum sdt_status status) {
    switch (status) {
#define SDT_STATUS_MEANING(name, exit_code, meaning)                                               \
    case SDT_##name:                                                                               \
        return meaning;
        SDT_STATUS_TABLE(SDT_STATUS_MEANING)
    }
    return "unknown status";
}

int sdt_status_exit_code(enum sdt_status status) {
    switch (status) {
#define SDT_STATUS_EXIT(name, exit_code, meaning)                                                  \
    case SDT_##name:                                                                               \
        return exit_code;
        SDT_STATUS_TABLE(SDT_STATUS_EXIT)
    }
    return 1;
}

enum sdt_status sdt_fail(struct sdt_error *err, enum sdt_status status, const char *format, ...) {
    if (err) {
        va_list args;
        va_start(args, format);
        vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
        for (unsigned char *c = (unsigned char *)err->message; *c; c++)
            if (*c < 0x20 || *c == 0x7f)
                *c = '?';
        err->status = status;
    }
    return status;
}
