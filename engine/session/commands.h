/* The table of commands. Everything that the user can type is an entry: help, completion and
 * abbreviations come from it. */
#ifndef ENGINE_SESSION_COMMANDS_H
#define ENGINE_SESSION_COMMANDS_H

#include "engine/session/debugger.h"

enum { COMMAND_WORD_SIZE = 32 };

enum completion {
    COMPLETE_NONE = 0,
    COMPLETE_PLACE, /* phases, layers, tensors */
    COMPLETE_TENSOR,
    COMPLETE_TOPIC,   /* words of info */
    COMPLETE_SETTING, /* words of set and show */
    COMPLETE_STOP,    /* words of stop */
    COMPLETE_COMMAND, /* help */
    COMPLETE_RUN,     /* file */
    COMPLETE_FILE,    /* source */
    COMPLETE_SAVE,    /* save: what, then a file */
};

struct command {
    const char *name;
    const char *aliases; /* separated by blanks, "" = none */
    const char *family;  /* heading of the help */
    const char *usage;   /* arguments: "[COUNT]" */
    const char *brief;   /* one line */
    const char *details; /* more lines of help, "" = none */
    enum completion completion;
    bool needs_run; /* a loaded run */
    bool repeats;   /* an empty line does it again */
    bool (*run)(struct debugger *debugger, const char *arguments, struct status *status);
};

extern const struct command command_table[];
extern const int command_count;

/* Splits off the command's word: letters and '-'; `arguments` starts behind it ("/ref x" and "! x"
 * stay whole). "!x" is "shell x". False for a line that does not start with a word. */
bool command_split(const char *line, char word[COMMAND_WORD_SIZE], const char **arguments,
                   struct status *status);
/* The command of that name or alias, or the only one that starts so. NULL with what was perhaps
 * meant. */
const struct command *command_find(const char *word, struct status *status);

/* Helpers for arguments. */
/* A count from 1, or `otherwise` for "". */
bool argument_count(const char *text, int otherwise, int *count, struct status *status);
/* Cuts the next word off `*text` into `word` (size bytes); "" at the end. A word in "" may have
 * blanks. */
void argument_word(const char **text, char *word, int size);
/* The name of a file, with "~/" as shells have it; to be freed. */
char *argument_path(const char *arguments);
/* The index of `word` in `list`, by itself or as a unique beginning; -1 with the list as failure.
 * `what` names it: "info". */
int argument_choice(const char *word, const char *const *list, int count, const char *what,
                    struct status *status);

/* A word that users of other debuggers type, which means nothing here, and what comes nearest. */
struct habit {
    const char *word, *instead;
};
/* What comes nearest to `word`: from the table (static there); NULL if it is none of it. */
const char *habit_instead(const struct habit *habits, int count, const char *word);

/* Whose numbers of a tensor are shown. */
enum side { SIDE_TEST, SIDE_REFERENCE, SIDE_DIFFERENCE };
/* Takes "/test", "/ref" or "/diff" off *arguments; the test's side without one. False for another
 * word, which the failure says `command` ("print") does not take. */
bool argument_side(const char **arguments, const char *command, enum side *side,
                   struct status *status);
/* Splits "TENSOR[SLICES]": the tensor's name, to be freed; *slices points at "[...]" or "". */
char *argument_tensor(const char *arguments, const char **slices);

/* command_run.c */
bool command_run_program(struct debugger *debugger, const char *arguments, struct status *status);
bool command_start(struct debugger *debugger, const char *arguments, struct status *status);
bool command_kill(struct debugger *debugger, const char *arguments, struct status *status);
bool command_continue(struct debugger *debugger, const char *arguments, struct status *status);
bool command_stepi(struct debugger *debugger, const char *arguments, struct status *status);
bool command_step(struct debugger *debugger, const char *arguments, struct status *status);
bool command_next(struct debugger *debugger, const char *arguments, struct status *status);
bool command_finish(struct debugger *debugger, const char *arguments, struct status *status);
bool command_until(struct debugger *debugger, const char *arguments, struct status *status);
/* command_reverse.c */
bool command_reverse_stepi(struct debugger *debugger, const char *arguments, struct status *status);
bool command_reverse_step(struct debugger *debugger, const char *arguments, struct status *status);
bool command_reverse_next(struct debugger *debugger, const char *arguments, struct status *status);
bool command_reverse_continue(struct debugger *debugger, const char *arguments,
                              struct status *status);
