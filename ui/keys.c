/* One function, decode(), looks at the pending bytes and answers: a key of n bytes, or "need
 * more". It never keeps anything between calls but the two flags in the decoder, so the split of
 * the input into reads cannot change the keys. */
#include "ui/keys.h"

#include "ui/text_width.h"

#include "engine/base/unicode.h"

#include <stdio.h>
#include <string.h>

enum { ESC = 0x1b, SEQUENCE_LIMIT = 256, PARAMETER_LIMIT = 9999 };

/* The bytes to look at; `final`: no more will come. */
struct input {
    const unsigned char *bytes;
    int count;
    bool final;
};

/* A parsed control sequence: ESC [ prefix parameters final */
struct sequence {
    unsigned char prefix; /* '<', '=', '>', '?' or 0 */
    int parameters[4];
    int parameter_count;
    unsigned char final;
    int length; /* in bytes, with the introducer */
};

static void key_text(struct key *key, const void *bytes, size_t length)
{
    key->code = KEYS_TEXT;
    memcpy(key->text, bytes, length);
    key->text[length] = '\0';
}

/* xterm's modifier parameter: 1 + (shift 1, alt 2, control 4, meta 8). */
static unsigned modifiers_of(int parameter)
{
    if (parameter < 2 || parameter > 256)
        return 0;
    unsigned bits = (unsigned)parameter - 1;
    return (bits & 7u) | (bits & 8u ? KEYS_ALT : 0u);
}

/* Control characters that are keys of their own, and ctrl-letter. */
static void decode_control(unsigned char byte, struct key *key)
{
    char letter;
    switch (byte) {
    case '\r':
    case '\n':
        key->code = KEYS_ENTER;
        return;
    case '\t':
        key->code = KEYS_TAB;
        return;
    case ESC:
        key->code = KEYS_ESCAPE;
        return;
    case 0x08:
    case 0x7f:
        key->code = KEYS_BACKSPACE;
        return;
    case 0:
        letter = ' ';
        break;
    default:
        letter = (char)(byte < 0x1b ? byte + 0x60 : byte + 0x40);
    }
    key_text(key, &letter, 1);
    key->modifiers |= KEYS_CONTROL;
}

/* Bytes that a UTF-8 character starting with `first` has, 1 for anything else. */
static int character_length(unsigned char first)
{
    if (first >= 0xc2 && first <= 0xdf)
        return 2;
    if (first >= 0xe0 && first <= 0xef)
        return 3;
    return first >= 0xf0 && first <= 0xf4 ? 4 : 1;
}

static int decode_character(struct input in, struct key *key)
{
    int32_t character;
    int available = in.count;
    int needed = character_length(in.bytes[0]);
    int length = (int)unicode_decode((const char *)in.bytes, (size_t)available, &character);
    if (character >= 0) {
        key_text(key, in.bytes, (size_t)length);
        return length;
    }
    bool may_grow = available < needed && !in.final;
    for (int i = 1; i < available && i < needed; i++)
        may_grow = may_grow && (in.bytes[i] & 0xc0) == 0x80;
    if (may_grow)
        return 0;
    key->code = KEYS_UNKNOWN;
    return 1;
}

static int decode_plain(struct input in, struct key *key)
{
    if (in.bytes[0] < 0x20 || in.bytes[0] == 0x7f) {
        decode_control(in.bytes[0], key);
        return 1;
    }
    return decode_character(in, key);
}

/* Parses ESC [ ... at the start of the bytes. Returns 1 if complete, 0 if more is needed, -1 if the
 * bytes break off (sequence->length then counts the bytes to throw away). */
static int parse_sequence(struct input in, struct sequence *sequence)
{
    int at = 2;
    *sequence = (struct sequence){0};
    if (at < in.count && in.bytes[at] >= '<' && in.bytes[at] <= '?')
        sequence->prefix = in.bytes[at++];
    bool digits = false;
    for (; at < in.count; at++) {
        unsigned char byte = in.bytes[at];
        int index = sequence->parameter_count;
        if (byte >= '0' && byte <= '9') {
            digits = true;
            if (index < 4 && sequence->parameters[index] < PARAMETER_LIMIT)
                sequence->parameters[index] = sequence->parameters[index] * 10 + (byte - '0');
        } else if (byte == ';' || byte == ':') {
            sequence->parameter_count += index < 4;
            digits = false;
        } else if (byte >= 0x40 && byte <= 0x7e) {
            sequence->parameter_count += (digits || index > 0) && index < 4;
            sequence->final = byte;
            sequence->length = at + 1;
            return 1;
        } else if (byte == '$') { /* rxvt ends shifted keys with it */
            sequence->parameter_count += digits && index < 4;
            sequence->final = byte;
            sequence->length = at + 1;
            return 1;
        } else if (byte < 0x20 || byte > 0x2f) {
            sequence->length = at; /* a control character or 8 bit: not ours to eat */
            return -1;
        }
    }
    sequence->length = in.count;
    return in.final ? -1 : 0;
}

