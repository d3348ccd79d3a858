/* Films through libav: mp4 (H.264 by libx264, or MPEG-4 part 2 where libav was built without it),
 * webm, gif, webp.
 *
 * One thread and the bit-exact flags, so that the same frames give the same bytes; the index is put
 * in front, so that the file plays while it loads. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "graph/output/writer.h"

#ifndef HAVE_LIBAV

/* Always SDT_ERROR_UNSUPPORTED. */
static enum sdt_status check_film(enum sdt__film film, const char *name, struct sdt_error *err) {
    (void)film;
    return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                    "%s: this stardit was built without libav (configure --with-libav); write .y4m "
                    "or a folder of PNG files",
                    name);
}

enum sdt_status sdt__open_film(const struct sdt_video *video, enum sdt__film film,
                               const char *encoder, const char *file, const char *name,
                               void **writer, struct sdt_error *err) {
    (void)video, (void)encoder, (void)file, (void)writer;
    return check_film(film, name, err);
}

enum sdt_status sdt__add_film(void *writer, const struct sdt_video *video, int first, int frames,
                              struct sdt_error *err) {
    (void)writer, (void)video, (void)first, (void)frames, (void)err;
    return SDT_OK;
}

enum sdt_status sdt__close_film(void *writer, bool whole, struct sdt_error *err) {
    (void)writer, (void)whole, (void)err;
    return SDT_OK;
}

#else

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/opt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- libav's log ---------------------------------------------------------------------------- */

/* libav tells reasons only to its log, which is one for the whole process. While this thread writes
 * a video its lines go here; other threads' go where they went. */
static _Thread_local struct log_capture {
    bool active;
    char text[300]; /* the first error, or "" */
} capture;

static void log_line(void *object, int level, const char *format, va_list arguments) {
    if (!capture.active) {
        av_log_default_callback(object, level, format, arguments);
    } else if (level <= AV_LOG_ERROR && !capture.text[0]) {
        vsnprintf(capture.text, sizeof capture.text, format, arguments);
        capture.text[strcspn(capture.text, "\r\n")] = '\0';
    }
}

static void install_log(void) { av_log_set_callback(log_line); }

static void capture_log(bool active) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, install_log);
    capture.active = active;
    capture.text[0] = '\0';
}

/* ---- the file ------------------------------------------------------------------------------- */

/* What each film is made by. */
static const struct recipe {
    const char *muxer, *encoder, *otherwise; /* libav's names; otherwise: or NULL */
    enum AVPixelFormat pixels;
    int longest_side; /* the encoder's limit; MPEG-4 part 2 has a lower one and says so itself */
} recipes[] = {
    [SDT__FILM_MP4] = {"mp4", "libx264", "mpeg4", AV_PIX_FMT_YUV420P, 16384},
    [SDT__FILM_WEBM] = {"webm", "libvpx-vp9", NULL, AV_PIX_FMT_YUV420P, 16384},
    [SDT__FILM_GIF] = {"gif", "gif", NULL, AV_PIX_FMT_PAL8, 65535},
    [SDT__FILM_WEBP] = {"webp", "libwebp_anim", NULL, AV_PIX_FMT_YUV420P, 16383},
};

struct mp4 {
    const char *name;
    const struct recipe *recipe;
    AVFormatContext *format;
    AVCodecContext *codec;
    AVStream *stream;
    AVFrame *picture;
    AVPacket *packet;
    uint8_t *rgb; /* [height, width, 3] */
};

static enum sdt_status fail_av(const struct mp4 *mp4, enum sdt_status status, int code,
                               struct sdt_error *err) {
    char reason[AV_ERROR_MAX_STRING_SIZE] = "";

    av_strerror(code, reason, sizeof reason);
    if (code == AVERROR(ENOMEM))
        status = SDT_ERROR_MEMORY;
    return sdt_fail(err, status, "%s: %s%s%s%s", mp4->name, reason, capture.text[0] ? " (" : "",
                    capture.text, capture.text[0] ? ")" : "");
}

static enum sdt_status find_encoder(const struct recipe *recipe, const char *wanted,
                                    const char *name, const AVCodec **encoder,
                                    struct sdt_error *err) {
    *encoder = avcodec_find_encoder_by_name(wanted ? wanted : recipe->encoder);
    if (!*encoder && !wanted && recipe->otherwise)
        *encoder = avcodec_find_encoder_by_name(recipe->otherwise);
    if (*encoder && av_guess_format(recipe->muxer, NULL, NULL))
        return SDT_OK;
    return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                    "%s: libav has no encoder %s%s%s here; write .y4m or a folder of PNG files",
                    name, wanted ? wanted : recipe->encoder,
                    !wanted && recipe->otherwise ? " or " : "",
                    !wanted && recipe->otherwise ? recipe->otherwise : "");
}

