/* Which tolerance table judges a comparison. */
#ifndef ENGINE_COMPARE_TABLES_H
#define ENGINE_COMPARE_TABLES_H

/* The table to take instead of `table`, a variant's own, or that itself: some of the original
 * system's leave layers out because its logs are cut differently, or name tensors after another
 * micro-batch. Here tensors have one name in every layout and are compared as wholes, and
 * micro-sequences, micro-batches of one rank and chunks of the loss with their rows of the whole.
 * NULL stays NULL. Pure; any thread. */
const char *table_of_wholes(const char *table);

#endif
