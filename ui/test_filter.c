#include "ui/test_filter.h"

#include "engine/suite/selection.h"

#include <stdio.h>
#include <string.h>

/* Whether `value` is one of a list with commas; any case. */
static bool is_listed(const char *list, const char *value)
{
    size_t length = strlen(value);
    while (*list) {
        size_t word = strcspn(list, ",");
        if (word == length && strncasecmp(list, value, length) == 0)
            return true;
        list += word + (list[word] == ',');
    }
    return false;
}

static bool passes_word(const char *word, const struct test_list *tests, int test,
                        const char *outcome)
{
    const struct test_case *of = &tests->tests[test];
    const char *equals = strchr(word, '=');
    if (!equals)
        return word[strcspn(word, "*?[")] ? test_matches(tests, test, word)
                                          : strstr(of->id, word) != NULL;
    const struct {
        const char *key, *value;
    } keys[] = {{"model=", test_model_name(tests, test)},
                {"group=", test_group_name(of->group)},
                {"action=", test_action_name(test_action_of(tests, test))},
                {"outcome=", outcome ? outcome : "none"}};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (strncmp(word, keys[i].key, strlen(keys[i].key)) == 0)
            return is_listed(equals + 1, keys[i].value);
    return false;
}

bool test_filter_passes(const char *filter, const struct test_list *tests, int test,
                        const char *outcome)
{
    char word[200];
    int length;
    for (; sscanf(filter, " %199s%n", word, &length) == 1; filter += length)
        if (!passes_word(word, tests, test, outcome))
            return false;
    return true;
}