/* SDT_ERROR_UNSUPPORTED where libav has no encoder for this film. */
static enum sdt_status check_film(enum sdt__film film, const char *name, struct sdt_error *err) {
    const AVCodec *encoder;

    return find_encoder(&recipes[film], NULL, name, &encoder, err);
}

/* ---- pictures -------------------------------------------------------------------------------- */

enum { LEVELS = 6 }; /* of each colour in a palette of 216 */

/* Colours of a palette, evenly spaced, as 0xffRRGGBB. */
static void fill_palette(uint32_t *palette /* [256] */) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i < LEVELS * LEVELS * LEVELS ? i : 0;
        palette[i] = UINT32_C(0xff000000) | c / (LEVELS * LEVELS) * 51 << 16 |
                     c / LEVELS % LEVELS * 51 << 8 | c % LEVELS * 51;
    }
}

/* Ordered dithering: the same frame gives the same bytes, and what stands still does not
 * flicker. */
static void rgb_to_palette(int height, int width, const uint8_t *rgb /* [height, width, 3] */,
                           AVFrame *picture) {
    static const int threshold[4][4] = {
        {0, 8, 2, 10}, {12, 4, 14, 6}, {3, 11, 1, 9}, {15, 7, 13, 5}};
    for (int y = 0; y < height; y++) {
        uint8_t *row = picture->data[0] + (ptrdiff_t)y * picture->linesize[0];
        for (int x = 0; x < width; x++, rgb += 3) {
            int index = 0;
            for (int c = 0; c < 3; c++) /* 51 between two levels, in sixteenths */
                index =
                    index * LEVELS + (rgb[c] * 16 + threshold[y % 4][x % 4] * 51 + 25) / (51 * 16);
            row[x] = (uint8_t)index;
        }
    }
    fill_palette((uint32_t *)(void *)picture->data[1]);
}

static enum sdt_status open_encoder(struct mp4 *mp4, const AVCodec *encoder,
                                    const struct sdt_video *video, struct sdt_error *err) {
    AVDictionary *options = NULL;
    int rate, base, code;
    enum sdt_status status = sdt__frame_rate(video->fps, &rate, &base, err);

    if (status != SDT_OK)
        return status;
    if (video->width > mp4->recipe->longest_side || video->height > mp4->recipe->longest_side)
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "%s: %dx%d pixels; %s takes at most %d a side: write .y4m or a folder of "
                        "PNG files",
                        mp4->name, video->width, video->height, mp4->recipe->muxer,
                        mp4->recipe->longest_side);
    AVCodecContext *codec = mp4->codec = avcodec_alloc_context3(encoder);
    if (!codec)
        return fail_av(mp4, SDT_ERROR_MEMORY, AVERROR(ENOMEM), err);
    bool yuv = mp4->recipe->pixels == AV_PIX_FMT_YUV420P; /* which halves both sides */
    codec->width = video->width + (yuv ? video->width % 2 : 0);
    codec->height = video->height + (yuv ? video->height % 2 : 0);
    codec->pix_fmt = mp4->recipe->pixels;
    if (yuv) {
        codec->color_range = AVCOL_RANGE_MPEG;
        codec->color_primaries = AVCOL_PRI_BT709;
        codec->color_trc = AVCOL_TRC_BT709;
        codec->colorspace = AVCOL_SPC_BT709;
        codec->chroma_sample_location = AVCHROMA_LOC_CENTER;
    }
    codec->sample_aspect_ratio = (AVRational){1, 1};
    codec->time_base = (AVRational){base, rate};
    codec->framerate = (AVRational){rate, base};
    codec->thread_count = 1;
    codec->flags |= AV_CODEC_FLAG_BITEXACT;
    if (mp4->format->oformat->flags & AVFMT_GLOBALHEADER)
        codec->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    if (strcmp(encoder->name, "libx264") == 0) {
        av_dict_set(&options, "preset", "medium", 0);
        av_dict_set(&options, "crf", "18", 0);
        /* The same decisions whichever vector instructions the machine has. */
        av_dict_set(&options, "x264-params", "cpu-independent=1", 0);
    } else if (strcmp(encoder->name, "libvpx-vp9") == 0) {
        av_dict_set(&options, "crf", "24", 0);
        av_dict_set(&options, "b", "0", 0);
        av_dict_set(&options, "row-mt", "0", 0);
    } else if (strcmp(encoder->name, "libwebp_anim") == 0) {
        av_dict_set(&options, "quality", "90", 0);
    } else if (strcmp(encoder->name, "gif") != 0) {
        codec->flags |= AV_CODEC_FLAG_QSCALE;
        codec->global_quality = 2 * FF_QP2LAMBDA;
    }
    code = avcodec_open2(codec, encoder, &options);
    av_dict_free(&options);
    if (code < 0)
        return fail_av(mp4, SDT_ERROR_UNSUPPORTED, code, err);
    return SDT_OK;
}

