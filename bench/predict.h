/* `stardit-bench predict`: how near what a plan predicts is to what a run takes. */
#ifndef STARDIT_BENCH_PREDICT_H
#define STARDIT_BENCH_PREDICT_H

/* argv[0] is "predict". The program's exit code. */
int app_bench_predict(int argc, char **argv);
#endif
