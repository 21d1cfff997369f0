/* Sheets as text, CSV and JSON: what random, hostile cells become reads back as the same. */
#include "ui/save.h"
#include "ui/sheet.h"

#include "engine/base/memory.h"
#include "engine/base/unicode.h"
#include "tests/unit/random.h"

#include <jansson.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { ROWS = 60, COLUMNS = 4 };

/* Whatever a name may hold: quotes, commas, line ends, escape sequences, broken UTF-8. */
static char *hostile_text(struct random *random)
{
    static const char *const parts[] = {"\"", ",",        "\r\n", "\n",   " ",  "a",
                                        "<b", "\033[31m", "é",    "\xff", "漢", "\t"};
    struct text text = {0};
    int count = (int)(random_bits(random) % 8);
    for (int i = 0; i < count; i++)
        text_add(&text, parts[random_bits(random) % ARRAY_LENGTH(parts)]);
    return text_take(&text);
}

static double any_number(struct random *random)
{
    static const double special[] = {0.0, NAN, INFINITY, -INFINITY, 1e300, 5e-324, 0.1};
    uint64_t kind = random_bits(random) % 3;
    if (kind == 0)
        return special[random_bits(random) % ARRAY_LENGTH(special)];
    double number = (double)(int64_t)random_bits(random);
    return kind == 1 ? number : number * pow(10, (double)(random_bits(random) % 40) - 40);
}

static void fill(struct sheet *sheet, struct random *random)
{
    struct sheet_table *table = sheet_add_table(sheet, "things", "text integer number flag");
    for (int r = 0; r < ROWS; r++) {
        char *text = hostile_text(random);
        table_text(table, text);
        table_integer(table, (int64_t)random_bits(random));
        table_number(table, any_number(random));
        table_flag(table, random_bits(random) % 2);
        free(text);
    }
}

/* The next field of RFC 4180; *end is what ended it: ',', '\n' (of CRLF) or 0. */
static char *next_field(const char **at, char *end)
{
    struct text field = {0};
    if (**at == '"') {
        for ((*at)++; **at != '"' || (*at)[1] == '"'; (*at)++) {
            assert_true(**at != '\0');
            text_add_part(&field, *at, 1);
            *at += **at == '"';
        }
        (*at)++;
    } else {
        size_t length = strcspn(*at, ",\"\r\n");
        text_add_part(&field, *at, length);
        *at += length;
    }
    if (**at == '\r')
        (*at)++;
    *end = **at;
    assert_true(*end == ',' || *end == '\n' || *end == '\0');
    *at += *end != '\0';
    return text_take(&field);
}

static void check_field(const struct cell *cell, const char *field)
{
    if (cell->kind == CELL_TEXT)
        assert_string_equal(field, cell->text);
    else if (cell->kind == CELL_INTEGER)
        assert_true(strtoll(field, NULL, 10) == cell->integer);
    else if (cell->kind == CELL_FLAG)
        assert_string_equal(field, cell->flag ? "yes" : "no");
    else if (isnan(cell->number))
        assert_string_equal(field, "nan");
    else
        assert_true(strtod(field, NULL) == cell->number); /* to the last bit */
}

static void csv_reads_back(void **state)
{
    struct random random = random_start("sheet");
    struct sheet sheet = {0};
    struct text csv = {0};
    char end;
    (void)state;
    fill(&sheet, &random);
    sheet_write_csv(sheet.tables[0], &csv);
    const char *at = csv.data;
    for (int c = 0; c < COLUMNS; c++) {
        char *field = next_field(&at, &end);
        assert_string_equal(field, sheet.tables[0]->columns[c]);
        free(field);
    }
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        char *field = next_field(&at, &end);
        check_field(&sheet.tables[0]->cells[i], field);
        assert_int_equal(end, i % COLUMNS == COLUMNS - 1 ? '\n' : ',');
        free(field);
    }
    assert_int_equal(*at, '\0');
    text_free(&csv);
    sheet_free(&sheet);
}

static void check_json(const struct cell *cell, const json_t *json)
{
    if (cell->kind == CELL_INTEGER)
        assert_true(json_integer_value(json) == cell->integer);
    else if (cell->kind == CELL_FLAG)
        assert_int_equal(json_is_true(json), cell->flag);
    else if (cell->kind == CELL_NUMBER && isfinite(cell->number))
        assert_true(json_is_real(json) && json_real_value(json) == cell->number);
    else if (cell->kind == CELL_NUMBER)
        assert_string_equal(json_string_value(json), isnan(cell->number) ? "nan"
                                                     : cell->number > 0  ? "inf"
                                                                         : "-inf");
    else if (strchr(cell->text, '\xff'))
        assert_non_null(strstr(json_string_value(json), "\xef\xbf\xbd"));
    else
        assert_string_equal(json_string_value(json), cell->text);
}