static enum keys_code code_of_letter(unsigned char final)
{
    switch (final) {
    case 'A':
        return KEYS_UP;
    case 'B':
        return KEYS_DOWN;
    case 'C':
        return KEYS_RIGHT;
    case 'D':
        return KEYS_LEFT;
    case 'E':
        return KEYS_BEGIN;
    case 'F':
        return KEYS_END;
    case 'H':
        return KEYS_HOME;
    case 'I':
        return KEYS_FOCUS_IN;
    case 'O':
        return KEYS_FOCUS_OUT;
    case 'M':
        return KEYS_ENTER;
    case 'P':
    case 'Q':
    case 'R':
    case 'S':
        return (enum keys_code)(KEYS_F1 + (final - 'P'));
    default:
        return KEYS_UNKNOWN;
    }
}

/* VT220: ESC [ number ~ */
static enum keys_code code_of_number(int number)
{
    static const unsigned char functions[] = {
        /* 11.. */ 1,  2,  3, 4,  5,  0, 6,  7,  8,  9, 10, 0, 11, 12,
        /* 25.. */ 13, 14, 0, 15, 16, 0, 17, 18, 19, 20};
    static const enum keys_code editing[] = {KEYS_UNKNOWN,   KEYS_HOME, KEYS_INSERT,
                                             KEYS_DELETE,    KEYS_END,  KEYS_PAGE_UP,
                                             KEYS_PAGE_DOWN, KEYS_HOME, KEYS_END};
    if (number >= 1 && number <= 8)
        return editing[number];
    if (number >= 11 && number <= 34 && functions[number - 11])
        return (enum keys_code)(KEYS_F1 + functions[number - 11] - 1);
    if (number == 200 || number == 201)
        return number == 200 ? KEYS_PASTE_BEGIN : KEYS_PASTE_END;
    return KEYS_UNKNOWN;
}

/* A key given by its character number: CSI number;modifiers u, CSI 27;modifiers;number ~ */
static void decode_numbered(int number, int modifiers, struct key *key)
{
    key->modifiers = modifiers_of(modifiers);
    if (number < 0x20 || number == 0x7f) {
        decode_control((unsigned char)number, key);
        return;
    }
    char bytes[4];
    size_t length = 0;
    if (number < 0x80) {
        bytes[length++] = (char)number;
    } else if (number < 0x800) {
        bytes[length++] = (char)(0xc0 | number >> 6);
        bytes[length++] = (char)(0x80 | (number & 0x3f));
    } else if (number < 0xd800) {
        bytes[length++] = (char)(0xe0 | number >> 12);
        bytes[length++] = (char)(0x80 | (number >> 6 & 0x3f));
        bytes[length++] = (char)(0x80 | (number & 0x3f));
    } else {
        key->code = KEYS_UNKNOWN;
        return;
    }
    key_text(key, bytes, length);
    if (number != ' ')
        key->modifiers &= ~(unsigned)KEYS_SHIFT; /* the character says it already */
}

/* Button number of xterm: bits 0-1 button, 2 shift, 3 alt, 4 control, 5 motion, 6 wheel. */
static void decode_mouse(int button, int col, int row, bool release, struct key *key)
{
    static const enum keys_button buttons[] = {KEYS_BUTTON_LEFT, KEYS_BUTTON_MIDDLE,
                                               KEYS_BUTTON_RIGHT, KEYS_BUTTON_NONE};
    key->code = KEYS_MOUSE;
    key->modifiers = (button & 4 ? (unsigned)KEYS_SHIFT : 0u) |
                     (button & 8 ? (unsigned)KEYS_ALT : 0u) |
                     (button & 16 ? (unsigned)KEYS_CONTROL : 0u);
    key->mouse.row = row > 0 ? row - 1 : 0;
    key->mouse.col = col > 0 ? col - 1 : 0;
    key->mouse.button = buttons[button & 3];
    key->mouse.action = button & 32 ? KEYS_DRAG : release ? KEYS_RELEASE : KEYS_PRESS;
    if ((button & 64) && (button & 3) < 2)
        key->mouse.button = button & 1 ? KEYS_WHEEL_DOWN : KEYS_WHEEL_UP;
    else if (button & (64 | 128))
        key->code = KEYS_UNKNOWN; /* sideways wheel, extra buttons */
}

