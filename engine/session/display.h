/* Tensors that are printed at every stop. Engine thread. */
#ifndef ENGINE_SESSION_DISPLAY_H
#define ENGINE_SESSION_DISPLAY_H

struct debugger;

struct shown_tensor {
    int number;
    char *arguments; /* of print, owned */
};

struct displays {
    struct shown_tensor *list;
    int count, capacity;
    int next_number; /* from 1 */
};

void displays_free(struct displays *displays);
/* Prints all of them where the run stands now, each after its number. */
void display_all(struct debugger *debugger);
/* What is displayed, without printing it. */
void info_display(struct debugger *debugger);

#endif
