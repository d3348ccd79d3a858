/* mp4 files read back through libav: size, number of frames, rate, colours, and how near the
 * pictures are to what went in. */
#define _GNU_SOURCE

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#ifndef HAVE_LIBAV

int main(void) { return 77; }

#else

#include "graph/output/writer.h"
#include "tests/output/check.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

/* The squared error of a decoded picture against frame `t`, in 255ths, over all channels. */
static double squared_error(const struct sdt_video *video, int t, const AVFrame *picture) {
    double sum = 0;
    const float *p = video->pixels + (size_t)t * (size_t)(video->height * video->width * 3);

    for (int i = 0; i < video->height; i++)
        for (int j = 0; j < video->width; j++, p += 3) {
            const double y = (picture->data[0][i * picture->linesize[0] + j] - 16) / 219.;
            const double cb = (picture->data[1][i / 2 * picture->linesize[1] + j / 2] - 128) / 224.;
            const double cr = (picture->data[2][i / 2 * picture->linesize[2] + j / 2] - 128) / 224.;
            const double r = y + 1.5748 * cr, b = y + 1.8556 * cb;
            const double rgb[3] = {r, (y - 0.2126 * r - 0.0722 * b) / 0.7152, b};
            for (int c = 0; c < 3; c++) {
                const double difference = 255 * (rgb[c] - ((double)p[c] / 2 + 0.5));
                sum += difference * difference;
            }
        }
    return sum;
}

/* Where a box of the mp4 begins; 0: there is none. */
static size_t find_box(const char *path, const char *box) {
    size_t size, found = 0;
    uint8_t *bytes = read_bytes(path, &size);

    for (size_t at = 0; bytes && found == 0 && at + 8 <= size;) {
        const size_t length = (size_t)bytes[at] << 24 | (size_t)bytes[at + 1] << 16 |
                              (size_t)bytes[at + 2] << 8 | bytes[at + 3];
        if (!memcmp(bytes + at + 4, box, 4))
            found = at;
        at += length < 8 ? size : length;
    }
    free(bytes);
    return found;
}

static void read_back(const char *path, const struct sdt_video *video, const char *decoder,
                      int numerator, int denominator) {
    AVFormatContext *format = NULL;
    AVCodecContext *codec = NULL;
    AVPacket *packet = av_packet_alloc();
    AVFrame *picture = av_frame_alloc();
    int frames = 0, code;
    double sum = 0;

    if (avformat_open_input(&format, path, NULL, NULL) < 0 ||
        avformat_find_stream_info(format, NULL) < 0 || format->nb_streams != 1) {
        CHECK(0, "%s: not a file with one stream", path);
        goto end;
    }
    const AVCodecParameters *parameters = format->streams[0]->codecpar;
    const AVCodec *found = avcodec_find_decoder(parameters->codec_id);
    CHECK(strcmp(avcodec_get_name(parameters->codec_id), decoder) == 0, "%s: codec %s", path,
          avcodec_get_name(parameters->codec_id));
    CHECK(parameters->width == video->width + video->width % 2 &&
              parameters->height == video->height + video->height % 2,
          "%s: %dx%d", path, parameters->width, parameters->height);
    CHECK(av_cmp_q(format->streams[0]->avg_frame_rate, (AVRational){numerator, denominator}) == 0,
          "%s: %d/%d frames per second", path, format->streams[0]->avg_frame_rate.num,
          format->streams[0]->avg_frame_rate.den);
    CHECK(parameters->color_space == AVCOL_SPC_BT709 &&
              parameters->color_range == AVCOL_RANGE_MPEG &&
              parameters->color_primaries == AVCOL_PRI_BT709,
          "%s: colours are not marked as BT.709", path);
    CHECK(format->streams[0]->nb_frames == video->frames, "%s: index of %lld frames", path,
          (long long)format->streams[0]->nb_frames);
    const double seconds = (double)format->duration / AV_TIME_BASE;
    const double expected = video->frames * (double)denominator / numerator;
    CHECK(fabs(seconds - expected) < 2e-3, "%s: lasts %g s, expected %g", path, seconds, expected);

    codec = avcodec_alloc_context3(found);
    if (!found || !codec || avcodec_parameters_to_context(codec, parameters) < 0 ||
        avcodec_open2(codec, found, NULL) < 0) {
        CHECK(0, "%s: no decoder", path);
        goto end;
    }
    do {
        code = av_read_frame(format, packet);
        if (avcodec_send_packet(codec, code < 0 ? NULL : packet) < 0)
            break;
        av_packet_unref(packet);
        while (avcodec_receive_frame(codec, picture) == 0) {
            if (frames < video->frames)
                sum += squared_error(video, frames, picture);
            frames++;
        }
    } while (code >= 0);
    CHECK(frames == video->frames, "%s: %d frames, expected %d", path, frames, video->frames);
    const double values = 3.0 * video->frames * video->height * video->width;
    const double psnr = 10 * log10(255. * 255. * values / sum);
    CHECK(psnr > 30, "%s: PSNR %g dB", path, psnr);
    printf("%-12s %s %dx%d, %d frames, %.1f dB\n", path, decoder, parameters->width,
           parameters->height, frames, psnr);
    CHECK(find_box(path, "moov") > 0 && find_box(path, "moov") < find_box(path, "mdat"),
          "%s: the index is not in front", path);
    /* Which version of libav wrote it must not show. */
    size_t size;
    uint8_t *bytes = read_bytes(path, &size);
    CHECK(bytes && !memmem(bytes, size, "Lavf", 4) && !memmem(bytes, size, "Lavc", 4),
          "%s: names the version of libav", path);
    free(bytes);
end:
    avcodec_free_context(&codec);
    avformat_close_input(&format);
    av_packet_free(&packet);
    av_frame_free(&picture);
}