/* rxvt: ^ control, $ shift, @ both; small letters are shifted arrows. */
static bool decode_rxvt(const struct sequence *sequence, struct key *key)
{
    unsigned char final = sequence->final;
    if (final >= 'a' && final <= 'd' && sequence->parameter_count == 0) {
        key->code = code_of_letter((unsigned char)(final - 'a' + 'A'));
        key->modifiers = KEYS_SHIFT;
        return true;
    }
    if (final != '^' && final != '$' && final != '@')
        return false;
    key->code = code_of_number(sequence->parameters[0]);
    key->modifiers = final == '^'   ? KEYS_CONTROL
                     : final == '$' ? KEYS_SHIFT
                                    : KEYS_CONTROL | KEYS_SHIFT;
    return true;
}

static void decode_sequence(const struct sequence *sequence, struct key *key)
{
    const int *p = sequence->parameters;
    key->code = KEYS_UNKNOWN;
    if (sequence->prefix == '<' && (sequence->final == 'M' || sequence->final == 'm')) {
        if (sequence->parameter_count == 3)
            decode_mouse(p[0], p[1], p[2], sequence->final == 'm', key);
        return;
    }
    if (sequence->prefix || decode_rxvt(sequence, key))
        return;
    if (sequence->final == 'u') {
        decode_numbered(p[0], p[1], key);
    } else if (sequence->final == '~' && p[0] == 27 && sequence->parameter_count == 3) {
        decode_numbered(p[2], p[1], key);
    } else if (sequence->final == '~') {
        key->code = code_of_number(p[0]);
        key->modifiers = modifiers_of(p[1]);
    } else if (sequence->final == 'Z') {
        key->code = KEYS_TAB;
        key->modifiers = KEYS_SHIFT;
    } else if (sequence->final != 'M') {
        key->code = code_of_letter(sequence->final);
        key->modifiers = modifiers_of(p[1]);
    }
}

/* ESC [ */
static int decode_csi(struct input in, struct key *key)
{
    struct sequence sequence;
    if (in.count > 2 && in.bytes[2] == '[') { /* Linux console: ESC [ [ A to E are F1 to F5 */
        if (in.count == 3 && !in.final)
            return 0;
        bool known = in.count > 3 && in.bytes[3] >= 'A' && in.bytes[3] <= 'E';
        key->code = known ? (enum keys_code)(KEYS_F1 + (in.bytes[3] - 'A')) : KEYS_UNKNOWN;
        return in.count > 3 && in.bytes[3] >= 0x20 ? 4 : 3;
    }
    if (in.count > 2 && in.bytes[2] == 'M') { /* X10 mouse: three bytes, each 32 more */
        if (in.count < 6) {
            key->code = KEYS_UNKNOWN;
            return in.final ? in.count : 0;
        }
        int button = in.bytes[3] - 32;
        bool release = (button & (3 | 64)) == 3;
        decode_mouse(button < 0 ? 128 : button, in.bytes[4] - 32, in.bytes[5] - 32, release, key);
        return 6;
    }
    int complete = parse_sequence(in, &sequence);
    if (complete == 0)
        return 0;
    if (complete < 0 && in.final && in.count == 2) { /* ESC [ and silence: alt-[ */
        key_text(key, "[", 1);
        key->modifiers = KEYS_ALT;
        return 2;
    }
    if (complete > 0)
        decode_sequence(&sequence, key);
    else
        key->code = KEYS_UNKNOWN;
    return sequence.length;
}

