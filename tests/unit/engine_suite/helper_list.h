/* Test lists made by hand, so that selection is tested without any configuration. */
#ifndef TESTS_UNIT_ENGINE_SUITE_HELPER_LIST_H
#define TESTS_UNIT_ENGINE_SUITE_HELPER_LIST_H

#include "engine/suite/selection.h"

/* An empty list with models "m0", "m1", ... that give `action` to every group. */
struct test_list *make_list(int models, enum test_action action);
/* Adds "m<model>/<group>/<name>"; returns its index. */
int make_test(struct test_list *list, int model, enum test_group group, const char *name);
void make_dependency(struct test_list *list, int test, int on);

#endif
