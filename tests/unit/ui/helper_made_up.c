#include "helper_made_up.h"

#include "engine/base/memory.h"
#include "engine/session/engine.h"
#include "engine/session/snapshot.h"
#include "ui/ui.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void start(void *state, const struct session_options *options,
                  const struct debugger_sink *sink)
{
    struct made_up *made = state;
    (void)options;
    made->output = sink->output;
    if (made->begin)
        made->begin(sink->output);
    sink->publish(sink->context, snapshot_of(&(struct snapshot){.state = RUN_STOPPED}));
}

static bool execute(void *state, const char *line, bool *quit, struct status *status)
{
    struct made_up *made = state;
    (void)quit;
    (void)status;
    free(made->posted);
    made->posted = memory_string(line);
    return true;
}

static struct picture *take(void *state, const struct picture_request *request)
{
    struct made_up *made = state;
    struct picture *picture = memory_zeroed(1, sizeof(*picture));
    picture->request = *request;
    picture->identity = 1;
    made->fill(made, picture);
    return picture;
}

static void end(void *state)
{
    (void)state; /* the test's own */
}

char *made_up_screen(struct made_up *made, const char *keys, int rows, int cols)
{
    char script[] = "/tmp/lockstep-keys-XXXXXX", screen[] = "/tmp/lockstep-screen-XXXXXX";
    struct session_engine engine = {
        .state = made, .start = start, .execute = execute, .picture = take, .free = end};
    struct status status = STATUS_NONE;
    int script_fd = mkstemp(script), screen_fd = mkstemp(screen);
    assert_true(script_fd >= 0 && screen_fd >= 0);
    setlocale(LC_ALL, "C.UTF-8");
    setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
    unsetenv("NO_COLOR");
    dprintf(script_fd, "%s\n:save-screen %s\n", keys, screen);
    free(made->posted);
    made->posted = NULL;
    struct ui_options options = {.device = "cpu",
                                 .engine = &engine,
                                 .script = script,
                                 .rows = rows,
                                 .cols = cols,
                                 .ascii = made->ascii};
    if (!ui_run(&options, &status))
        fail_msg("%s", status.text);
    char *text = memory_zeroed(1 << 20, 1);
    FILE *file = fopen(screen, "r"); /* may have been replaced */
    assert_true(file && fread(text, 1, (1 << 20) - 1, file) > 0);
    fclose(file);
    close(script_fd);
    close(screen_fd);
    unlink(script);
    unlink(screen);
    return text;
}

/* Not fail_msg, which cuts what it says at a kilobyte. */
void assert_has(const char *screen, const char *part)
{
    if (strstr(screen, part))
        return;
    fprintf(stderr, "no \"%s\" on\n%s", part, screen);
    fail();
}

void assert_has_not(const char *screen, const char *part)
{
    if (!strstr(screen, part))
        return;
    fprintf(stderr, "\"%s\" on\n%s", part, screen);
    fail();
}

int count_of(const char *screen, const char *part)
{
    int count = 0;
    for (; (screen = strstr(screen, part)); screen++)
        count++;
    return count;
}
