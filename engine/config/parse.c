/* YAML text to trees, by libyaml's document loader.
 *
 * libyaml keeps an alias as a second reference to the same node, so a document is a graph that may
 * be exponentially larger when written out (an alias bomb), or endless. Expansion therefore counts
 * nodes and levels. */
#include "engine/config/tree.h"

#include "engine/base/memory.h"
#include "engine/base/names.h"
#include "engine/base/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct expansion {
    struct tree_pool *pool;
    yaml_document_t *document;
    const char *file;
    const char *text; /* that is parsed */
    size_t length;
    int line, column; /* added to positions */
    int nodes, depth;
    struct status *status;
};

static struct source place(const struct expansion *expansion, const yaml_node_t *node)
{
    struct source source = {expansion->file, (int)node->start_mark.line + 1 + expansion->line,
                            (int)node->start_mark.column + 1 + expansion->column, NULL};
    return source;
}

static bool fail_at(const struct expansion *expansion, const yaml_node_t *node, const char *what)
{
    struct source source = place(expansion, node);
    return status_fail(expansion->status, STATUS_INVALID, "%s:%d:%d: %s", source.file, source.line,
                       source.column, what);
}

static struct node *expand(struct expansion *expansion, int index);

/* Escapes in double quotes can make any character. One that a terminal acts on, or a line break,
 * would come back in messages and listings; no key and no name has any. */
static bool has_control(const char *text)
{
    for (size_t at = 0, length = strlen(text); at < length;) {
        int32_t character;
        at += unicode_decode(text + at, length - at, &character);
        if ((character >= 0 && character < 0x20) || (character >= 0x7f && character < 0xa0))
            return true;
    }
    return false;
}

static struct node *expand_scalar(struct expansion *expansion, const yaml_node_t *from)
{
    const char *text = (const char *)from->data.scalar.value;
    if (strlen(text) != from->data.scalar.length) {
        fail_at(expansion, from, "a zero byte in a text; expected none");
        return NULL;
    }
    if (has_control(text)) {
        fail_at(expansion, from, "a line break or control character in a text; expected none");
        return NULL;
    }
    struct node *node = node_scalar(expansion->pool, text, place(expansion, from));
    node->quoted = from->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    return node;
}

static struct node *expand_sequence(struct expansion *expansion, const yaml_node_t *from)
{
    struct node *node = node_mapping(expansion->pool, place(expansion, from));
    node->kind = NODE_SEQUENCE;
    const yaml_node_item_t *item = from->data.sequence.items.start;
    for (; item < from->data.sequence.items.top; item++) {
        struct node *value = expand(expansion, *item);
        if (!value)
            return NULL;
        node_add(expansion->pool, node, NULL, value->source, value);
    }
    return node;
}

/* Adds what `<<` brings and the mapping does not have itself. `from`: a mapping or a list of
 * them, of which the earlier wins. */
static bool add_merge_key(struct expansion *expansion, struct node *node, struct names *seen,
                          const struct node *from)
{
    if (from->kind == NODE_SEQUENCE) {
        for (int i = 0; i < from->count; i++)
            if (from->entries[i].value->kind == NODE_SEQUENCE ||
                !add_merge_key(expansion, node, seen, from->entries[i].value))
                return false;
        return true;
    }
    if (from->kind != NODE_MAPPING)
        return false;
    for (int i = 0; i < from->count; i++) {
        const struct node_entry *entry = &from->entries[i];
        if (names_set(seen, entry->key, entry->source.line))
            node_add(expansion->pool, node, entry->key, entry->source, entry->value);
    }
    return true;
}

static bool fail_duplicate(struct expansion *expansion, const yaml_node_t *key, const char *name,
                           int line)
{
    char *what =
        memory_format("key '%s' is given twice (first in line %d); expected once", name, line);
    fail_at(expansion, key, what);
    free(what);
    return false;
}

static bool expand_pair(struct expansion *expansion, const yaml_node_pair_t *pair,
                        struct node *node, struct names *seen, const struct node **merge)
{
    const yaml_node_t *from = yaml_document_get_node(expansion->document, pair->key);
    if (from->type != YAML_SCALAR_NODE)
        return fail_at(expansion, from, "a key is a list or a mapping; expected a word");
    struct node *key = expand_scalar(expansion, from);
    struct node *value = key ? expand(expansion, pair->value) : NULL;
    if (!value)
        return false;
    if (!strcmp(key->text, "<<") && !key->quoted && !*merge) {
        *merge = value;
        return true;
    }
    int line = names_find(seen, key->text);
    if (!names_set(seen, key->text, key->source.line))
        return fail_duplicate(expansion, from, key->text, line);
    node_add(expansion->pool, node, key->text, key->source, value);
    return true;
}

