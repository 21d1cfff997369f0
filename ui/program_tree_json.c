/* Rows of the listing as JSON, to find them again in another session. */
#include "ui/program_tree.h"
#include "ui/remember.h"

#include "engine/base/memory.h"

#include <jansson.h>
#include <string.h>

static const char *const level_names[] = {"pass", "layer", "instruction"};

json_t *program_tree_json(const struct program_tree *tree, int index)
{
    const struct tree_node *node = &tree->nodes[index];
    return json_pack("{s:s, s:i, s:s}", "level", level_names[node->level], "first", node->first,
                     "label", node->level == TREE_INSTRUCTION ? "" : node->label);
}

int program_tree_find(const struct program_tree *tree, const json_t *json)
{
    json_int_t first = json_integer_value(json_object_get(json, "first"));
    const char *label = json_string_value(json_object_get(json, "label"));
    int level = remember_choice(json, "level", level_names, ARRAY_LENGTH(level_names), -1);
    if (level < 0 || !label || first < 0 || first >= tree->instruction_count)
        return -1;
    int node = tree->leaves[first];
    while (node >= 0 && (int)tree->nodes[node].level != level)
        node = tree->nodes[node].parent;
    if (node < 0 || tree->nodes[node].first != first ||
        (level != TREE_INSTRUCTION && strcmp(tree->nodes[node].label, label) != 0))
        return -1;
    return node;
}
