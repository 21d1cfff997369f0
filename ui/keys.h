/* Keys: from the bytes of a terminal to struct key, and the names of keys.
 *
 * The decoder is a pure state machine: bytes go in, keys come out, no clock and no terminal. A lone
 * ESC cannot be told from the start of a sequence by its bytes; keys_next() then answers "not yet"
 * with keys_waiting() true, and the caller decides by time (usually 25 ms) when to call
 * keys_flush(), which ends the sequence there. Understood: xterm, VT220, rxvt and Linux console
 * sequences, modifiers, CSI u and modifyOtherKeys, SGR and X10 mouse reports, bracketed paste,
 * focus reports, UTF-8. Unknown sequences are swallowed whole as KEY_UNKNOWN, never leaked as text.
 *
 * Not thread safe; each decoder belongs to one thread. */
#ifndef UI_KEYS_H
#define UI_KEYS_H

#include <stdbool.h>
#include <stddef.h>

/* KEYS_ rather than KEY_: the latter are macros of curses. The order is that of the names in
 * key_names.c. */
enum keys_code {
    KEYS_NONE,
    KEYS_TEXT, /* a character: key.text; ctrl-l is text "l" with KEYS_CONTROL */
    KEYS_ENTER,
    KEYS_TAB,
    KEYS_BACKSPACE,
    KEYS_ESCAPE,
    KEYS_UP,
    KEYS_DOWN,
    KEYS_RIGHT,
    KEYS_LEFT,
    KEYS_HOME,
    KEYS_END,
    KEYS_INSERT,
    KEYS_DELETE,
    KEYS_PAGE_UP,
    KEYS_PAGE_DOWN,
    KEYS_BEGIN, /* the 5 of the number pad */
    KEYS_F1,
    KEYS_F20 = KEYS_F1 + 19,
    KEYS_MOUSE, /* key.mouse */
    KEYS_PASTE_BEGIN,
    KEYS_PASTE_END,
    KEYS_FOCUS_IN,
    KEYS_FOCUS_OUT,
    KEYS_UNKNOWN, /* a sequence or bytes that mean nothing to us: key.bytes */
    KEYS_HANGUP,  /* made by the terminal layer: no more input will come */
    KEYS_CODE_COUNT,
};

enum keys_modifier { KEYS_SHIFT = 1, KEYS_ALT = 2, KEYS_CONTROL = 4 };

enum keys_button {
    KEYS_BUTTON_NONE,
    KEYS_BUTTON_LEFT,
    KEYS_BUTTON_MIDDLE,
    KEYS_BUTTON_RIGHT,
    KEYS_WHEEL_UP,
    KEYS_WHEEL_DOWN,
};

enum keys_action { KEYS_PRESS, KEYS_RELEASE, KEYS_DRAG };

struct keys_mouse {
    enum keys_button button;
    enum keys_action action;
    int row, col; /* 0 is the upper left cell; never negative, but may lie outside the screen */
};

enum { KEYS_BYTES = 32 };

struct key {
    enum keys_code code;
    unsigned modifiers;              /* enum keys_modifier, or-ed */
    char text[8];                    /* KEYS_TEXT: one UTF-8 character, zero-terminated */
    bool pasted;                     /* KEYS_TEXT inside a bracketed paste: never a command */
    struct keys_mouse mouse;         /* KEYS_MOUSE */
    unsigned char bytes[KEYS_BYTES]; /* what the terminal sent, to hand on to a line editor */
    int byte_count;                  /* cut at KEYS_BYTES for KEYS_UNKNOWN */
};

enum { KEYS_PENDING = 512 };

/* Zero-initialise. */
struct keys_decoder {
    unsigned char pending[KEYS_PENDING];
    int count;
    bool pasting;    /* between the two paste marks */
    bool discarding; /* inside a control sequence too long to keep */
};

/* Takes as many of `count` bytes as there is room for and returns how many: call keys_next() until
 * it returns false, then go on with the rest. At least one byte fits after such a drain. */
size_t keys_push(struct keys_decoder *decoder, const void *bytes, size_t count);

/* The next key, if the bytes so far make one. */
bool keys_next(struct keys_decoder *decoder, struct key *key);

/* True if there are bytes that may be the start of a longer sequence: a time-out is due. */
bool keys_waiting(const struct keys_decoder *decoder);

/* Like keys_next(), but takes what is there as complete: a lone ESC becomes KEYS_ESCAPE. Call
 * until false. Inside a paste it takes nothing but a broken character (a paste ends by its mark).
 */
bool keys_flush(struct keys_decoder *decoder, struct key *key);

/* The name, such as "j", "ctrl-l", "alt-x", "shift-tab", "page-down", "F5", "space", "mouse-left",
 * "wheel-up", "ctrl-alt-delete". Text that is no key name is given as it is. Returns `name`. */
const char *keys_name(const struct key *key, char name[48]);

/* The key of a name as keys_name() writes it; names are matched without regard to case, a single
 * character exactly. Returns false if there is no such key. */
bool keys_parse(const char *name, struct key *key);

/* Same key as far as a key map is concerned: code, modifiers, text, mouse button. */
bool keys_same(const struct key *a, const struct key *b);

#endif