static void json_reads_back(void **state)
{
    struct random random = random_start("sheet");
    struct sheet sheet = {0};
    struct text written = {0};
    (void)state;
    fill(&sheet, &random);
    sheet_fact(&sheet, "run", "\xff\"llama");
    sheet_fact_measure(&sheet, "unknown", NAN);
    sheet_write_json(&sheet, &written);
    json_t *json = json_loads(written.data, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    const json_t *facts = json_object_get(json, "facts");
    assert_string_equal(json_string_value(json_object_get(facts, "run")), "\xef\xbf\xbd\"llama");
    assert_true(json_is_null(json_object_get(facts, "unknown")));
    const json_t *rows = json_object_get(json_object_get(json, "tables"), "things");
    assert_int_equal(json_array_size(rows), ROWS);
    for (int i = 0; i < ROWS * COLUMNS; i++)
        check_json(&sheet.tables[0]->cells[i],
                   json_object_get(json_array_get(rows, (size_t)(i / COLUMNS)),
                                   sheet.tables[0]->columns[i % COLUMNS]));
    json_decref(json);
    text_free(&written);
    sheet_free(&sheet);
}

/* For people: columns that line up, and nothing that a terminal would obey. */
static void text_only_prints(void **state)
{
    struct random random = random_start("sheet");
    struct sheet sheet = {0};
    struct text written = {0};
    (void)state;
    fill(&sheet, &random);
    sheet_write_text(&sheet, &written);
    int lines = 0;
    for (char *rest = written.data, *line; (line = strsep(&rest, "\n")) && *line; lines++) {
        int32_t character;
        for (size_t left = strlen(line), taken; left > 0; left -= taken, line += taken) {
            taken = unicode_decode(line, left, &character);
            assert_true(character >= ' ' && character != 0x7f);
        }
    }
    assert_int_equal(lines, 1 + ROWS);
    text_free(&written);
    sheet_free(&sheet);

    struct sheet small = {0};
    struct sheet_table *table = sheet_add_table(&small, "small", "name count");
    table_text(table, "one");
    table_integer(table, 1234);
    table_text(table, "thirteen");
    table_unknown(table);
    sheet_write_text(&small, &written);
    assert_string_equal(written.data, "name      count\n"
                                      "one        1234\n"
                                      "thirteen      -\n");
    text_free(&written);
    sheet_free(&small);
}

static void tables_beyond_the_first_have_files_of_their_own(void **state)
{
    char folder[] = "/tmp/lockstep-sheet-XXXXXX";
    struct sheet sheet = {0};
    struct text names = {0};
    struct status status = STATUS_NONE;
    (void)state;
    assert_non_null(mkdtemp(folder));
    char *path = memory_format("%s/memory.csv", folder);
    char *other = memory_format("%s/memory-owners.csv", folder);
    char *both = memory_format("%s, %s", path, other);
    table_integer(sheet_add_table(&sheet, "timeline", "instruction"), 7);
    table_integer(sheet_add_table(&sheet, "owners", "bytes"), 8);
    assert_true(sheet_save(&sheet, path, SHEET_CSV, false, &names, &status));
    assert_string_equal(names.data, both);
    assert_int_equal(unlink(path), 0);
    /* One of them is there: none is written. */
    assert_false(sheet_save(&sheet, path, SHEET_CSV, false, &names, &status));
    assert_int_equal(status.code, STATUS_EXISTS);
    assert_non_null(strstr(status.text, other));
    assert_int_not_equal(access(path, F_OK), 0);
    assert_true(sheet_save(&sheet, path, SHEET_CSV, true, &names, &status));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unlink(other), 0);
    assert_int_equal(rmdir(folder), 0);
    free(path);
    free(other);
    free(both);
    text_free(&names);
    sheet_free(&sheet);
}

static void names_choose_the_format(void **state)
{
    (void)state;
    assert_int_equal(sheet_format_of("a.csv"), SHEET_CSV);
    assert_int_equal(sheet_format_of("a.csv.json"), SHEET_JSON);
    assert_int_equal(sheet_format_of("a"), SHEET_TEXT);
    assert_int_equal(sheet_format_of("a.json/b"), SHEET_TEXT);
    assert_int_equal(sheet_format_find("text"), SHEET_TEXT);
    assert_int_equal(sheet_format_find("xml"), -1);
}

int main(void)
{
    setlocale(LC_ALL, "C.UTF-8");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(csv_reads_back),
        cmocka_unit_test(json_reads_back),
        cmocka_unit_test(text_only_prints),
        cmocka_unit_test(tables_beyond_the_first_have_files_of_their_own),
        cmocka_unit_test(names_choose_the_format),
    };
    return cmocka_run_group_tests_name("sheet", tests, NULL, NULL);
}
