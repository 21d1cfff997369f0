#include "engine/session/conditions.h"

#include "engine/base/memory.h"
#include "engine/base/names.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NODES = 256, MAX_DEPTH = 64, MAX_NAME = 32 };

enum kind {
    KIND_NUMBER,
    KIND_VARIABLE,
    KIND_NOT,
    KIND_NEGATE,
    KIND_OR,
    KIND_AND,
    KIND_LESS,
    KIND_LESS_EQUAL,
    KIND_GREATER,
    KIND_GREATER_EQUAL,
    KIND_EQUAL,
    KIND_NOT_EQUAL,
    KIND_ADD,
    KIND_SUBTRACT,
    KIND_MULTIPLY,
    KIND_DIVIDE,
};

struct node {
    enum kind kind;
    double number;
    enum variable variable;
    int left, right; /* nodes */
};

struct condition {
    struct node *nodes;
    int count, capacity, root;
};

struct parser {
    struct condition *condition;
    const char *text, *at;
    int depth;
    struct status *status;
};

const char *variable_name(enum variable variable)
{
#define VARIABLE_NAME(suffix, name, meaning) name,
    static const char *const names[] = {VARIABLE_LIST(VARIABLE_NAME)};
#undef VARIABLE_NAME
    return names[variable];
}

const char *variable_meaning(enum variable variable)
{
#define VARIABLE_MEANING(suffix, name, meaning) meaning,
    static const char *const meanings[] = {VARIABLE_LIST(VARIABLE_MEANING)};
#undef VARIABLE_MEANING
    return meanings[variable];
}

static int fail_at(struct parser *parser, const char *at, const char *message)
{
    if (parser->status->code == STATUS_OK)
        status_fail(parser->status, STATUS_INVALID, "condition: %s at column %d:\n    %s\n    %*s^",
                    message, (int)(at - parser->text) + 1, parser->text, (int)(at - parser->text),
                    "");
    return -1;
}

static int add_node(struct parser *parser, struct node node)
{
    struct condition *condition = parser->condition;
    if (condition->count >= MAX_NODES)
        return fail_at(parser, parser->at, "too long");
    ARRAY_PUSH(condition->nodes, condition->count, condition->capacity, node);
    return condition->count - 1;
}

static int add_pair(struct parser *parser, enum kind kind, int left, int right)
{
    if (left < 0 || right < 0)
        return -1;
    return add_node(parser, (struct node){.kind = kind, .left = left, .right = right});
}

static void skip_blanks(struct parser *parser)
{
    while (isspace((unsigned char)*parser->at))
        parser->at++;
}

static bool is_name_byte(char byte)
{
    return isalnum((unsigned char)byte) || byte == '_';
}

/* Takes `token` if it is next; a word only when it ends there. */
static bool take(struct parser *parser, const char *token)
{
    skip_blanks(parser);
    size_t length = strlen(token);
    if (strncmp(parser->at, token, length) != 0)
        return false;
    if (is_name_byte(token[0]) && is_name_byte(parser->at[length]))
        return false;
    parser->at += length;
    return true;
}

static int parse_or(struct parser *parser);

static int fail_unknown(struct parser *parser, const char *start, const char *name)
{
    const char *names[VARIABLE_COUNT];
    for (int i = 0; i < VARIABLE_COUNT; i++)
        names[i] = variable_name(i);
    const char *closest = names_closest(name, names, VARIABLE_COUNT);
    char *message = memory_format("nothing is called '%s' (%s%s%s)", name,
                                  closest ? "did you mean '" : "type: help conditions",
                                  closest ? closest : "", closest ? "'?" : "");
    fail_at(parser, start, message);
    free(message);
    return -1;
}

static int parse_name(struct parser *parser)
{
    const char *start = parser->at;
    char name[MAX_NAME];
    size_t length = 0;
    while (is_name_byte(start[length]))
        length++;
    if (length >= sizeof(name))
        return fail_at(parser, start, "too long a name");
    memcpy(name, start, length);
    name[length] = '\0';
    for (int i = 0; i < VARIABLE_COUNT; i++)
        if (strcmp(name, variable_name(i)) == 0) {
            parser->at += length;
            return add_node(parser, (struct node){.kind = KIND_VARIABLE, .variable = i});
        }
    return fail_unknown(parser, start, name);
}

static int parse_number(struct parser *parser)
{
    char *end;
    double number = strtod(parser->at, &end);
    if (end == parser->at)
        return fail_at(parser, parser->at, "a number or a name is missing");
    parser->at = end;
    return add_node(parser, (struct node){.kind = KIND_NUMBER, .number = number});
}

static int parse_unary(struct parser *parser)
{
    skip_blanks(parser);
    if (take(parser, "-")) {
        if (++parser->depth > MAX_DEPTH)
            return fail_at(parser, parser->at, "too deep");
        int operand = parse_unary(parser);
        parser->depth--;
        return operand < 0 ? -1 : add_pair(parser, KIND_NEGATE, operand, operand);
    }
    if (take(parser, "(")) {
        int inner = parse_or(parser);
        if (inner >= 0 && !take(parser, ")"))
            return fail_at(parser, parser->at, "')' is missing");
        return inner;
    }
    if (isalpha((unsigned char)*parser->at) || *parser->at == '_')
        return parse_name(parser);
    return parse_number(parser);
}

