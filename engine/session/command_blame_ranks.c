/* blame, in a run of several ranks: the walk passes through collectives to other ranks. */
#include "engine/base/memory.h"
#include "engine/compare/team_blame.h"
#include "engine/session/commands.h"
#include "engine/session/describe.h"

#include <math.h>
#include <stdio.h>

enum { MAX_FRAMES = 24 };

static const struct program *program_of(const struct debugger *debugger, int rank)
{
    return debugger->target->team->pairs[rank]->test->program;
}

static void say_link(struct debugger *debugger, int number, const struct team_link *link,
                     const char *verdict)
{
    const struct program *program = program_of(debugger, link->rank);
    char name[256], error[32] = "-";
    struct text line = {0};
    if (!isnan(link->error))
        snprintf(error, sizeof(error), "%.1e", link->error);
    text_format(&line, "#%-3d ", number);
    if (link->step != debugger->target->team->step)
        text_format(&line, "step %d ", link->step + 1);
    text_format(&line, "rank %-3d %4d %-22s ", link->rank, link->instruction,
                op_name(program->instructions[link->instruction].op));
    text_add(&line, program_value_text(program, link->value, name, sizeof(name)));
    text_pad(&line, 93);
    text_format(&line, "%-12s %s", verdict, error);
    say(debugger, "%s\n", line.data);
    text_free(&line);
}

static void say_chain(struct debugger *debugger, const struct team_blame *blame)
{
    for (int i = 0; i < blame->count && i < MAX_FRAMES; i++) {
        const struct team_link *link = &blame->links[i];
        bool last = blame->guilty_step == link->step && blame->guilty.rank == link->rank &&
                    blame->guilty.instruction == link->instruction && blame->guilty.suspicion;
        say_link(debugger, i, link,
                 last                 ? "introduced"
                 : link->diverged     ? "inherited"
                 : isnan(link->error) ? "not compared"
                                      : "within");
    }
    if (blame->count > MAX_FRAMES)
        say(debugger, "... %d more\n", blame->count - MAX_FRAMES);
}

static const char *kind_of(enum suspicion suspicion)
{
    static const char *const kinds[] = {
        [SUSPICION_NONE] = "",
        [SUSPICION_LAYOUT] = "The program is wrong: what ranks hold does not fit together.",
        [SUSPICION_DIFFERENT] = "The program is wrong: it is not what one process computes.",
        [SUSPICION_COLLECTIVE] = "The collective is wrong, or is another one than is needed.",
        [SUSPICION_KERNEL] = "The kernel computed wrong.",
        [SUSPICION_PLACE] = "The program is wrong here, or in what was not compared before it.",
    };
    return kinds[suspicion];
}

static void say_guilty(struct debugger *debugger, const struct team_blame *blame)
{
    const struct suspect *guilty = &blame->guilty;
    char text[400], step[32] = "";
    if (blame->stayed[0])
        say(debugger, "(%s)\n", blame->stayed);
    if (blame->guilty_step != debugger->target->team->step)
        snprintf(step, sizeof(step), "Step %d, ", blame->guilty_step + 1);
    if (!guilty->suspicion) {
        say(debugger, "No instruction stands out: everything behind it is within limits.\n");
        return;
    }
    say(debugger, "%s%s %d, instruction %d introduced it: %s.\n", step, step[0] ? "rank" : "Rank",
        guilty->rank, guilty->instruction, guilty->why);
    say(debugger, "    test       %s\n",
        program_instruction_text(program_of(debugger, guilty->rank), guilty->instruction, text,
                                 sizeof(text)));
    const struct program *reference = debugger->target->pair->reference_program;
    if (reference && guilty->counterpart >= 0)
        say(debugger, "    reference  %s\n",
            program_instruction_text(reference, guilty->counterpart, text, sizeof(text)));
    say(debugger, "    %s\n", kind_of(guilty->suspicion));
    if (step[0])
        say(debugger, "next: goto %d:%d, rank %d, info ranks\n", blame->guilty_step + 1,
            guilty->instruction, guilty->rank);
    else
        say(debugger, "next: rank %d, list %d, info ranks\n", guilty->rank, guilty->instruction);
}

bool blame_ranks(struct debugger *debugger, int value, struct status *status)
{
    struct team_blame blame;
    bool ok = team_blame_walk(debugger->target->team, debugger->rank, value, &blame, status);
    if (ok) {
        say_chain(debugger, &blame);
        say_guilty(debugger, &blame);
    }
    team_blame_free(&blame);
    return ok;
}
