/* What a view shows, as data: facts and tables, to be saved as text, CSV or JSON. A view fills a
 * sheet, ui/save.c writes it. Pure: no terminal, no session. UI thread. */
#ifndef UI_SHEET_H
#define UI_SHEET_H

#include "engine/base/status.h"
#include "engine/base/text.h"

#include <stdbool.h>
#include <stdint.h>

enum cell_kind {
    CELL_UNKNOWN = 0, /* not measured, does not apply: empty, null in JSON */
    CELL_TEXT,
    CELL_INTEGER,
    CELL_NUMBER, /* may be NaN or infinite: "nan", "inf", "-inf", as strings in JSON */
    CELL_FLAG,   /* yes and no; true and false in JSON */
};

struct cell {
    enum cell_kind kind;
    union {
        char *text; /* owned */
        int64_t integer;
        double number;
        bool flag;
    };
};

/* Cells go in one after the other, row by row. */
struct sheet_table {
    char *name;     /* a word: "tensors" */
    char **columns; /* [column_count] */
    int column_count;
    struct cell *cells;
    int64_t cell_count, capacity;
};

struct sheet {
    char **facts; /* [fact_count] names of the cells beside them: what holds for the whole */
    struct cell *values;
    int fact_count, fact_capacity;
    struct sheet_table **tables; /* the first is what the view is about */
    int table_count, table_capacity;
    struct text plain; /* views that are text anyway: what the text format has in place of tables */
};

enum sheet_format { SHEET_TEXT = 0, SHEET_CSV, SHEET_JSON, SHEET_FORMAT_COUNT };

/* "text", "csv", "json"; also "txt". -1: none. */
int sheet_format_find(const char *name);
/* By the ending of a file's name; text for any other. */
enum sheet_format sheet_format_of(const char *path);
const char *sheet_format_ending(enum sheet_format format); /* "txt", "csv", "json" */

/* A new table; `columns` are separated by blanks. Good until the sheet is freed. */
struct sheet_table *sheet_add_table(struct sheet *sheet, const char *name, const char *columns);
void sheet_add_column(struct sheet_table *table, const char *column); /* before the first cell */

/* The next cell; NULL texts and, with `measure`, NaN are unknown. Texts are copied. */
void table_text(struct sheet_table *table, const char *text);
void table_integer(struct sheet_table *table, int64_t integer);
void table_number(struct sheet_table *table, double number); /* NaN is a number of its own */
void table_measure(struct sheet_table *table, double number);
void table_flag(struct sheet_table *table, bool flag);
void table_unknown(struct sheet_table *table);

/* One thing that is said of the whole; a text that is NULL and a measure that is NaN are unknown.
 * Texts are copied. */
void sheet_fact(struct sheet *sheet, const char *name, const char *text);
void sheet_fact_integer(struct sheet *sheet, const char *name, int64_t integer);
void sheet_fact_measure(struct sheet *sheet, const char *name, double number);

/* Everything, in aligned columns for people. What could not be printed is escaped. */
void sheet_write_text(const struct sheet *sheet, struct text *out);
/* One table by RFC 4180, with a header line. */
void sheet_write_csv(const struct sheet_table *table, struct text *out);
/* One object: "facts", and "tables" with an array of objects for each table. Bytes that are no
 * UTF-8 become U+FFFD. */
void sheet_write_json(const struct sheet *sheet, struct text *out);

void sheet_free(struct sheet *sheet);

#endif