static int parse_product(struct parser *parser)
{
    int left = parse_unary(parser);
    while (left >= 0) {
        if (take(parser, "*"))
            left = add_pair(parser, KIND_MULTIPLY, left, parse_unary(parser));
        else if (take(parser, "/"))
            left = add_pair(parser, KIND_DIVIDE, left, parse_unary(parser));
        else
            break;
    }
    return left;
}

static int parse_sum(struct parser *parser)
{
    int left = parse_product(parser);
    while (left >= 0) {
        if (take(parser, "+"))
            left = add_pair(parser, KIND_ADD, left, parse_product(parser));
        else if (take(parser, "-"))
            left = add_pair(parser, KIND_SUBTRACT, left, parse_product(parser));
        else
            break;
    }
    return left;
}

static int parse_compare(struct parser *parser)
{
    static const struct {
        const char *token;
        enum kind kind;
    } operators[] = {{"<=", KIND_LESS_EQUAL}, {">=", KIND_GREATER_EQUAL}, {"<", KIND_LESS},
                     {">", KIND_GREATER},     {"==", KIND_EQUAL},         {"!=", KIND_NOT_EQUAL},
                     {"=", KIND_EQUAL}};
    int left = parse_sum(parser);
    for (int i = 0; left >= 0 && i < ARRAY_LENGTH(operators); i++)
        if (take(parser, operators[i].token))
            return add_pair(parser, operators[i].kind, left, parse_sum(parser));
    return left;
}

static int parse_not(struct parser *parser)
{
    skip_blanks(parser);
    bool bang = parser->at[0] == '!' && parser->at[1] != '=';
    if ((bang && take(parser, "!")) || take(parser, "not")) {
        if (++parser->depth > MAX_DEPTH)
            return fail_at(parser, parser->at, "too deep");
        int operand = parse_not(parser);
        parser->depth--;
        return operand < 0 ? -1 : add_pair(parser, KIND_NOT, operand, operand);
    }
    return parse_compare(parser);
}

static int parse_and(struct parser *parser)
{
    int left = parse_not(parser);
    while (left >= 0 && (take(parser, "and") || take(parser, "&&")))
        left = add_pair(parser, KIND_AND, left, parse_not(parser));
    return left;
}

static int parse_or(struct parser *parser)
{
    if (++parser->depth > MAX_DEPTH)
        return fail_at(parser, parser->at, "too deep");
    int left = parse_and(parser);
    while (left >= 0 && (take(parser, "or") || take(parser, "||")))
        left = add_pair(parser, KIND_OR, left, parse_and(parser));
    parser->depth--;
    return left;
}

struct condition *condition_parse(const char *text, struct status *status)
{
    struct condition *condition = memory_zeroed(1, sizeof(*condition));
    struct parser parser = {condition, text, text, 0, status};
    condition->root = parse_or(&parser);
    skip_blanks(&parser);
    if (condition->root >= 0 && *parser.at)
        condition->root = fail_at(&parser, parser.at, "not understood");
    if (condition->root >= 0)
        return condition;
    condition_free(condition);
    return NULL;
}

void condition_free(struct condition *condition)
{
    if (!condition)
        return;
    free(condition->nodes);
    free(condition);
}

bool condition_uses_tensor(const struct condition *condition)
{
    for (int i = 0; i < condition->count; i++)
        if (condition->nodes[i].kind == KIND_VARIABLE &&
            condition->nodes[i].variable <= VARIABLE_INF)
            return true;
    return false;
}

static double truth(bool is_true)
{
    return is_true ? 1 : 0;
}

static bool is_true(double number)
{
    return number != 0 && !isnan(number);
}

/* Operands come before their operator in the list, so that one pass over it is enough; depth of
 * the expression costs no stack. */
static double apply(const struct node *node, const double *values, const double *variables)
{
    double a = node->kind > KIND_VARIABLE ? values[node->left] : 0;
    double b = node->kind > KIND_VARIABLE ? values[node->right] : 0;
    switch (node->kind) {
    case KIND_NUMBER:
        return node->number;
    case KIND_VARIABLE:
        return variables[node->variable];
    case KIND_NOT:
        return truth(!is_true(a));
    case KIND_NEGATE:
        return -a;
    case KIND_OR:
        return truth(is_true(a) || is_true(b));
    case KIND_AND:
        return truth(is_true(a) && is_true(b));
    case KIND_LESS:
        return truth(a < b);
    case KIND_LESS_EQUAL:
        return truth(a <= b);
    case KIND_GREATER:
        return truth(a > b);
    case KIND_GREATER_EQUAL:
        return truth(a >= b);
    case KIND_EQUAL:
        return truth(a == b);
    case KIND_NOT_EQUAL:
        return truth(a != b && !isnan(a) && !isnan(b));
    case KIND_ADD:
        return a + b;
    case KIND_SUBTRACT:
        return a - b;
    case KIND_MULTIPLY:
        return a * b;
    case KIND_DIVIDE:
        return b == 0 ? NAN : a / b;
    }
    return NAN;
}

double condition_value(const struct condition *condition, const double *variables)
{
    double values[MAX_NODES];
    for (int i = 0; i < condition->count; i++)
        values[i] = apply(&condition->nodes[i], values, variables);
    return values[condition->root];
}

bool condition_holds(const struct condition *condition, const double *variables)
{
    return is_true(condition_value(condition, variables));
}