/* ESC O */
static int decode_ss3(struct input in, struct key *key)
{
    if (in.count == 2) {
        if (!in.final)
            return 0;
        key_text(key, "O", 1);
        key->modifiers = KEYS_ALT;
        return 2;
    }
    unsigned char letter = in.bytes[2];
    if (letter >= 'a' && letter <= 'd') { /* rxvt: control and arrow */
        key->code = code_of_letter((unsigned char)(letter - 'a' + 'A'));
        key->modifiers = KEYS_CONTROL;
    } else if (letter >= 'j' && letter <= 'y') { /* number pad */
        char digit = "*+,-./0123456789"[letter - 'j'];
        key_text(key, &digit, 1);
    } else {
        key->code = letter == 'I' || letter == 'O' ? KEYS_UNKNOWN : code_of_letter(letter);
    }
    return letter >= 0x20 && letter < 0x7f ? 3 : 2;
}

static int decode_escape(struct input in, struct key *key)
{
    if (in.count == 1) {
        key->code = KEYS_ESCAPE;
        return in.final ? 1 : 0;
    }
    if (in.bytes[1] == '[')
        return decode_csi(in, key);
    if (in.bytes[1] == 'O')
        return decode_ss3(in, key);
    if (in.bytes[1] == ESC) { /* the first is a key of its own; the second may start a sequence */
        key->code = KEYS_ESCAPE;
        return 1;
    }
    struct input rest = {in.bytes + 1, in.count - 1, in.final};
    int length = decode_plain(rest, key);
    key->modifiers |= KEYS_ALT;
    return length > 0 ? length + 1 : 0;
}

/* Inside a paste everything is text up to the end mark. */
static int decode_pasted(struct input in, struct key *key)
{
    static const unsigned char mark[] = {ESC, '[', '2', '0', '1', '~'};
    int matched = 0;
    while (matched < in.count && matched < 6 && in.bytes[matched] == mark[matched])
        matched++;
    if (matched == 6) {
        key->code = KEYS_PASTE_END;
        return 6;
    }
    if (matched > 0 && matched == in.count) /* wait: the mark comes for certain */
        return 0;
    if (in.bytes[0] < 0x80) {
        key_text(key, in.bytes, 1);
        key->pasted = true;
        return 1;
    }
    key->pasted = true;
    return decode_character(in, key);
}

static int decode(const struct keys_decoder *decoder, bool final, struct key *key)
{
    struct input in = {decoder->pending, decoder->count, final};
    if (decoder->pasting)
        return decode_pasted(in, key);
    return in.bytes[0] == ESC ? decode_escape(in, key) : decode_plain(in, key);
}

static void drop_pending(struct keys_decoder *decoder, int count)
{
    decoder->count -= count;
    memmove(decoder->pending, decoder->pending + count, (size_t)decoder->count);
}

/* A sequence beyond all measure: its rest must not come out as text either. */
static bool discard(struct keys_decoder *decoder)
{
    int at = 0;
    while (at < decoder->count && decoder->pending[at] >= 0x20 && decoder->pending[at] < 0x40)
        at++;
    if (at < decoder->count) {
        decoder->discarding = false;
        at += decoder->pending[at] >= 0x40 && decoder->pending[at] < 0x7f;
    }
    drop_pending(decoder, at);
    return decoder->discarding;
}

static bool take(struct keys_decoder *decoder, bool final, struct key *key)
{
    *key = (struct key){0};
    if (decoder->discarding && discard(decoder))
        return false;
    if (decoder->count == 0)
        return false;
    int length = decode(decoder, final, key);
    if (length == 0 && decoder->count >= SEQUENCE_LIMIT) {
        key->code = KEYS_UNKNOWN;
        length = decoder->count;
        decoder->discarding = true;
    }
    if (length == 0)
        return false;
    key->byte_count = length < KEYS_BYTES ? length : KEYS_BYTES;
    memcpy(key->bytes, decoder->pending, (size_t)key->byte_count);
    drop_pending(decoder, length);
    if (key->code == KEYS_PASTE_BEGIN || key->code == KEYS_PASTE_END)
        decoder->pasting = key->code == KEYS_PASTE_BEGIN;
    return true;
}

size_t keys_push(struct keys_decoder *decoder, const void *bytes, size_t count)
{
    size_t room = sizeof(decoder->pending) - (size_t)decoder->count;
    size_t taken = count < room ? count : room;
    memcpy(decoder->pending + decoder->count, bytes, taken);
    decoder->count += (int)taken;
    return taken;
}

bool keys_next(struct keys_decoder *decoder, struct key *key)
{
    return take(decoder, false, key);
}

bool keys_waiting(const struct keys_decoder *decoder)
{
    return decoder->count > 0;
}

bool keys_flush(struct keys_decoder *decoder, struct key *key)
{
    return take(decoder, true, key);
}
