/* The last step, from a checked tree to structs, is libcyaml's. */
#include "engine/config/check.h"

#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 3, 0))) static void collect(cyaml_log_t level, void *context,
                                                          const char *format, va_list arguments)
{
    (void)level;
    char line[300];
    vsnprintf(line, sizeof(line), format, arguments);
    text_add(context, line);
}

static cyaml_config_t reader(struct text *log)
{
    return (cyaml_config_t){.log_fn = collect,
                            .log_ctx = log,
                            .mem_fn = cyaml_mem,
                            .log_level = CYAML_LOG_WARNING,
                            .flags = CYAML_CFG_NO_ALIAS};
}

void *check_load(const struct node *root, const cyaml_schema_value_t *schema, struct status *status)
{
    struct text yaml = {0}, log = {0};
    cyaml_data_t *data = NULL;
    cyaml_config_t config = reader(&log);
    if (tree_emit(root, &yaml, status)) {
        cyaml_err_t error =
            cyaml_load_data((const uint8_t *)yaml.data, yaml.length, &config, schema, &data, NULL);
        if (error != CYAML_OK || !data)
            status_fail(status, STATUS_INTERNAL, "the merged configuration does not load: %s\n%s",
                        cyaml_strerror(error), log.data ? log.data : "");
        if (error != CYAML_OK)
            data = NULL;
    }
    text_free(&yaml);
    text_free(&log);
    return data;
}

void check_release(void *data, const cyaml_schema_value_t *schema)
{
    struct text log = {0};
    cyaml_config_t config = reader(&log);
    if (data)
        cyaml_free(&config, schema, data, 0);
    text_free(&log);
}

void *numeric_enter(void)
{
    locale_t locale = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    return locale ? uselocale(locale) : (locale_t)0;
}

void numeric_leave(void *token)
{
    if (!token)
        return;
    locale_t mine = uselocale(token);
    freelocale(mine);
}
