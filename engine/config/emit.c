#include "engine/config/tree.h"

#include <ctype.h>
#include <string.h>
#include <yaml.h>

static int append(void *data, unsigned char *bytes, size_t size)
{
    text_add_part(data, (const char *)bytes, size);
    return 1;
}

static int emit_scalar(yaml_emitter_t *emitter, const char *text, bool quoted)
{
    yaml_event_t event;
    yaml_scalar_style_t style = quoted ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : YAML_PLAIN_SCALAR_STYLE;
    return yaml_scalar_event_initialize(&event, NULL, NULL, (yaml_char_t *)(uintptr_t)text,
                                        (int)strlen(text), 1, 1, style) &&
           yaml_emitter_emit(emitter, &event);
}

static int emit_node(yaml_emitter_t *emitter, const struct node *node)
{
    yaml_event_t event;
    if (node->kind == NODE_SCALAR)
        return emit_scalar(emitter, node->text, node->quoted);
    bool mapping = node->kind == NODE_MAPPING;
    int fine = mapping ? yaml_mapping_start_event_initialize(&event, NULL, NULL, 1,
                                                             YAML_BLOCK_MAPPING_STYLE)
                       : yaml_sequence_start_event_initialize(&event, NULL, NULL, 1,
                                                              YAML_BLOCK_SEQUENCE_STYLE);
    fine = fine && yaml_emitter_emit(emitter, &event);
    for (int i = 0; fine && i < node->count; i++)
        fine = (!mapping || emit_scalar(emitter, node->entries[i].key, false)) &&
               emit_node(emitter, node->entries[i].value);
    fine = fine && (mapping ? yaml_mapping_end_event_initialize(&event)
                            : yaml_sequence_end_event_initialize(&event));
    return fine && yaml_emitter_emit(emitter, &event);
}

bool tree_emit(const struct node *root, struct text *text, struct status *status)
{
    yaml_emitter_t emitter;
    yaml_event_t event;
    if (!yaml_emitter_initialize(&emitter))
        return status_fail(status, STATUS_MEMORY, "no memory to write YAML");
    yaml_emitter_set_output(&emitter, append, text);
    yaml_emitter_set_unicode(&emitter, 1);
    bool fine = yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING) &&
                yaml_emitter_emit(&emitter, &event) &&
                yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1) &&
                yaml_emitter_emit(&emitter, &event) && emit_node(&emitter, root) &&
                yaml_document_end_event_initialize(&event, 1) &&
                yaml_emitter_emit(&emitter, &event) && yaml_stream_end_event_initialize(&event) &&
                yaml_emitter_emit(&emitter, &event);
    if (!fine)
        status_fail(status, STATUS_INTERNAL, "cannot write the merged configuration: %s",
                    emitter.problem ? emitter.problem : "unknown");
    yaml_emitter_delete(&emitter);
    return fine;
}

/* Text that reads back as itself without quotes, in lists too. */
static bool is_simple(const char *text)
{
    if (!text[0] || (text[0] == '-' && !isdigit((unsigned char)text[1])))
        return false;
    for (const char *c = text; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("_-./+^$", *c))
            return false;
    return true;
}

static void print_scalar(const struct node *node, struct text *text)
{
    if (!node->quoted && is_simple(node->text)) {
        text_add(text, node->text);
        return;
    }
    text_add(text, "\"");
    for (const char *c = node->text; *c; c++) {
        if (*c == '"' || *c == '\\')
            text_format(text, "\\%c", *c);
        else if ((unsigned char)*c < 0x20 || *c == 0x7f)
            text_format(text, "\\x%02x", (unsigned)*c);
        else
            text_add_part(text, c, 1);
    }
    text_add(text, "\"");
}

static void print_value(const struct node *node, struct text *text)
{
    if (node->kind == NODE_SCALAR) {
        print_scalar(node, text);
        return;
    }
    text_add(text, node->kind == NODE_MAPPING ? "{" : "[");
    for (int i = 0; i < node->count; i++) {
        text_add(text, i ? ", " : "");
        if (node->kind == NODE_MAPPING)
            text_format(text, "%s: ", node->entries[i].key);
        print_value(node->entries[i].value, text);
    }
    text_add(text, node->kind == NODE_MAPPING ? "}" : "]");
}

static void print_mapping(const struct node *mapping, int depth, bool remarks, struct text *text)
{
    for (int i = 0; i < mapping->count; i++) {
        const struct node_entry *entry = &mapping->entries[i];
        const struct node *value = entry->value;
        text_format(text, "%*s%s:", 2 * depth, "", entry->key);
        if (value->kind == NODE_MAPPING && value->count) {
            text_add(text, "\n");
            print_mapping(value, depth + 1, remarks, text);
            continue;
        }
        text_add(text, " ");
        print_value(value, text);
        if (remarks) {
            text_pad(text, 48);
            text_format(text, "# %s:%d", value->source.file, value->source.line);
            if (value->over.file)
                text_format(text, ", over %s:%d", value->over.file, value->over.line);
        }
        text_add(text, "\n");
    }
}

void tree_print(const struct node *root, bool remarks, struct text *text)
{
    print_mapping(root, 0, remarks, text);
}
