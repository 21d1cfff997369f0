#include "engine/config/check.h"

#include "engine/base/memory.h"
#include "engine/base/names.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct checker {
    struct problems *problems;
    const char *what; /* stands for the path of the root */
    bool partial;
};

static void check_value(struct checker *checker, const struct node *node,
                        const cyaml_schema_value_t *schema, const char *path);

bool check_integer(const char *text, int64_t minimum, int64_t maximum, int64_t *value)
{
    const char *digits = text + (*text == '-');
    size_t length = strspn(digits, "0123456789");
    /* 010 would be eight to libcyaml and ten to the reader. */
    if (length == 0 || digits[length] || (digits[0] == '0' && length > 1))
        return false;
    errno = 0;
    *value = strtoll(text, NULL, 10);
    return errno == 0 && *value >= minimum && *value <= maximum;
}

static bool check_unsigned(const char *text)
{
    size_t length = strspn(text, "0123456789");
    if (length == 0 || text[length] || (text[0] == '0' && length > 1))
        return false;
    errno = 0;
    strtoull(text, NULL, 10);
    return errno == 0;
}

bool check_number(const char *text, double *value)
{
    if (text[0] == '\0' || text[strspn(text, "+-.0123456789eE")])
        return false; /* also keeps out inf, nan and hexadecimal */
    const char *digits = text + strspn(text, "+-");
    if (digits[0] == '0' && isdigit((unsigned char)digits[1]))
        return false; /* as of integers: 010 is eight to some */
    char *end;
    errno = 0;
    *value = strtod(text, &end);
    return *end == '\0' && errno == 0 && isfinite(*value);
}

static const char *kind_name(const struct node *node)
{
    static const char *const names[] = {"a word", "a list", "a mapping"};
    return names[node->kind];
}

static void describe(const struct node *node, char *buffer, size_t size)
{
    if (node->kind == NODE_SCALAR)
        snprintf(buffer, size, "'%.60s'%s", node->text, node->quoted ? " in quotes" : "");
    else
        snprintf(buffer, size, "%s", kind_name(node));
}

static void wrong(struct checker *checker, const struct node *node, const char *path,
                  const char *expected)
{
    char given[100];
    describe(node, given, sizeof(given));
    problem_add(checker->problems, node->source, "%s is %s; expected %s",
                *path ? path : checker->what, given, expected);
}

static int64_t type_maximum(const cyaml_schema_value_t *schema)
{
    return schema->data_size >= 8 ? INT64_MAX : (INT64_C(1) << (8 * schema->data_size - 1)) - 1;
}

static void check_int(struct checker *checker, const struct node *node,
                      const cyaml_schema_value_t *schema, const char *path)
{
    int64_t value, maximum = type_maximum(schema);
    char expected[100];
    if (!node->quoted && check_integer(node->text, -maximum - 1, maximum, &value))
        return;
    snprintf(expected, sizeof(expected), "a decimal integer up to %" PRId64, maximum);
    wrong(checker, node, path, expected);
}

static void check_bool(struct checker *checker, const struct node *node, const char *path)
{
    static const char *const words[] = {"true", "false"};
    char expected[100];
    if (!node->quoted && (!strcmp(node->text, words[0]) || !strcmp(node->text, words[1])))
        return;
    char lower[8] = "";
    for (size_t i = 0; i < sizeof(lower) - 1 && node->text[i]; i++)
        lower[i] = (char)tolower((unsigned char)node->text[i]);
    const char *closest = node->quoted ? NULL : names_closest(lower, words, 2);
    snprintf(expected, sizeof(expected),
             closest ? "true or false (did you mean '%s'?)" : "true or false%s",
             closest ? closest : "");
    wrong(checker, node, path, expected);
}

/* "a, b or c", with the one that may be meant. */
static void list_words(struct text *text, const char *const *words, int count, const char *given)
{
    for (int i = 0; i < count; i++)
        text_format(text, "%s%s", i == 0 ? "" : i == count - 1 ? " or " : ", ", words[i]);
    const char *closest = given ? names_closest(given, words, count) : NULL;
    if (closest)
        text_format(text, " (did you mean '%s'?)", closest);
}

static void check_enum(struct checker *checker, const struct node *node,
                       const cyaml_schema_value_t *schema, const char *path)
{
    const char *words[16];
    int count = 0;
    for (uint32_t i = 0; i < schema->enumeration.count && i < 16; i++) {
        words[count++] = schema->enumeration.strings[i].str;
        if (!strcmp(node->text, words[i]))
            return;
    }
    struct text expected = {0};
    list_words(&expected, words, count, node->text);
    wrong(checker, node, path, expected.data);
    text_free(&expected);
}

