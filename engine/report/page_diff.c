/* The page of two traces. */
#include "engine/report/page.h"

#include "engine/base/memory.h"
#include "engine/compare/diff.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* What a manifest says of the run. */
static void add_manifest(struct page *page, const char *side, const struct trace *trace)
{
    static const char *const keys[] = {"run", "config_hash", "program_hash", "device", "software"};
    json_t *manifest = json_loads(trace->manifest ? trace->manifest : "{}", 0, NULL);
    page_fact(page, side, "%s", trace->directory);
    for (int i = 0; i < ARRAY_LENGTH(keys); i++) {
        const char *value = json_string_value(json_object_get(manifest, keys[i]));
        if (!value)
            continue;
        char *name = memory_format("%s: %s", side, keys[i]);
        page_fact(page, name, "%s", value);
        free(name);
    }
    json_decref(manifest);
}

static bool find(const struct trace *trace, const struct page *page, const struct page_row *row,
                 struct trace_tensor *tensor)
{
    const struct trace_step *step = trace_find_step(trace, page->steps[row->step]);
    return step && trace_find(step, row->name, tensor);
}

static void look_into(struct page *page, int index, const struct trace *reference,
                      const struct trace *test)
{
    const struct page_row *row = &page->rows[index];
    struct trace_tensor one, other;
    struct meeting meeting;
    double scale = row->limits.scale > 0 ? row->limits.scale : 1;
    if (find(reference, page, row, &one) && find(test, page, row, &other) &&
        diff_align(&one, &other, &meeting))
        page_add_view(page, index, &meeting.whole, &meeting.part, scale, meeting.stride, NULL);
}

struct page *page_of_diff(const struct diff *diff, const struct trace *reference,
                          const struct trace *test, const struct tolerances *tolerances)
{
    struct page *page = page_create(diff->title, test->directory, reference->directory);
    int rows[PAGE_VIEWS];
    add_manifest(page, "test trace", test);
    add_manifest(page, "reference trace", reference);
    page_fact(page, "tolerances", "%s", tolerances->name ? tolerances->name : "-");
    page_add_log(page, &diff->log);
    int count = page_choose(page, rows);
    for (int i = 0; i < count; i++)
        look_into(page, rows[i], reference, test);
    return page;
}
