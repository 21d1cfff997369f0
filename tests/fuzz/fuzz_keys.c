/* fuzz: lockstep_ui */
/* Any bytes as the input of a terminal, cut into reads of any length: the decoder always goes on,
 * loses no room, says what it took, and a key's name reads back as the same key. */
#include "ui/keys.h"
#include "ui/text_width.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void check_key(const struct key *key)
{
    char name[48];
    struct key again;
    if (key->code <= KEYS_NONE || key->code >= KEYS_CODE_COUNT || key->code == KEYS_HANGUP)
        abort();
    if (key->byte_count < 1 || key->byte_count > KEYS_BYTES)
        abort();
    if (key->code == KEYS_MOUSE && (key->mouse.row < 0 || key->mouse.col < 0))
        abort();
    keys_name(key, name);
    if (strlen(name) == 0 && !key->pasted && key->text[0])
        abort();
    bool printable = key->code != KEYS_TEXT || (unsigned char)key->text[0] > 0x20;
    bool capital = key->code == KEYS_TEXT && key->text[0] >= 'A' && key->text[0] <= 'Z';
    bool named = key->code != KEYS_MOUSE && !(capital && (key->modifiers & KEYS_CONTROL));
    if (key->code == KEYS_TEXT && key->text[0] == 0x7f)
        return;
    if (printable && named && (!keys_parse(name, &again) || !keys_same(key, &again)))
        abort();
}

static void drain(struct keys_decoder *decoder, bool flush)
{
    struct key key;
    while (keys_next(decoder, &key) || (flush && keys_flush(decoder, &key)))
        check_key(&key);
    if (decoder->count < 0 || decoder->count >= KEYS_PENDING)
        abort(); /* no room for a byte: stuck for ever */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct keys_decoder decoder = {0};
    size_t at = 1;
    size_t step = size > 0 ? 1 + data[0] % 16 : 1; /* the first byte says how reads are cut */
    bool pauses = size > 0 && data[0] >= 128;
    while (at < size) {
        size_t count = size - at < step ? size - at : step;
        at += keys_push(&decoder, data + at, count);
        drain(&decoder, pauses);
    }
    drain(&decoder, true);
    /* The same bytes as text to be shown. */
    struct text out = {0};
    int columns = text_width((const char *)data, size);
    if (text_clip(&out, (const char *)data, size, 0, columns) != columns)
        abort();
    text_free(&out);
    return 0;
}
