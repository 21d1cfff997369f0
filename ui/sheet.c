#include "ui/sheet.h"

#include "engine/base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const endings[] = {"txt", "csv", "json"};

int sheet_format_find(const char *name)
{
    if (strcmp(name, "text") == 0)
        return SHEET_TEXT;
    for (int i = 0; i < SHEET_FORMAT_COUNT; i++)
        if (strcmp(endings[i], name) == 0)
            return i;
    return -1;
}

enum sheet_format sheet_format_of(const char *path)
{
    const char *dot = strrchr(path, '.');
    int format = dot ? sheet_format_find(dot + 1) : -1;
    return format < 0 ? SHEET_TEXT : (enum sheet_format)format;
}

const char *sheet_format_ending(enum sheet_format format)
{
    return endings[format];
}

/* ---- tables ---- */

void sheet_add_column(struct sheet_table *table, const char *column)
{
    table->columns =
        memory_resize(table->columns, (size_t)table->column_count + 1, sizeof(*table->columns));
    table->columns[table->column_count++] = memory_string(column);
}

struct sheet_table *sheet_add_table(struct sheet *sheet, const char *name, const char *columns)
{
    struct sheet_table *table = memory_zeroed(1, sizeof(*table));
    table->name = memory_string(name);
    for (const char *word = columns; *word;) {
        size_t length = strcspn(word, " ");
        char *column = memory_string_part(word, length);
        sheet_add_column(table, column);
        free(column);
        word += length + strspn(word + length, " ");
    }
    ARRAY_PUSH(sheet->tables, sheet->table_count, sheet->table_capacity, table);
    return table;
}

static void add_cell(struct sheet_table *table, struct cell cell)
{
    ARRAY_PUSH(table->cells, table->cell_count, table->capacity, cell);
}

static struct cell text_cell(const char *text)
{
    return (struct cell){.kind = text ? CELL_TEXT : CELL_UNKNOWN, .text = memory_string(text)};
}

void table_text(struct sheet_table *table, const char *text)
{
    add_cell(table, text_cell(text));
}

void table_integer(struct sheet_table *table, int64_t integer)
{
    add_cell(table, (struct cell){.kind = CELL_INTEGER, .integer = integer});
}

void table_number(struct sheet_table *table, double number)
{
    add_cell(table, (struct cell){.kind = CELL_NUMBER, .number = number});
}

void table_measure(struct sheet_table *table, double number)
{
    if (isnan(number))
        table_unknown(table);
    else
        table_number(table, number);
}

void table_flag(struct sheet_table *table, bool flag)
{
    add_cell(table, (struct cell){.kind = CELL_FLAG, .flag = flag});
}

void table_unknown(struct sheet_table *table)
{
    add_cell(table, (struct cell){.kind = CELL_UNKNOWN});
}

/* ---- facts ---- */

static void add_fact(struct sheet *sheet, const char *name, struct cell cell)
{
    int capacity = sheet->fact_capacity;
    ARRAY_PUSH(sheet->facts, sheet->fact_count, sheet->fact_capacity, memory_string(name));
    if (sheet->fact_capacity != capacity)
        sheet->values =
            memory_resize(sheet->values, (size_t)sheet->fact_capacity, sizeof(*sheet->values));
    sheet->values[sheet->fact_count - 1] = cell;
}

void sheet_fact(struct sheet *sheet, const char *name, const char *text)
{
    add_fact(sheet, name, text_cell(text));
}

void sheet_fact_integer(struct sheet *sheet, const char *name, int64_t integer)
{
    add_fact(sheet, name, (struct cell){.kind = CELL_INTEGER, .integer = integer});
}

void sheet_fact_measure(struct sheet *sheet, const char *name, double number)
{
    enum cell_kind kind = isnan(number) ? CELL_UNKNOWN : CELL_NUMBER;
    add_fact(sheet, name, (struct cell){.kind = kind, .number = number});
}

/* ---- the end ---- */

static void free_cells(struct cell *cells, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (cells[i].kind == CELL_TEXT)
            free(cells[i].text);
    free(cells);
}

static void free_table(struct sheet_table *table)
{
    for (int i = 0; i < table->column_count; i++)
        free(table->columns[i]);
    free(table->columns);
    free_cells(table->cells, table->cell_count);
    free(table->name);
    free(table);
}

void sheet_free(struct sheet *sheet)
{
    for (int i = 0; i < sheet->table_count; i++)
        free_table(sheet->tables[i]);
    for (int i = 0; i < sheet->fact_count; i++)
        free(sheet->facts[i]);
    free_cells(sheet->values, sheet->fact_count);
    free(sheet->facts);
    free(sheet->tables);
    text_free(&sheet->plain);
    *sheet = (struct sheet){0};
}
