#include "engine/config/schema.h"

#include "engine/base/memory.h"

#include <stddef.h>

#define REQUIRED CYAML_FLAG_DEFAULT
#define OPTIONAL CYAML_FLAG_OPTIONAL

static const cyaml_strval_t variant_groups[] = {
    {"basic", GROUP_BASIC},
    {"distributed", GROUP_DISTRIBUTED},
};

static const cyaml_schema_field_t variant_fields[] = {
    CYAML_FIELD_STRING_PTR("name", OPTIONAL, struct raw_variant, name, 0, CYAML_UNLIMITED),
    CYAML_FIELD_INT_PTR("order", OPTIONAL, struct raw_variant, order),
    CYAML_FIELD_ENUM("group", CYAML_FLAG_STRICT, struct raw_variant, group, variant_groups,
                     ARRAY_LENGTH(variant_groups)),
    CYAML_FIELD_INT("ranks", OPTIONAL, struct raw_variant, ranks),
    CYAML_FIELD_STRING_PTR("compares_with", OPTIONAL, struct raw_variant, compares_with, 0,
                           CYAML_UNLIMITED),
    CYAML_FIELD_STRING_PTR("tolerances", OPTIONAL, struct raw_variant, tolerances, 0,
                           CYAML_UNLIMITED),
    CYAML_FIELD_FLOAT_PTR("compare_factor", OPTIONAL, struct raw_variant, compare_factor),
    CYAML_FIELD_BOOL_PTR("requires_cuda", OPTIONAL, struct raw_variant, requires_cuda),
    CYAML_FIELD_IGNORE("overrides", OPTIONAL),
    CYAML_FIELD_END,
};

#define LIMITS(structure, member)                                                                  \
    CYAML_FIELD_FLOAT_PTR("relative", OPTIONAL, structure, member relative),                       \
        CYAML_FIELD_FLOAT_PTR("absolute", OPTIONAL, structure, member absolute),                   \
        CYAML_FIELD_FLOAT_PTR("rms_relative", OPTIONAL, structure, member rms_relative),           \
        CYAML_FIELD_FLOAT_PTR("rms_absolute", OPTIONAL, structure, member rms_absolute),           \
        CYAML_FIELD_FLOAT_PTR("max_relative", OPTIONAL, structure, member max_relative),           \
        CYAML_FIELD_FLOAT_PTR("max_absolute", OPTIONAL, structure, member max_absolute),           \
        CYAML_FIELD_FLOAT_PTR("rms_epsilon", OPTIONAL, structure, member rms_epsilon),             \
        CYAML_FIELD_FLOAT_PTR("scale", OPTIONAL, structure, member scale),                         \
        CYAML_FIELD_BOOL_PTR("ignore", OPTIONAL, structure, member ignore),                        \
        CYAML_FIELD_BOOL_PTR("ignore_duplicates", OPTIONAL, structure, member ignore_duplicates)

static const cyaml_schema_field_t limits_fields[] = {
    LIMITS(struct raw_limits, ),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t rule_fields[] = {
    CYAML_FIELD_STRING_PTR("step", OPTIONAL, struct raw_rule, step, 1, CYAML_UNLIMITED),
    CYAML_FIELD_STRING_PTR("name", OPTIONAL, struct raw_rule, name, 1, CYAML_UNLIMITED),
    LIMITS(struct raw_rule, limits.),
    CYAML_FIELD_MAPPING_PTR("cpu", OPTIONAL, struct raw_rule, cpu, limits_fields),
    CYAML_FIELD_MAPPING_PTR("cuda", OPTIONAL, struct raw_rule, cuda, limits_fields),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t rule = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_rule, rule_fields),
};

static const cyaml_schema_field_t tolerances_fields[] = {
    CYAML_FIELD_STRING_PTR("name", OPTIONAL, struct raw_tolerances, name, 0, CYAML_UNLIMITED),
    CYAML_FIELD_SEQUENCE("rules", CYAML_FLAG_POINTER | OPTIONAL, struct raw_tolerances, rules,
                         &rule, 0, CYAML_UNLIMITED),
    CYAML_FIELD_MAPPING("otherwise", REQUIRED, struct raw_tolerances, otherwise, limits_fields),
    CYAML_FIELD_END,
};

const cyaml_schema_value_t schema_variant = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_variant, variant_fields),
};

const cyaml_schema_value_t schema_tolerances = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_tolerances, tolerances_fields),
};