static void check_scalar(struct checker *checker, const struct node *node,
                         const cyaml_schema_value_t *schema, const char *path)
{
    double number;
    switch (schema->type) {
    case CYAML_INT:
        check_int(checker, node, schema, path);
        break;
    case CYAML_UINT:
        if (node->quoted || !check_unsigned(node->text))
            wrong(checker, node, path, "a decimal integer from 0");
        break;
    case CYAML_FLOAT:
        if (node->quoted || !check_number(node->text, &number))
            wrong(checker, node, path, "a finite number");
        break;
    case CYAML_BOOL:
        check_bool(checker, node, path);
        break;
    case CYAML_ENUM:
        check_enum(checker, node, schema, path);
        break;
    default: /* CYAML_STRING: the tables have no other scalar */
        if (node_is_null(node) || strlen(node->text) < schema->string.min)
            wrong(checker, node, path, "a text");
    }
}

static const cyaml_schema_field_t *find_field(const cyaml_schema_field_t *fields, const char *key)
{
    for (; fields->key; fields++)
        if (!strcmp(fields->key, key))
            return fields;
    return NULL;
}

static void unknown_key(struct checker *checker, const struct node_entry *entry,
                        const cyaml_schema_field_t *fields, const char *path)
{
    const char *words[32];
    int count = 0;
    for (; fields->key && count < 32; fields++)
        words[count++] = fields->key;
    if (!*path && strcmp(checker->what, "the model") == 0 && count < 32)
        words[count++] = "extends"; /* no field: it is followed before the rest is checked */
    const char *closest = names_closest(entry->key, words, count);
    struct text allowed = {0};
    if (closest)
        text_format(&allowed, "did you mean '%s'?", closest);
    else
        text_add(&allowed, "allowed: ");
    if (!closest)
        list_words(&allowed, words, count, NULL);
    problem_add(checker->problems, entry->source, "unknown key '%.60s' in %s; %s", entry->key,
                *path ? path : checker->what, allowed.data);
    text_free(&allowed);
}

/* What a value of this type is called in "expected ...". */
static const char *type_name(const cyaml_schema_value_t *schema)
{
    switch (schema->type) {
    case CYAML_MAPPING:
        return "a mapping";
    case CYAML_SEQUENCE:
        return "a list";
    case CYAML_INT:
    case CYAML_UINT:
        return "an integer";
    case CYAML_FLOAT:
        return "a number";
    case CYAML_BOOL:
        return "true or false";
    default:
        return "a word";
    }
}

static void check_mapping(struct checker *checker, const struct node *node,
                          const cyaml_schema_value_t *schema, const char *path)
{
    const cyaml_schema_field_t *fields = schema->mapping.fields;
    char inner[256];
    for (int i = 0; i < node->count; i++) {
        const struct node_entry *entry = &node->entries[i];
        const cyaml_schema_field_t *field = find_field(fields, entry->key);
        if (!field) {
            unknown_key(checker, entry, fields, path);
            continue;
        }
        snprintf(inner, sizeof(inner), "%s%s%s", path, *path ? "." : "", field->key);
        check_value(checker, entry->value, &field->value, inner);
    }
    for (; fields->key && !checker->partial; fields++)
        if (!(fields->value.flags & CYAML_FLAG_OPTIONAL) && !node_entry_find(node, fields->key))
            problem_add(checker->problems, node_missing_source(node, fields->key),
                        "%s%s%s is missing; expected %s", path, *path ? "." : "", fields->key,
                        type_name(&fields->value));
}

static void check_sequence(struct checker *checker, const struct node *node,
                           const cyaml_schema_value_t *schema, const char *path)
{
    char inner[256];
    for (int i = 0; i < node->count; i++) {
        snprintf(inner, sizeof(inner), "%s[%d]", path, i);
        check_value(checker, node->entries[i].value, schema->sequence.entry, inner);
    }
}

static void check_value(struct checker *checker, const struct node *node,
                        const cyaml_schema_value_t *schema, const char *path)
{
    if (schema->type == CYAML_IGNORE || (checker->partial && node_is_null(node)))
        return; /* in a part of a document, null deletes */
    enum node_kind kind = schema->type == CYAML_MAPPING    ? NODE_MAPPING
                          : schema->type == CYAML_SEQUENCE ? NODE_SEQUENCE
                                                           : NODE_SCALAR;
    if (node->kind != kind)
        wrong(checker, node, path, type_name(schema));
    else if (kind == NODE_MAPPING)
        check_mapping(checker, node, schema, path);
    else if (kind == NODE_SEQUENCE)
        check_sequence(checker, node, schema, path);
    else
        check_scalar(checker, node, schema, path);
}

void check_document(const struct node *root, const cyaml_schema_value_t *schema, const char *what,
                    bool partial, struct problems *problems)
{
    struct checker checker = {problems, what, partial};
    check_value(&checker, root, schema, "");
}

struct node *check_sorted(struct tree_pool *pool, struct node *node,
                          const cyaml_schema_value_t *schema)
{
    if (schema->type != CYAML_MAPPING)
        return node;
    struct node *sorted = node_mapping(pool, node->source);
    const cyaml_schema_field_t *field = schema->mapping.fields;
    for (; field->key; field++) {
        const struct node_entry *entry = node_entry_find(node, field->key);
        if (entry)
            node_add(pool, sorted, entry->key, entry->source,
                     check_sorted(pool, entry->value, &field->value));
    }
    return sorted;
}