static struct node *expand_mapping(struct expansion *expansion, const yaml_node_t *from)
{
    struct node *node = node_mapping(expansion->pool, place(expansion, from));
    struct names seen = {0};
    const struct node *merge = NULL;
    bool fine = true;
    const yaml_node_pair_t *pair = from->data.mapping.pairs.start;
    if (from->data.mapping.pairs.top - pair > TREE_KEY_LIMIT)
        fine = fail_at(expansion, from, "too many keys in one mapping; expected at most 256");
    for (; fine && pair < from->data.mapping.pairs.top; pair++)
        fine = expand_pair(expansion, pair, node, &seen, &merge);
    if (fine && merge && !add_merge_key(expansion, node, &seen, merge))
        fine = fail_at(expansion, from,
                       "<< brings something else; expected a mapping or a list "
                       "of mappings");
    names_free(&seen);
    return fine ? node : NULL;
}

static struct node *expand(struct expansion *expansion, int index)
{
    const yaml_node_t *from = yaml_document_get_node(expansion->document, index);
    if (++expansion->nodes > TREE_NODE_LIMIT) {
        fail_at(expansion, from, "too many values after expanding aliases; expected at most 20000");
        return NULL;
    }
    if (expansion->depth >= TREE_DEPTH_LIMIT) {
        fail_at(expansion, from,
                "nested too deep, or an anchor that contains itself; expected at most 64 levels");
        return NULL;
    }
    expansion->depth++;
    struct node *node = NULL;
    if (from->type == YAML_SCALAR_NODE)
        node = expand_scalar(expansion, from);
    else if (from->type == YAML_SEQUENCE_NODE)
        node = expand_sequence(expansion, from);
    else
        node = expand_mapping(expansion, from);
    expansion->depth--;
    return node;
}

/* Bytes that are no characters are found before lines are counted: the library only knows which
 * byte it is. */
static yaml_mark_t mark_of_byte(const struct expansion *expansion, size_t offset)
{
    yaml_mark_t mark = {0};
    for (size_t i = 0; i < offset && i < expansion->length; i++)
        if (expansion->text[i] == '\n') {
            mark.line++;
            mark.column = 0;
        } else {
            mark.column++;
        }
    return mark;
}

/* The mistake that everybody makes once, of which libyaml only says that a token cannot start. */
static bool is_tab(const struct expansion *expansion, const yaml_mark_t *mark)
{
    const char *at = expansion->text, *end = at + expansion->length;
    for (size_t line = 0; line < mark->line && at; line++) {
        at = memchr(at, '\n', (size_t)(end - at));
        if (at)
            at++;
    }
    for (size_t column = 0; column < mark->column && at && at < end; column++)
        do
            at++;
        while (at < end && ((unsigned char)*at & 0xc0) == 0x80); /* the rest of a character */
    return at && at < end && *at == '\t';
}

static bool fail_syntax(const struct expansion *expansion, const yaml_parser_t *parser)
{
    yaml_mark_t mark = parser->error == YAML_READER_ERROR
                           ? mark_of_byte(expansion, parser->problem_offset)
                           : parser->problem_mark;
    if (parser->error == YAML_SCANNER_ERROR && is_tab(expansion, &mark))
        return status_fail(expansion->status, STATUS_INVALID,
                           "%s:%d:%d: not YAML: a tab; expected spaces", expansion->file,
                           (int)mark.line + 1 + expansion->line,
                           (int)mark.column + 1 + expansion->column);
    if (expansion->column)
        mark.line = mark.column = 0; /* in an argument: the end would be on a line of its own */
    return status_fail(expansion->status, STATUS_INVALID, "%s:%d:%d: not YAML: %s%s%s",
                       expansion->file, (int)mark.line + 1 + expansion->line,
                       (int)mark.column + 1 + expansion->column,
                       parser->problem ? parser->problem : "unreadable", parser->context ? " " : "",
                       parser->context ? parser->context : "");
}

/* Whether nothing but the end follows. */
static bool is_last(yaml_parser_t *parser, struct expansion *expansion)
{
    yaml_document_t next;
    if (!yaml_parser_load(parser, &next))
        return fail_syntax(expansion, parser);
    const yaml_node_t *root = yaml_document_get_root_node(&next);
    bool last = !root;
    if (root)
        fail_at(expansion, root, "a second document; expected one");
    yaml_document_delete(&next);
    return last;
}

static const yaml_char_t *tag_of(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return event->data.scalar.tag;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.tag;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.tag;
    default:
        return NULL;
    }
}

