/* Text as tokens: one token for each byte, between a token that begins and one that ends the
 * document. The model tests use a tokenizer and take its ids modulo the vocabulary, which says
 * as little about language and as much about the computation. */
#include "engine/train/data_source.h"

#include "engine/base/file.h"
#include "engine/base/memory.h"
#include "engine/base/names.h"
#include "engine/train/counter.h"

#include <stdlib.h>
#include <string.h>

extern const char train_text[]; /* configs/data/text.txt, built in */

/* 50256 modulo 384, as in the model tests, where the vocabulary is large enough. */
static int64_t border_token(int64_t vocabulary)
{
    return vocabulary > 336 ? 336 : vocabulary - 1;
}

/* The length of the line at `text`, with its end. */
static size_t line_length(const char *text, size_t left)
{
    const char *end = memchr(text, '\n', left);
    return end ? (size_t)(end - text) + 1 : left;
}

static bool is_blank(const char *line, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (!strchr(" \t\r\n", line[i]) || !line[i])
            return false;
    return true;
}

/* The next document at or after *at: lines up to a blank one, without the last line end. */
static size_t next_document(const char *text, size_t size, size_t *at)
{
    size_t line = 0, length = 0;
    while (*at < size && is_blank(text + *at, line = line_length(text + *at, size - *at)))
        *at += line;
    while (*at + length < size) {
        line = line_length(text + *at + length, size - *at - length);
        if (is_blank(text + *at + length, line))
            break;
        length += line;
    }
    while (length && strchr("\r\n", text[*at + length - 1]) && text[*at + length - 1])
        length--;
    return length;
}

/* Marks up to five disjoint spans of the document's text, as the model tests do: 2n distinct
 * positions, sorted, in pairs [begin, end). Distinct ones by Floyd's algorithm (Bentley, "A sample
 * of brilliance", 1987). */
static void mark_spans(unsigned char *masked, int64_t length, uint64_t key)
{
    int64_t spans = (int64_t)counter_below(key, 0, 6), positions[10];
    if (spans > length / 2)
        spans = length / 2;
    int count = 0;
    for (int64_t last = length - 2 * spans; last < length; last++) {
        int64_t drawn = (int64_t)counter_below(key, (uint64_t)count + 1, (uint64_t)last + 1);
        for (int i = 0; i < count; i++)
            drawn = positions[i] == drawn ? last : drawn;
        int place = count++;
        for (; place > 0 && positions[place - 1] > drawn; place--)
            positions[place] = positions[place - 1];
        positions[place] = drawn;
    }
    for (int i = 0; i < count; i += 2)
        memset(masked + positions[i], 1, (size_t)(positions[i + 1] - positions[i]));
}

static bool tokenize(struct token_source *source, const struct config *config, const char *text,
                     size_t size, struct status *status)
{
    /* Each document has two tokens more than bytes; two bytes at least make a document that is
     * not the last. */
    size_t room = 2 * size + 2, used = 0;
    int32_t *tokens = memory_try(room, sizeof *tokens);
    bool spans = config->data.loss_masking_spans;
    source->owned = tokens;
    source->tokens = (const unsigned char *)tokens;
    source->masked = spans ? memory_try(room, 1) : NULL;
    if (!tokens || (spans && !source->masked))
        return status_fail(status, STATUS_MEMORY, "%s: no memory for %zu tokens", source->path,
                           room);
    uint64_t key = counter_mix(config->data.seed ^ hash_string("masking spans"));
    int64_t vocabulary = config->base_model.vocab_size, capacity = 0;
    for (size_t at = 0, length; (length = next_document(text, size, &at)) > 0; at += length) {
        size_t begin = used;
        tokens[used++] = (int32_t)border_token(vocabulary);
        for (size_t i = 0; i < length; i++)
            tokens[used++] = (int32_t)((unsigned char)text[at + i] % vocabulary);
        tokens[used++] = (int32_t)border_token(vocabulary);
        if (spans)
            mark_spans(source->masked + begin + 1, (int64_t)length,
                       counter_number(key, (uint64_t)source->document_count));
        if (!token_source_add(source, &capacity, begin * 4, (int64_t)(used - begin), status))
            return false;
    }
    return true;
}

bool text_source_open(struct token_source *source, const struct config *config,
                      struct status *status)
{
    const char *path = config->data.path ? config->data.path : "";
    source->width = 4;
    source->is_signed = true;
    source->path = memory_string(*path ? path : "built-in text");
    if (!*path)
        return tokenize(source, config, train_text, strlen(train_text), status);
    size_t size = 0;
    char *text = NULL;
    bool done = file_read(path, SIZE_MAX / 4, &text, &size, status) &&
                tokenize(source, config, text, size, status);
    free(text);
    return done;
}
