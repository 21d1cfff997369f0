#include "ui/theme.h"

#include "engine/base/memory.h"
#include "engine/base/names.h"
#include "ui/user_files.h"

#include <stdlib.h>
#include <string.h>

extern const char ui_default_theme[]; /* ui/theme.conf, embedded by the build */

static const char *const role_names[THEME_ROLE_COUNT] = {
    "normal",      "dim",         "title",   "frame",  "focus",  "selection", "current",  "bar",
    "bar-stopped", "bar-running", "key",     "prompt", "same",   "within",    "diverged", "nan",
    "pending",     "breakpoint",  "counter", "number", "name",   "reference", "test",     "error",
    "warning",     "stderr",      "match",   "passed", "failed", "skipped",   "running"};

static const char *const color_names[16] = {
    "black",        "red",           "green",       "yellow",         "blue",
    "magenta",      "cyan",          "white",       "bright-black",   "bright-red",
    "bright-green", "bright-yellow", "bright-blue", "bright-magenta", "bright-cyan",
    "bright-white"};

static const char *const attribute_names[] = {"bold", "dim", "underline", "reverse", "italic"};

/* What is being read: lines of other themes are checked and passed over. */
struct reading {
    const char *wanted;
    struct theme theme;
    struct names themes; /* all names seen */
};

static int find_word(const char *const *words, int count, const char *word)
{
    for (int i = 0; i < count; i++)
        if (strcmp(words[i], word) == 0)
            return i;
    return -1;
}

static bool parse_color(const char *word, int *color)
{
    char *end;
    *color = THEME_COLOR_DEFAULT;
    if (strcmp(word, "default") == 0)
        return true;
    *color = find_word(color_names, ARRAY_LENGTH(color_names), word);
    if (*color >= 0)
        return true;
    long number = strtol(word, &end, 10);
    *color = (int)number;
    return word[0] >= '0' && word[0] <= '9' && *end == '\0' && number >= 0 && number <= 255;
}

static bool parse_style(char *line, struct theme_style *style, const char *place,
                        struct status *status)
{
    int *const colors[] = {&style->foreground, &style->background};
    for (int i = 0; i < 2; i++) {
        char *word = user_next_word(&line);
        if (!parse_color(word, colors[i]))
            return status_fail(status, STATUS_INVALID,
                               "%s: '%s' is no colour: expected default, a name such as red or "
                               "bright-blue, or 0 to 255",
                               place, word);
    }
    while (*line) {
        char *word = user_next_word(&line);
        int attribute = find_word(attribute_names, ARRAY_LENGTH(attribute_names), word);
        if (attribute < 0)
            return status_fail(status, STATUS_INVALID,
                               "%s: '%s' is no attribute: expected bold, dim, underline, reverse "
                               "or italic",
                               place, word);
        style->attributes |= 1u << attribute;
    }
    return true;
}

static bool parse_line(struct reading *reading, char *line, const char *place,
                       struct status *status)
{
    char *name = user_next_word(&line);
    char *role_name = user_next_word(&line);
    int role = find_word(role_names, THEME_ROLE_COUNT, role_name);
    if (role < 0) {
        const char *closest = names_closest(role_name, role_names, THEME_ROLE_COUNT);
        return status_fail(status, STATUS_INVALID, "%s: '%s' is no role%s%s%s", place, role_name,
                           closest ? "; did you mean '" : "", closest ? closest : "",
                           closest ? "'?" : "");
    }
    struct theme_style style = {0};
    if (!parse_style(line, &style, place, status))
        return false;
    names_set(&reading->themes, name, 1);
    if (strcmp(name, reading->wanted) == 0)
        reading->theme.styles[role] = style;
    return true;
}

static bool parse_text(struct reading *reading, const char *text, const char *origin,
                       struct status *status)
{
    char *copy = memory_string(text), *cursor = copy, *line;
    int number = 0;
    bool good = true;
    while (good && (line = user_next_line(&cursor, &number))) {
        char *place = memory_format("%s:%d", origin, number);
        good = parse_line(reading, line, place, status);
        free(place);
    }
    free(copy);
    return good;
}

