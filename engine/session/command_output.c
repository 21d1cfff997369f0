/* What the ranks print. */
#include "engine/base/memory.h"
#include "engine/session/commands.h"
#include "engine/session/output.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { OUTPUT_SHOWN = 50 };

/* "rank 0-3,7", "stdout", "stderr", a number of lines, "/expression/" or "all", in any order. The
 * expression may hold blanks and is the last. */
static bool read_query(const char *arguments, struct output_query *query, struct status *status)
{
    char word[64];
    *query = (struct output_query){.anchor = OUTPUT_NEWEST, .before = OUTPUT_SHOWN, .after = 100};
    while (arguments += strspn(arguments, " \t"), *arguments && *arguments != '/') {
        argument_word(&arguments, word, sizeof(word));
        if (strcmp(word, "rank") == 0 || strcmp(word, "ranks") == 0) {
            argument_word(&arguments, word, sizeof(word));
            if (!output_filter_ranks(&query->filter, word, status))
                return false;
        } else if (strcmp(word, "stdout") == 0) {
            query->filter.streams = 1u << RANK_STDOUT;
        } else if (strcmp(word, "stderr") == 0) {
            query->filter.streams = 1u << RANK_STDERR;
        } else if (strcmp(word, "all") == 0) {
            query->before = INT32_MAX;
        } else if (!argument_count(word, OUTPUT_SHOWN, &query->before, status)) {
            return status_fail(status, STATUS_INVALID,
                               "output takes [rank N] [stdout|stderr] [COUNT|all] [/EXPRESSION/], "
                               "not \"%s\"",
                               word);
        }
    }
    return output_filter_pattern(&query->filter, arguments, status);
}

static void say_lines(struct debugger *debugger, const struct output_page *page)
{
    bool several = page->counts.ranks > 1;
    for (int i = 0; i < page->count; i++) {
        const struct output_line *line = &page->lines[i];
        if (several)
            say(debugger, "%4d ", line->rank);
        say(debugger, "%s %s%s\n", line->stream == RANK_STDERR ? "!" : "|", line->text,
            line->cut ? " ..." : "");
    }
    if (page->count == 0)
        say(debugger, "%s\n",
            page->counts.lines[0] + page->counts.lines[1] == 0 ? "Nothing was printed that is kept."
                                                               : "No line passes.");
    if (page->counts.dropped > 0)
        say(debugger, "%" PRId64 " older lines are not kept\n", page->counts.dropped);
    if (page->unfinished)
        say(debugger, "only the newest %d lines were looked at\n", OUTPUT_SCAN);
}

bool command_output(struct debugger *debugger, const char *arguments, struct status *status)
{
    struct output_query query;
    struct output_page page = {0};
    if (!read_query(arguments, &query, status))
        return false;
    if (debugger->sink.output && !rank_output_fetch(debugger->sink.output, &query, &page, status))
        return false;
    say_lines(debugger, &page);
    output_page_free(&page);
    return true;
}
