/* `stardit-bench quality`: do the demo's videos show what their captions say? */
#ifndef STARDIT_APPS_BENCH_QUALITY_H
#define STARDIT_APPS_BENCH_QUALITY_H

/* argv[0] is "quality". The program's exit code. */
int app_bench_quality(int argc, char **argv);
#endif