static enum sdt_status open_file(struct mp4 *mp4, struct sdt_error *err) {
    AVDictionary *options = NULL;
    int code;

    mp4->stream = avformat_new_stream(mp4->format, NULL);
    if (!mp4->stream)
        return fail_av(mp4, SDT_ERROR_MEMORY, AVERROR(ENOMEM), err);
    mp4->stream->time_base = mp4->codec->time_base;
    mp4->stream->avg_frame_rate = mp4->codec->framerate;
    mp4->stream->sample_aspect_ratio = mp4->codec->sample_aspect_ratio;
    code = avcodec_parameters_from_context(mp4->stream->codecpar, mp4->codec);
    if (code < 0)
        return fail_av(mp4, SDT_ERROR_IO, code, err);
    code = avio_open(&mp4->format->pb, mp4->format->url, AVIO_FLAG_WRITE);
    if (code < 0)
        return fail_av(mp4, SDT_ERROR_IO, code, err);
    if (mp4->recipe == &recipes[SDT__FILM_MP4])
        av_dict_set(&options, "movflags", "+faststart", 0);
    if (mp4->recipe == &recipes[SDT__FILM_WEBP])
        av_dict_set(&options, "loop", "0", 0);
    code = avformat_write_header(mp4->format, &options);
    av_dict_free(&options);
    if (code < 0)
        return fail_av(mp4, SDT_ERROR_IO, code, err);
    return SDT_OK;
}

/* Encodes one picture (NULL: what is still inside the encoder) and writes what comes out. */
static enum sdt_status encode(struct mp4 *mp4, const AVFrame *picture, struct sdt_error *err) {
    int code = avcodec_send_frame(mp4->codec, picture);

    while (code >= 0) {
        code = avcodec_receive_packet(mp4->codec, mp4->packet);
        if (code == AVERROR(EAGAIN) || code == AVERROR_EOF)
            return SDT_OK;
        if (code < 0)
            break;
        mp4->packet->stream_index = mp4->stream->index;
        mp4->packet->duration = 1;
        av_packet_rescale_ts(mp4->packet, mp4->codec->time_base, mp4->stream->time_base);
        code = av_interleaved_write_frame(mp4->format, mp4->packet);
    }
    return fail_av(mp4, SDT_ERROR_IO, code, err);
}

static enum sdt_status encode_frames(struct mp4 *mp4, const struct sdt_video *video, int first,
                                     int frames, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;

    for (int i = 0; status == SDT_OK && i < frames; i++) {
        const int code = av_frame_make_writable(mp4->picture);
        if (code < 0)
            return fail_av(mp4, SDT_ERROR_MEMORY, code, err);
        struct sdt__yuv420 yuv = {.height = mp4->codec->height, .width = mp4->codec->width};
        for (int c = 0; c < 3 && mp4->recipe->pixels == AV_PIX_FMT_YUV420P; c++) {
            yuv.plane[c] = mp4->picture->data[c];
            yuv.row_stride[c] = mp4->picture->linesize[c];
        }
        sdt__frame_rgb(video, i, mp4->rgb);
        if (mp4->recipe->pixels == AV_PIX_FMT_PAL8)
            rgb_to_palette(video->height, video->width, mp4->rgb, mp4->picture);
        else
            sdt__rgb_to_yuv420(video->height, video->width, mp4->rgb, &yuv);
        mp4->picture->pts = first + i;
        status = encode(mp4, mp4->picture, err);
    }
    return status;
}

