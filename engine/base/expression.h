/* Regular expressions that users write. */
#ifndef ENGINE_BASE_EXPRESSION_H
#define ENGINE_BASE_EXPRESSION_H

#include <regex.h>
#include <stdbool.h>
#include <stddef.h>

enum { EXPRESSION_LENGTH = 1000, EXPRESSION_EXPANDED = 5000, EXPRESSION_WHY_SIZE = 160 };

/* Compiles a POSIX extended expression, to be asked only whether it is found; regfree() it. False,
 * with the reason in `why`, if it is none, or so large that the C library would take seconds and
 * all memory for it: (((a{1,999}){1,999}){1,999}) is copied a thousand million times. */
bool expression_compile(const char *text, regex_t *expression, char why[EXPRESSION_WHY_SIZE]);

#endif
