#include "engine/session/ranks.h"

#include "engine/base/memory.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *rank_situation_name(enum rank_situation situation)
{
    static const char *const names[] = {"exited", "stopped", "running", "starting", "waiting",
                                        "halted", "failed",  "killed",  "lost"};
    return names[situation];
}

void ranks_picture_free(struct ranks_picture *picture)
{
    if (!picture)
        return;
    for (int i = 0; i < picture->rank_count; i++) {
        free(picture->ranks[i].text);
        free(picture->ranks[i].place);
        free(picture->ranks[i].reason);
        free(picture->ranks[i].host);
        free(picture->ranks[i].departure.tensor);
    }
    free(picture->ranks);
    free(picture);
}

void rank_wait_set_missing(struct rank_wait *wait, const bool *flags, int count)
{
    wait->missing_count = wait->missing_more = 0;
    for (int rank = 0; rank < count; rank++) {
        struct rank_range *last =
            wait->missing_count > 0 ? &wait->missing[wait->missing_count - 1] : NULL;
        if (!flags[rank])
            continue;
        if (last && last->last == rank - 1 && wait->missing_more == 0)
            last->last = rank;
        else if (wait->missing_count < OUTPUT_RANGES)
            wait->missing[wait->missing_count++] = (struct rank_range){rank, rank};
        else
            wait->missing_more++;
    }
}

static void add_range(struct text *out, struct rank_range range, bool first)
{
    text_format(out, "%s%d", first ? "" : ",", range.first);
    if (range.last > range.first)
        text_format(out, "-%d", range.last);
}

static void describe_wait(const struct rank_wait *wait, const char *place, struct text *out)
{
    char elements[32];
    text_format(out, "waiting in %s(%s%s%s x %s)", wait->operation, wait->group ? wait->group : "",
                wait->group ? ", " : "", text_thousands(wait->elements, elements),
                dtype_name(wait->dtype));
    if (place)
        text_format(out, " at %s", place);
    if (!isnan(wait->seconds))
        text_format(out, " for %.1f s", wait->seconds);
    if (wait->missing_count == 0)
        return;
    bool one = wait->missing_count == 1 && wait->missing[0].first == wait->missing[0].last;
    text_add(out, one ? ", for rank " : ", for ranks ");
    for (int i = 0; i < wait->missing_count; i++)
        add_range(out, wait->missing[i], i == 0);
    if (wait->missing_more > 0)
        text_format(out, " and %d more", wait->missing_more);
}

static void describe_place(const struct rank_picture *rank, struct text *out)
{
    if (rank->step >= 0)
        text_format(out, " step %d", rank->step + 1);
    if (rank->next >= 0 && rank->next >= rank->instructions)
        text_add(out, ", at its end");
    else if (rank->next >= 0)
        text_format(out, ", %d%s%s", rank->next, rank->text ? " " : "",
                    rank->text ? rank->text : "");
    if (rank->place && rank->place[0])
        text_format(out, "  %s", rank->place);
}

void rank_picture_describe(const struct rank_picture *rank, struct text *out)
{
    enum rank_situation situation = rank->situation;
    if (situation == SITUATION_WAITING && rank->wait.operation) {
        describe_wait(&rank->wait, rank->place, out);
    } else if (situation == SITUATION_EXITED) {
        text_format(out, "exited with status %d", rank->exit_status);
    } else if (situation == SITUATION_KILLED || situation == SITUATION_HALTED) {
        const char *name = sigabbrev_np(rank->signal);
        text_format(out, "%s by signal %d%s%s,",
                    situation == SITUATION_KILLED ? "killed" : "stopped", rank->signal,
                    name ? ", SIG" : "", name ? name : "");
        describe_place(rank, out);
    } else {
        text_add(out, rank_situation_name(situation));
        if (situation != SITUATION_STARTING)
            describe_place(rank, out);
    }
    if (rank->reason && rank->reason[0])
        text_format(out, ": %.*s", (int)strcspn(rank->reason, "\n"), rank->reason);
}

void rank_departure_describe(const struct rank_departure *departure, struct text *out)
{
    if (departure->tensor)
        text_format(out, "unlike rank %d: %s", departure->against, departure->tensor);
}

void rank_departure_details(const struct rank_departure *departure, struct text *out)
{
    char some[32], all[32];
    if (!departure->tensor)
        return;
    if (departure->elements > 0)
        text_format(out, "%s is %.9g, on rank %d %.9g; ", departure->index, departure->own,
                    departure->against, departure->other);
    text_format(out, "step %d", departure->step + 1);
    if (departure->elements > 0)
        text_format(out, ", %s of %s elements", text_thousands(departure->different, some),
                    text_thousands(departure->elements, all));
    if (departure->further > 0)
        text_format(out, "; %d more tensor%s since", departure->further,
                    departure->further == 1 ? "" : "s");
}

/* ---- rows ---- */

