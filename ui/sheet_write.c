#include "ui/sheet.h"

#include "engine/base/memory.h"
#include "engine/base/unicode.h"
#include "ui/text_width.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The shortest text that reads back as the same number. */
static void add_number(struct text *out, double number)
{
    char text[40];
    if (isnan(number)) { /* whose sign means nothing */
        text_add(out, "nan");
        return;
    }
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            break;
    }
    text_add(out, text);
}

static void add_cell(struct text *out, const struct cell *cell)
{
    switch (cell->kind) {
    case CELL_UNKNOWN:
        break;
    case CELL_TEXT:
        text_add(out, cell->text);
        break;
    case CELL_INTEGER:
        text_format(out, "%" PRId64, cell->integer);
        break;
    case CELL_NUMBER:
        add_number(out, cell->number);
        break;
    case CELL_FLAG:
        text_add(out, cell->flag ? "yes" : "no");
        break;
    }
}

/* ---- text ---- */

static int shown_width(const struct cell *cell, struct text *scratch)
{
    text_clear(scratch);
    add_cell(scratch, cell);
    return scratch->length ? text_width(scratch->data, scratch->length) : cell->kind == CELL_TEXT;
}

/* Numbers to the right, texts to the left; the last column is not filled up. */
static void add_aligned(struct text *out, const char *shown, int width, bool right, bool last)
{
    size_t length = strlen(shown);
    int blanks = width - text_width(shown, length);
    for (int i = 0; right && i < blanks; i++)
        text_add(out, " ");
    text_clip(out, shown, length, 0, text_width(shown, length));
    for (int i = 0; !right && !last && i < blanks; i++)
        text_add(out, " ");
}

static void add_row(struct text *out, const struct sheet_table *table, const int *widths,
                    const struct cell *row, struct text *scratch)
{
    for (int c = 0; c < table->column_count; c++) {
        text_clear(scratch);
        add_cell(scratch, &row[c]);
        bool right = row[c].kind == CELL_INTEGER || row[c].kind == CELL_NUMBER;
        bool unknown = row[c].kind == CELL_UNKNOWN;
        text_add(out, c ? "  " : "");
        add_aligned(out,
                    unknown           ? "-"
                    : scratch->length ? scratch->data
                                      : "",
                    widths[c], right || unknown, c == table->column_count - 1);
    }
    text_add(out, "\n");
}

static void write_table(const struct sheet_table *table, struct text *out)
{
    struct text scratch = {0};
    int columns = table->column_count;
    int *widths = memory_zeroed((size_t)columns, sizeof(*widths));
    for (int c = 0; c < columns; c++)
        widths[c] = text_width(table->columns[c], strlen(table->columns[c]));
    for (int64_t i = 0; i < table->cell_count; i++) {
        int width = shown_width(&table->cells[i], &scratch);
        if (width > widths[i % columns])
            widths[i % columns] = width;
    }
    for (int c = 0; c < columns; c++) {
        enum cell_kind first = table->cell_count > c ? table->cells[c].kind : CELL_TEXT;
        text_add(out, c ? "  " : "");
        add_aligned(out, table->columns[c], widths[c],
                    first == CELL_INTEGER || first == CELL_NUMBER, c == columns - 1);
    }
    text_add(out, "\n");
    for (int64_t i = 0; i + columns <= table->cell_count; i += columns)
        add_row(out, table, widths, &table->cells[i], &scratch);
    free(widths);
    text_free(&scratch);
}

static void write_facts(const struct sheet *sheet, struct text *out)
{
    struct text shown = {0};
    size_t widest = 0;
    for (int i = 0; i < sheet->fact_count; i++)
        widest = strlen(sheet->facts[i]) > widest ? strlen(sheet->facts[i]) : widest;
    for (int i = 0; i < sheet->fact_count; i++) {
        text_clear(&shown);
        add_cell(&shown, &sheet->values[i]);
        text_format(out, "# %-*s  ", (int)widest, sheet->facts[i]);
        add_aligned(out, shown.length ? shown.data : "-", 0, false, true);
        text_add(out, "\n");
    }
    text_free(&shown);
}