static enum sdt_status open_film(struct mp4 *mp4, const struct sdt_video *video,
                                 const char *encoder, const char *file, struct sdt_error *err) {
    const AVCodec *found;
    const size_t size = strlen(file) + sizeof "file:";
    char *url = malloc(size);

    enum sdt_status status = find_encoder(mp4->recipe, encoder, mp4->name, &found, err);
    if (status != SDT_OK) {
        free(url);
        return status;
    }
    mp4->rgb = malloc((size_t)video->height * (size_t)video->width * 3);
    mp4->picture = av_frame_alloc();
    mp4->packet = av_packet_alloc();
    if (!url || !mp4->rgb || !mp4->picture || !mp4->packet) {
        free(url);
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for a frame of %dx%d", mp4->name,
                        video->width, video->height);
    }
    snprintf(url, size, "file:%s", file); /* a colon in a folder's name would read as a protocol */
    int code = avformat_alloc_output_context2(&mp4->format, NULL, mp4->recipe->muxer, url);
    free(url);
    if (code < 0)
        return fail_av(mp4, SDT_ERROR_UNSUPPORTED, code, err);
    mp4->format->flags |= AVFMT_FLAG_BITEXACT;
    if (video->title)
        av_dict_set(&mp4->format->metadata, "title", video->title, 0);
    if (video->comment)
        av_dict_set(&mp4->format->metadata, "comment", video->comment, 0);

    status = open_encoder(mp4, found, video, err);
    if (status != SDT_OK)
        return status;
    mp4->picture->format = mp4->codec->pix_fmt;
    mp4->picture->width = mp4->codec->width;
    mp4->picture->height = mp4->codec->height;
    code = av_frame_get_buffer(mp4->picture, 0);
    if (code < 0)
        return fail_av(mp4, SDT_ERROR_MEMORY, code, err);
    return open_file(mp4, err);
}

/* What is still inside the encoder, and the end of the file. */
static enum sdt_status end_film(struct mp4 *mp4, struct sdt_error *err) {
    enum sdt_status status = encode(mp4, NULL, err);
    if (status != SDT_OK)
        return status;
    int code = av_write_trailer(mp4->format);
    const int closed = avio_closep(&mp4->format->pb); /* a full disk may show only here */
    if (code >= 0)
        code = closed;
    return code < 0 ? fail_av(mp4, SDT_ERROR_IO, code, err) : SDT_OK;
}

static void free_film(struct mp4 *mp4) {
    avcodec_free_context(&mp4->codec);
    if (mp4->format && mp4->format->pb)
        avio_closep(&mp4->format->pb);
    avformat_free_context(mp4->format);
    av_frame_free(&mp4->picture);
    av_packet_free(&mp4->packet);
    free(mp4->rgb);
    free(mp4);
}

enum sdt_status sdt__open_film(const struct sdt_video *video, enum sdt__film film,
                               const char *encoder, const char *file, const char *name,
                               void **writer, struct sdt_error *err) {
    struct mp4 *mp4 = *writer = calloc(1, sizeof *mp4);
    if (!mp4)
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: out of memory", name);
    mp4->name = name;
    mp4->recipe = &recipes[film];
    capture_log(true);
    enum sdt_status status = open_film(mp4, video, encoder, file, err);
    capture_log(false);
    return status;
}

enum sdt_status sdt__add_film(void *writer, const struct sdt_video *video, int first, int frames,
                              struct sdt_error *err) {
    capture_log(true);
    enum sdt_status status = encode_frames(writer, video, first, frames, err);
    capture_log(false);
    return status;
}

enum sdt_status sdt__close_film(void *writer, bool whole, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    if (!writer)
        return SDT_OK;
    capture_log(true);
    if (whole)
        status = end_film(writer, err);
    free_film(writer);
    capture_log(false);
    return status;
}

#endif

enum sdt_status sdt__write_film(const struct sdt_video *video, enum sdt__film film,
                                const char *encoder, const char *file, const char *name,
                                struct sdt_error *err) {
    void *writer = NULL;
    enum sdt_status status = sdt__open_film(video, film, encoder, file, name, &writer, err);
    if (status == SDT_OK)
        status = sdt__add_film(writer, video, 0, video->frames, err);
    enum sdt_status closed = sdt__close_film(writer, status == SDT_OK, err);
    return status == SDT_OK ? closed : status;
}

/* One film of libav's as a format. */
#define FILM(name, film, fps)                                                                      \
    static enum sdt_status check_##name(const char *path, struct sdt_error *err) {                 \
        return check_film(film, path, err);                                                        \
    }                                                                                              \
    static enum sdt_status open_##name(const struct sdt_video *video, const char *file,            \
                                       const char *path, void **writer, struct sdt_error *err) {   \
        return sdt__open_film(video, film, NULL, file, path, writer, err);                         \
    }                                                                                              \
    const struct sdt__format sdt__format_##name = {.ending = "." #name,                            \
                                                   .most_fps = fps,                                \
                                                   .check = check_##name,                          \
                                                   .open = open_##name,                            \
                                                   .add = sdt__add_film,                           \
                                                   .close = sdt__close_film};
FILM(mp4, SDT__FILM_MP4, 0.0)
FILM(webm, SDT__FILM_WEBM, 0.0)
FILM(gif, SDT__FILM_GIF, 100.0) /* which counts hundredths of a second */
FILM(webp, SDT__FILM_WEBP, 0.0)
