/* The page for people: three files, compiled in, which use nothing but the calls of this server. */
#include "apps/serve/server.h"

/* page_html, page_css, page_js: arrays, made of the files of apps/serve/page. */
#include "apps/serve/page.inc"

enum MHD_Result serve_page_html(struct serve_call *call) {
    return serve_answer_page(call, "text/html; charset=utf-8", page_html, sizeof page_html);
}

enum MHD_Result serve_page_css(struct serve_call *call) {
    return serve_answer_page(call, "text/css; charset=utf-8", page_css, sizeof page_css);
}

enum MHD_Result serve_page_js(struct serve_call *call) {
    return serve_answer_page(call, "text/javascript; charset=utf-8", page_js, sizeof page_js);
}