bool command_goto(struct debugger *debugger, const char *arguments, struct status *status);
/* command_break.c */
bool command_break(struct debugger *debugger, const char *arguments, struct status *status);
bool command_tbreak(struct debugger *debugger, const char *arguments, struct status *status);
bool command_watch(struct debugger *debugger, const char *arguments, struct status *status);
bool command_stop(struct debugger *debugger, const char *arguments, struct status *status);
/* Calls `apply` for each breakpoint of a list of numbers and ranges, or for every one when there is
 * none. All numbers are read first: a wrong one changes nothing. */
bool breakpoints_for_numbers(struct debugger *debugger, const char *arguments,
                             void (*apply)(struct debugger *debugger, int number),
                             struct status *status);
bool command_condition(struct debugger *debugger, const char *arguments, struct status *status);
bool command_delete(struct debugger *debugger, const char *arguments, struct status *status);
bool command_enable(struct debugger *debugger, const char *arguments, struct status *status);
bool command_disable(struct debugger *debugger, const char *arguments, struct status *status);
/* command_save.c */
enum { SAVE_NAMES = 1 };
extern const char *const save_names[SAVE_NAMES];
bool command_save(struct debugger *debugger, const char *arguments, struct status *status);
/* hit_commands.c */
bool command_commands(struct debugger *debugger, const char *arguments, struct status *status);
/* command_list.c, command_info.c */
bool command_list(struct debugger *debugger, const char *arguments, struct status *status);
bool command_info(struct debugger *debugger, const char *arguments, struct status *status);
enum { INFO_TOPICS = 8 };
/* The topics of info: static names, in the order of its help. */
void info_topic_names(const char *names[INFO_TOPICS]);
/* command_tensor.c */
bool command_examine(struct debugger *debugger, const char *arguments, struct status *status);
bool command_print(struct debugger *debugger, const char *arguments, struct status *status);
bool command_stats(struct debugger *debugger, const char *arguments, struct status *status);
bool command_hist(struct debugger *debugger, const char *arguments, struct status *status);
bool command_diff(struct debugger *debugger, const char *arguments, struct status *status);
/* command_follow.c, command_output.c */
bool command_follow(struct debugger *debugger, const char *arguments, struct status *status);
bool command_unfollow(struct debugger *debugger, const char *arguments, struct status *status);
bool command_output(struct debugger *debugger, const char *arguments, struct status *status);

/* command_blame_ranks.c: command_blame of a run of several ranks. */
bool blame_ranks(struct debugger *debugger, int value, struct status *status);

/* command_display.c */
bool command_display(struct debugger *debugger, const char *arguments, struct status *status);
bool command_undisplay(struct debugger *debugger, const char *arguments, struct status *status);

/* command_rank.c */
bool command_rank(struct debugger *debugger, const char *arguments, struct status *status);
/* command_report.c */
bool command_report(struct debugger *debugger, const char *arguments, struct status *status);
/* command_blame.c */
bool command_backtrace(struct debugger *debugger, const char *arguments, struct status *status);
bool command_check(struct debugger *debugger, const char *arguments, struct status *status);
bool command_blame(struct debugger *debugger, const char *arguments, struct status *status);
bool command_graft(struct debugger *debugger, const char *arguments, struct status *status);
/* command_session.c */
bool command_file(struct debugger *debugger, const char *arguments, struct status *status);
/* Loads what is loaded once more, as it was loaded, when ranks of it were lost; breakpoints and the
 * selected rank stay. Nothing is loaded afterwards when it fails. */
bool load_again(struct debugger *debugger, struct status *status);
/* The same on a device that is opened anew, since the one that it was on is lost. */
bool load_on_new_device(struct debugger *debugger, bool blocking, struct status *status);
bool command_set(struct debugger *debugger, const char *arguments, struct status *status);
bool command_show(struct debugger *debugger, const char *arguments, struct status *status);
extern const char *const setting_names[];
extern const int setting_count;
bool command_source(struct debugger *debugger, const char *arguments, struct status *status);
bool command_echo(struct debugger *debugger, const char *arguments, struct status *status);
bool command_shell(struct debugger *debugger, const char *arguments, struct status *status);
bool command_quit(struct debugger *debugger, const char *arguments, struct status *status);
bool command_apropos(struct debugger *debugger, const char *arguments, struct status *status);
bool command_help(struct debugger *debugger, const char *arguments, struct status *status);

#endif