static bool check_event(const struct expansion *expansion, const yaml_event_t *event, int depth)
{
    const char *what = NULL;
    if (tag_of(event))
        what = "a tag; expected none: types follow from the keys";
    else if (depth > TREE_DEPTH_LIMIT)
        what = "nested too deep; expected at most 64 levels";
    return !what || status_fail(expansion->status, STATUS_INVALID, "%s:%d:%d: %s", expansion->file,
                                (int)event->start_mark.line + 1 + expansion->line,
                                (int)event->start_mark.column + 1 + expansion->column, what);
}

/* Looks through a text before it is loaded, for what the loader cannot tell: a tag written out from
 * the one that it gives itself (!!str), and the levels of a large text, since its time grows with
 * the square of the depth of lists in brackets, to minutes in a file of 100 KiB. Other mistakes are
 * left to the loader. */
static bool check_events(const struct expansion *expansion, const char *text, size_t length)
{
    yaml_parser_t parser;
    yaml_event_t event = {0};
    bool needed = length > 4096 || memchr(text, '!', length);
    if (!needed || !yaml_parser_initialize(&parser))
        return true;
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
    int depth = 0;
    bool fine = true, more = true;
    while (more && fine && yaml_parser_parse(&parser, &event)) {
        if (event.type == YAML_SEQUENCE_START_EVENT || event.type == YAML_MAPPING_START_EVENT)
            depth++;
        else if (event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT)
            depth--;
        more = event.type != YAML_STREAM_END_EVENT;
        fine = check_event(expansion, &event, depth);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return fine;
}

static struct node *parse(struct expansion *expansion, const char *text, size_t length)
{
    if (!check_events(expansion, text, length))
        return NULL;
    yaml_parser_t parser;
    yaml_document_t document;
    if (!yaml_parser_initialize(&parser)) {
        status_fail(expansion->status, STATUS_MEMORY, "%s: no memory to parse", expansion->file);
        return NULL;
    }
    expansion->text = text;
    expansion->length = length;
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
    struct node *node = NULL;
    if (!yaml_parser_load(&parser, &document)) {
        fail_syntax(expansion, &parser);
    } else {
        expansion->document = &document;
        if (yaml_document_get_root_node(&document))
            node = expand(expansion, 1);
        else
            status_fail(expansion->status, STATUS_INVALID,
                        "%s:%d:%d: empty; expected keys and values", expansion->file,
                        1 + expansion->line, 1 + expansion->column);
        yaml_document_delete(&document);
        if (node && !is_last(&parser, expansion))
            node = NULL;
    }
    yaml_parser_delete(&parser);
    return node;
}

struct node *tree_parse(struct tree_pool *pool, const char *file, const char *text, size_t length,
                        struct status *status)
{
    struct expansion expansion = {.pool = pool, .file = file, .status = status};
    if (length > TREE_FILE_LIMIT) {
        status_fail(status, STATUS_INVALID, "%s:1:1: %zu bytes; expected at most %d", file, length,
                    (int)TREE_FILE_LIMIT);
        return NULL;
    }
    return parse(&expansion, text, length);
}

static struct node *parse_setting_value(struct tree_pool *pool, const char *setting,
                                        const char *value, int number, struct status *status)
{
    struct expansion expansion = {.pool = pool,
                                  .file = "--set",
                                  .line = number - 1,
                                  .column = (int)(value - setting),
                                  .status = status};
    /* Nothing behind the = deletes, as an empty value does in a file. */
    if (!value[strspn(value, " ")]) {
        struct source source = {"--set", number, expansion.column + 1, NULL};
        return node_scalar(pool, "", source);
    }
    return parse(&expansion, value, strlen(value));
}

struct node *tree_parse_setting(struct tree_pool *pool, const char *setting, int number,
                                struct status *status)
{
    size_t end = strcspn(setting, "=");
    if (!setting[end] || end == 0 || strlen(setting) > TREE_FILE_LIMIT) {
        status_fail(status, STATUS_INVALID, "--set:%d:1: '%.200s'; expected key.path=value", number,
                    setting);
        return NULL;
    }
    struct node *value = parse_setting_value(pool, setting, setting + end + 1, number, status);
    struct node *root =
        value ? node_mapping(pool, (struct source){"--set", number, 1, NULL}) : NULL;
    struct node *parent = root;
    int depth = 0;
    for (size_t start = 0; value && start <= end; depth++) {
        size_t length = strcspn(setting + start, ".=");
        struct source source = {"--set", number, (int)start + 1, NULL};
        if (length == 0 || depth > TREE_DEPTH_LIMIT / 2) {
            status_fail(status, STATUS_INVALID, "--set:%d:%d: '%.200s'; expected key.path=value",
                        number, source.column, setting);
            return NULL;
        }
        char *key = pool_zeroed(pool, length + 1);
        memcpy(key, setting + start, length);
        start += length + 1;
        struct node *child = start > end ? value : node_mapping(pool, source);
        node_add(pool, parent, key, source, child);
        parent = child;
    }
    return root;
}