static bool parse_user_file(struct reading *reading, const char *path, struct status *status)
{
    char *text = NULL;
    struct status failure = STATUS_NONE;
    if (!path)
        return true;
    if (!user_read_file(path, &text, &failure))
        return failure.code == STATUS_NOT_FOUND ||
               status_fail(status, failure.code, "%s", failure.text);
    struct theme before = reading->theme;
    bool good = parse_text(reading, text, path, status);
    if (!good)
        reading->theme = before;
    free(text);
    return good;
}

bool theme_load(struct theme *theme, const char *name, const char *path, struct status *status)
{
    struct reading reading = {.wanted = name};
    for (int i = 0; i < THEME_ROLE_COUNT; i++)
        reading.theme.styles[i] = (struct theme_style){THEME_COLOR_DEFAULT, THEME_COLOR_DEFAULT, 0};
    bool good = parse_text(&reading, ui_default_theme, "theme.conf", status) &&
                parse_user_file(&reading, path, status);
    if (names_find(&reading.themes, name) >= 0) {
        *theme = reading.theme;
    } else if (good) {
        struct text known = {0};
        for (int i = 0; i < reading.themes.count; i++)
            text_format(&known, "%s%s", i ? ", " : "", reading.themes.names[i]);
        good =
            status_fail(status, STATUS_NOT_FOUND, "no theme '%s'; there are: %s", name, known.data);
        text_free(&known);
    }
    names_free(&reading.themes);
    return good;
}

/* xterm's palette: 16 named colours (its default values), a 6x6x6 cube, 24 greys. */
static void color_components(int color, int rgb[3])
{
    static const int levels[6] = {0, 95, 135, 175, 215, 255};
    static const unsigned char named[16][3] = {
        {0, 0, 0},     {205, 0, 0},     {0, 205, 0},     {205, 205, 0},  {0, 0, 238}, {205, 0, 205},
        {0, 205, 205}, {229, 229, 229}, {127, 127, 127}, {255, 0, 0},    {0, 255, 0}, {255, 255, 0},
        {92, 92, 255}, {255, 0, 255},   {0, 255, 255},   {255, 255, 255}};
    for (int i = 0; i < 3; i++) {
        static const int strides[3] = {36, 6, 1};
        if (color < 16)
            rgb[i] = named[color][i];
        else if (color < 232)
            rgb[i] = levels[(color - 16) / strides[i] % 6];
        else
            rgb[i] = 8 + 10 * (color - 232);
    }
}

int theme_nearest_color(int color, int available)
{
    if (color < 0 || available < 8 || color > 255)
        return THEME_COLOR_DEFAULT;
    if (color < available)
        return color;
    int rgb[3], best = 0, best_distance = 1 << 30;
    color_components(color, rgb);
    for (int candidate = 0; candidate < (available >= 16 ? 16 : 8); candidate++) {
        int other[3], distance = 0;
        color_components(candidate, other);
        for (int i = 0; i < 3; i++)
            distance += (rgb[i] - other[i]) * (rgb[i] - other[i]);
        if (distance < best_distance) {
            best_distance = distance;
            best = candidate;
        }
    }
    return best;
}

const char *theme_mark(enum theme_mark mark, bool ascii)
{
    static const char *const marks[THEME_MARK_COUNT][2] = {
        {"=", "="},      {"\u2248", "~"}, {"\u2717", "x"}, {"!", "!"},      {"\u00b7", "."},
        {"\u25cf", "*"}, {"\u25b6", ">"}, {"\u25b8", "+"}, {"\u25be", "-"}, {"\u2026", "$"}};
    return marks[mark][ascii];
}

void theme_bar(struct text *out, double fraction, int columns, bool ascii)
{
    static const char *const eighths[] = {" ",      "\u258f", "\u258e", "\u258d", "\u258c",
                                          "\u258b", "\u258a", "\u2589", "\u2588"};
    double filled = fraction > 0 ? (fraction < 1 ? fraction : 1) : 0; /* NaN is not > 0 */
    int parts = (int)(filled * columns * 8 + 0.5);
    for (int i = 0; i < columns; i++) {
        int part = parts - i * 8 < 0 ? 0 : parts - i * 8 > 8 ? 8 : parts - i * 8;
        text_add(out, ascii ? (part >= 4 ? "#" : " ") : eighths[part]);
    }
}