static bool same_text_or_none(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool same_row(const struct rank_picture *a, const struct rank_picture *b)
{
    return a->situation == b->situation && a->step == b->step && a->next == b->next &&
           a->exit_status == b->exit_status && a->signal == b->signal &&
           same_text_or_none(a->reason, b->reason) && same_text_or_none(a->place, b->place) &&
           same_text_or_none(a->wait.operation, b->wait.operation) &&
           same_text_or_none(a->departure.tensor, b->departure.tensor) &&
           a->departure.step == b->departure.step && a->departure.against == b->departure.against &&
           a->wait.missing_count == b->wait.missing_count &&
           memcmp(a->wait.missing, b->wait.missing,
                  (size_t)a->wait.missing_count * sizeof(a->wait.missing[0])) == 0;
}

/* Sorting ranks with the lowest number of their group keeps the numbers of a group together. */
struct row {
    const struct ranks_picture *picture;
    int rank, group;
};

static int compare_rows(const void *left, const void *right)
{
    const struct row *a = left, *b = right;
    enum rank_situation first = a->picture->ranks[a->rank].situation;
    enum rank_situation second = b->picture->ranks[b->rank].situation;
    bool departed = a->picture->ranks[a->rank].departure.tensor != NULL;
    if (first != second)
        return first > second ? -1 : 1;
    if (departed != (b->picture->ranks[b->rank].departure.tensor != NULL))
        return departed ? -1 : 1;
    if (a->group != b->group)
        return a->group < b->group ? -1 : 1;
    return a->rank < b->rank ? -1 : 1;
}

/* The group of each rank: the lowest rank that is in the same row. There are few different rows. */
static void find_groups(const struct ranks_picture *picture, bool merge, struct row *rows)
{
    int *firsts = memory_zeroed((size_t)picture->rank_count, sizeof(*firsts));
    int count = 0;
    for (int rank = 0; rank < picture->rank_count; rank++) {
        int group = 0;
        while (merge && group < count &&
               !same_row(&picture->ranks[firsts[group]], &picture->ranks[rank]))
            group++;
        if (!merge || group == count)
            firsts[group = count++] = rank;
        rows[rank] = (struct row){picture, rank, firsts[group]};
    }
    free(firsts);
}

static char *ranks_text(const struct row *rows, int count)
{
    struct text text = {0};
    for (int i = 0, end; i < count; i = end) {
        end = i + 1;
        while (end < count && rows[end].rank == rows[end - 1].rank + 1)
            end++;
        if (text.length > RANK_GROUP_TEXT - 16) {
            text_add(&text, ",...");
            break;
        }
        add_range(&text, (struct rank_range){rows[i].rank, rows[end - 1].rank}, i == 0);
    }
    return text_take(&text);
}

int rank_groups(const struct ranks_picture *picture, bool merge, struct rank_group **groups)
{
    int total = picture->rank_count, count = 0, capacity = 0;
    struct row *rows = memory_zeroed((size_t)total, sizeof(*rows));
    *groups = NULL;
    find_groups(picture, merge, rows);
    qsort(rows, (size_t)total, sizeof(*rows), compare_rows);
    for (int i = 0, end; i < total; i = end) {
        struct rank_group group = {.first = rows[i].rank, .memory = -1};
        for (end = i; end < total && rows[end].group == rows[i].group; end++) {
            int64_t memory = picture->ranks[rows[end].rank].memory_total;
            group.memory = memory > group.memory ? memory : group.memory;
        }
        group.count = end - i;
        group.ranks = ranks_text(rows + i, group.count);
        ARRAY_PUSH(*groups, count, capacity, group);
    }
    free(rows);
    return count;
}

void rank_groups_free(struct rank_group *groups, int count)
{
    for (int i = 0; i < count; i++)
        free(groups[i].ranks);
    free(groups);
}

void ranks_picture_table(const struct ranks_picture *picture, int most, struct text *out)
{
    struct rank_group *groups;
    bool merge = picture->rank_count > most;
    int count = rank_groups(picture, merge, &groups);
    text_format(out, "%-12s %10s %8s %-20s %10s %10s  %s\n", merge ? "ranks" : "rank", "memory",
                "pid", "host", "stdout", "stderr", "state");
    for (int i = 0; i < count; i++) {
        const struct rank_picture *rank = &picture->ranks[groups[i].first];
        char memory[32] = "-", pid[32] = "-";
        if (groups[i].memory >= 0)
            text_bytes((uint64_t)groups[i].memory, memory);
        if (rank->pid >= 0 && groups[i].count == 1)
            snprintf(pid, sizeof(pid), "%" PRId64, rank->pid);
        text_format(out, "%-12s %10s %8s %-20.20s %10" PRId64 " %10" PRId64 "  ", groups[i].ranks,
                    memory, pid, rank->host ? rank->host : "-", rank->lines[RANK_STDOUT],
                    rank->lines[RANK_STDERR]);
        rank_picture_describe(rank, out);
        if (rank->departure.tensor)
            text_add(out, "; ");
        rank_departure_describe(&rank->departure, out);
        text_add(out, "\n");
    }
    rank_groups_free(groups, count);
}
