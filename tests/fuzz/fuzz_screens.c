/* Any bytes as the names, texts and messages of a run: views are drawn from them into a screen
 * in memory, on which nothing but printable characters may stand, none beyond its edge. The first
 * three bytes choose the size of the screen and of the run. */
/* fuzz: lockstep_ui lockstep_synthetic */
#include "bench/synthetic.h"
#include "ui/text_width.h"
#include "ui/ui.h"

#include "engine/base/memory.h"
#include "engine/base/unicode.h"

#include <locale.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VIEWS = 8, SCREENS = 3 };

/* Not the list of tests: nothing in it comes from a run, and it reads all configurations. */
static const char *const views[VIEWS] = {"program", "divergences", "tensor", "memory",
                                         "ranks",   "metrics",     "log",    "help"};

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* One line: printable, and not wider than the screen. */
static void check_line(const char *line, size_t length, int cols)
{
    for (size_t at = 0; at < length;) {
        int32_t character;
        at += unicode_decode(line + at, length - at, &character);
        require(character >= 0x20 && !(character >= 0x7f && character < 0xa0));
        require(!unicode_is_treacherous(character));
    }
    require(text_width(line, length) <= cols);
}

static void check_screen(const char *path, int rows, int cols)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    int lines = 0;
    require(file != NULL);
    for (; (length = getline(&line, &room, file)) > 0; lines++) {
        require(line[length - 1] == '\n');
        check_line(line, (size_t)length - 1, cols);
    }
    require(lines == rows);
    free(line);
    fclose(file);
    unlink(path);
}

/* Opens the run, makes the session speak, and goes through some views with a few keys in each. */
static void write_script(const char *path, const char *folder, unsigned first)
{
    FILE *file = fopen(path, "w");
    require(file != NULL);
    fputs(":say\n:continue\n:fail\n", file);
    for (unsigned i = 0; i < SCREENS; i++)
        fprintf(file, ":view %s\nspace i\n:save-screen %s/%u\n", views[(first + i) % VIEWS], folder,
                i);
    fclose(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char folder[] = "/tmp/lockstep-fuzz-XXXXXX";
    if (size < 3)
        return 0;
    setlocale(LC_ALL, "C.UTF-8");
    setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
    require(mkdtemp(folder) != NULL);
    char *script = memory_format("%s/keys", folder);
    write_script(script, folder, data[1] / 32);
    struct synthetic what = {.tensors = 1 + data[2] % 64, .bytes = data + 3, .size = size - 3};
    struct session_engine engine = synthetic_engine(&what);
    struct ui_options options = {.device = "cpu",
                                 .threads = 1,
                                 .file = {.run = "made-up"},
                                 .script = script,
                                 .cols = 20 + data[0] % 128,
                                 .rows = 5 + data[1] % 32,
                                 .ascii = data[2] >= 192,
                                 .engine = &engine};
    struct status status = STATUS_NONE;
    require(ui_run(&options, &status));
    char name[64];
    for (unsigned i = 0; i < SCREENS; i++) {
        snprintf(name, sizeof(name), "%s/%u", folder, i);
        check_screen(name, options.rows, options.cols);
    }
    unlink(script);
    rmdir(folder);
    free(script);
    return 0;
}