void sheet_write_text(const struct sheet *sheet, struct text *out)
{
    write_facts(sheet, out);
    text_add(out, sheet->fact_count ? "\n" : "");
    if (sheet->plain.length > 0) {
        text_add(out, sheet->plain.data);
        return;
    }
    for (int i = 0; i < sheet->table_count; i++) {
        if (sheet->table_count > 1)
            text_format(out, "%s# %s\n", i ? "\n" : "", sheet->tables[i]->name);
        write_table(sheet->tables[i], out);
    }
}

/* ---- CSV: RFC 4180 ---- */

static void add_field(struct text *out, const char *field)
{
    bool plain = !field[strcspn(field, ",\"\r\n")] && field[0] != ' ' &&
                 (!field[0] || field[strlen(field) - 1] != ' ');
    if (plain) {
        text_add(out, field);
        return;
    }
    text_add(out, "\"");
    for (const char *at = field; *at; at++)
        text_add_part(out, *at == '"' ? "\"\"" : at, *at == '"' ? 2 : 1);
    text_add(out, "\"");
}

void sheet_write_csv(const struct sheet_table *table, struct text *out)
{
    struct text field = {0};
    int columns = table->column_count;
    for (int c = 0; c < columns; c++) {
        text_add(out, c ? "," : "");
        add_field(out, table->columns[c]);
    }
    text_add(out, "\r\n");
    for (int64_t i = 0; i + columns <= table->cell_count; i += columns) {
        for (int c = 0; c < columns; c++) {
            text_clear(&field);
            add_cell(&field, &table->cells[i + c]);
            text_add(out, c ? "," : "");
            add_field(out, field.length ? field.data : "");
        }
        text_add(out, "\r\n");
    }
    text_free(&field);
}

/* ---- JSON ---- */

/* jansson takes nothing but UTF-8. */
static json_t *json_of_text(const char *text)
{
    json_t *json = json_string(text);
    struct text clean = {0};
    int32_t character;
    for (size_t left = strlen(text); !json && left > 0;) {
        size_t taken = unicode_decode(text, left, &character);
        if (character < 0)
            text_add(&clean, "\xef\xbf\xbd");
        else
            text_add_part(&clean, text, taken);
        text += taken;
        left -= taken;
    }
    if (!json)
        json = json_string(clean.data);
    text_free(&clean);
    return json;
}

static json_t *json_of(const struct cell *cell)
{
    switch (cell->kind) {
    case CELL_UNKNOWN:
        break;
    case CELL_TEXT:
        return json_of_text(cell->text);
    case CELL_INTEGER:
        return json_integer(cell->integer);
    case CELL_NUMBER:
        if (isfinite(cell->number))
            return json_real(cell->number);
        return json_string(isnan(cell->number) ? "nan" : cell->number > 0 ? "inf" : "-inf");
    case CELL_FLAG:
        return json_boolean(cell->flag);
    }
    return json_null();
}

/* Adds one value and drops it: a table of a million rows is never whole in memory twice. */
static void dump(struct text *out, json_t *json)
{
    char *dumped = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
    text_add(out, dumped ? dumped : "null");
    free(dumped);
    json_decref(json);
}

static void add_json_table(const struct sheet_table *table, struct text *out)
{
    int columns = table->column_count;
    dump(out, json_of_text(table->name));
    text_add(out, ": [");
    for (int64_t i = 0; i + columns <= table->cell_count; i += columns) {
        json_t *row = json_object();
        for (int c = 0; c < columns; c++)
            json_object_set_new(row, table->columns[c], json_of(&table->cells[i + c]));
        text_add(out, i ? ",\n  " : "\n  ");
        dump(out, row);
    }
    text_add(out, "]");
}

void sheet_write_json(const struct sheet *sheet, struct text *out)
{
    json_t *facts = json_object();
    for (int i = 0; i < sheet->fact_count; i++)
        json_object_set_new(facts, sheet->facts[i], json_of(&sheet->values[i]));
    text_add(out, "{\"facts\": ");
    dump(out, facts);
    text_add(out, ",\n\"tables\": {");
    for (int i = 0; i < sheet->table_count; i++) {
        text_add(out, i ? ",\n" : "\n");
        add_json_table(sheet->tables[i], out);
    }
    text_add(out, "}}\n");
}
