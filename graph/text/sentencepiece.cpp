/* libsentencepiece behind C functions: the only C++ of stardit on a CPU. No exception leaves this
 * file, and no name of the library's API beyond what has been stable since 0.1.95 is used. */
#include "graph/text/sentencepiece.h"

#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include <sentencepiece_processor.h>

struct sdt__sentencepiece {
    sentencepiece::SentencePieceProcessor processor;
};

enum sdt_status sdt__sentencepiece_open(const char *shown, const void *model, size_t size,
                                        struct sdt__sentencepiece **result, struct sdt_error *err) {
    struct sdt__sentencepiece *opened = nullptr;

    *result = nullptr;
    try {
        opened = new sdt__sentencepiece;
        const auto status = opened->processor.LoadFromSerializedProto(
            absl::string_view(static_cast<const char *>(model), size));
        if (status.ok()) {
            *result = opened;
            return SDT_OK;
        }
        delete opened;
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: sentencepiece refuses the model: %s", shown,
                        status.ToString().c_str());
    } catch (const std::bad_alloc &) {
        delete opened;
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for the tokenizer", shown);
    } catch (const std::exception &problem) {
        delete opened;
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: sentencepiece refuses the model: %s", shown,
                        problem.what());
    } catch (...) {
        delete opened;
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: sentencepiece refuses the model", shown);
    }
}

void sdt__sentencepiece_close(struct sdt__sentencepiece *model) { delete model; }

int sdt__sentencepiece_pieces(const struct sdt__sentencepiece *model) {
    return model->processor.GetPieceSize();
}

int sdt__sentencepiece_id(const struct sdt__sentencepiece *model, const char *piece) {
    try {
        /* An unknown piece gives the id of <unk>. */
        const int id = model->processor.PieceToId(piece);
        return model->processor.IdToPiece(id) == piece ? id : -1;
    } catch (...) {
        return -1;
    }
}

enum sdt_status sdt__sentencepiece_encode(const struct sdt__sentencepiece *model, const char *text,
                                          size_t length, int32_t **ids, size_t *count,
                                          struct sdt_error *err) {
    *ids = nullptr;
    *count = 0;
    try {
        std::vector<int> found;
        const auto status = model->processor.Encode(absl::string_view(text, length), &found);
        if (!status.ok())
            return sdt_fail(err, SDT_ERROR_FORMAT, "sentencepiece cannot encode the prompt: %s",
                            status.ToString().c_str());
        if (found.empty())
            return SDT_OK;
        *ids = static_cast<int32_t *>(std::malloc(found.size() * sizeof **ids));
        if (*ids == nullptr)
            throw std::bad_alloc();
        for (size_t i = 0; i < found.size(); i++)
            (*ids)[i] = found[i];
        *count = found.size();
        return SDT_OK;
    } catch (const std::bad_alloc &) {
        return sdt_fail(err, SDT_ERROR_MEMORY, "no memory to encode a prompt of %zu bytes", length);
    } catch (const std::exception &problem) {
        return sdt_fail(err, SDT_ERROR_FORMAT, "sentencepiece cannot encode the prompt: %s",
                        problem.what());
    } catch (...) {
        return sdt_fail(err, SDT_ERROR_FORMAT, "sentencepiece cannot encode the prompt");
    }
}