int main(void) {
    static const struct {
        int frames, height, width;
        double fps;
        int numerator, denominator;
    } cases[] = {
        {17, 96, 160, 16, 16, 1},
        {1, 64, 64, 24, 24, 1},
        {5, 47, 61, 23.976, 24000, 1001},
        {3, 1, 1, 12.5, 25, 2},
    };
    char folder[] = "mp4-XXXXXX", path[64], again[64];
    struct sdt_error err = {.message = ""};
    const char *main_decoder = avcodec_find_encoder_by_name("libx264") ? "h264" : "mpeg4";

    enter_folder(folder);
    if (mkdir("a:b", 0777) != 0)
        return 99;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct sdt_video video =
            smooth_video(cases[i].frames, cases[i].height, cases[i].width, cases[i].fps);
        snprintf(path, sizeof path, "%zu.mp4", i);
        snprintf(again, sizeof again, "a:b/%zu.mp4", i); /* the colon is no protocol */
        CHECK(sdt_video_write(&video, path, false, &err) == SDT_OK, "%s", err.message);
        read_back(path, &video, main_decoder, cases[i].numerator, cases[i].denominator);
        CHECK(sdt_video_write(&video, again, false, &err) == SDT_OK, "%s", err.message);
        CHECK(same_bytes(path, again), "%s: other bytes the second time", path);

        /* What is used where libx264 is missing. */
        snprintf(path, sizeof path, "%zu-part2.mp4", i);
        CHECK(sdt__write_film(&video, SDT__FILM_MP4, "mpeg4", path, path, &err) == SDT_OK, "%s",
              err.message);
        read_back(path, &video, "mpeg4", cases[i].numerator, cases[i].denominator);
        free((float *)video.pixels);
    }

    /* libav's reasons come back as text and do not go to the terminal. */
    struct sdt_video video = smooth_video(1, 2, 20000, 16);
    video.width = 9000;
    const int saved = dup(STDERR_FILENO);
    if (saved < 0 || !freopen("stderr.txt", "w", stderr))
        return 99;
    const enum sdt_status status =
        sdt__write_film(&video, SDT__FILM_MP4, "mpeg4", "wide.mp4", "wide.mp4", &err);
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    size_t size;
    uint8_t *text = read_bytes("stderr.txt", &size);
    CHECK(text && size == 0, "libav wrote to the terminal: %.*s", (int)size, (char *)text);
    free(text);
    printf("9000 columns: %s\n", err.message);
    CHECK(status == SDT_ERROR_UNSUPPORTED && strstr(err.message, "wide.mp4") &&
              strstr(err.message, "dimensions"),
          "a video of 9000 columns: %s, %s", sdt_status_name(status), err.message);
    video.width = 20000;
    CHECK(sdt_video_write(&video, "wide.mp4", false, &err) == SDT_ERROR_UNSUPPORTED &&
              strstr(err.message, "20000") && access("wide.mp4", F_OK) != 0,
          "a video of 20000 columns: %s", err.message);
    CHECK(sdt__write_film(&video, SDT__FILM_MP4, "no-such-encoder", "x.mp4", "x.mp4", &err) ==
                  SDT_ERROR_UNSUPPORTED &&
              strstr(err.message, "no-such-encoder"),
          "an unknown encoder: %s", err.message);
    free((float *)video.pixels);
    leave_folder(folder);
    return failures != 0;
}

#endif
