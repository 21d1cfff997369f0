/* A training step as a program: values, and a flat list of typed instructions.
 *
 * Values are in single-assignment form: each is written by one instruction, or is an input (data,
 * state). An instruction that updates in place makes a new value; the memory plan decides whether
 * the two share memory.
 * Built once on the engine thread, then immutable (faults change it before it is planned). */
#ifndef ENGINE_PROGRAM_PROGRAM_H
#define ENGINE_PROGRAM_PROGRAM_H

#include "engine/base/names.h"
#include "engine/config/config.h"
#include "engine/device/device.h"
#include "engine/program/layout.h"
#include "engine/tensor/op.h"

/* What a tensor is: the first word of its canonical name, with the meaning that the tolerance
 * tables give these words. */
enum what {
    WHAT_NONE = 0, /* unnamed: temporaries, scalars, indices */
    WHAT_PARAM,    /* "param": a parameter at the start of a step */
    WHAT_FW,       /* "fw": computed by the forward pass */
    WHAT_BW,       /* "bw": gradient of a forward value */
    WHAT_GRADIENT, /* "gradient": gradient of a parameter */
    WHAT_STATE,    /* "state": optimizer state */
    WHAT_INPUT,    /* "input": data of the step */
    WHAT_COUNT,
};

enum phase {
    PHASE_RESTORE = 0,
    PHASE_FORWARD,
    PHASE_BACKWARD,
    PHASE_REDUCE,
    PHASE_UPDATE,
    PHASE_COUNT
};

const char *what_name(enum what what);    /* "param", "fw", ... static */
const char *phase_name(enum phase phase); /* "restore", "forward", ... static */

/* Where an instruction comes from. Counts are from 0; -1 = not in one. */
struct origin {
    enum phase phase;
    int stage;
    int micro_batch, micro_batches;      /* index and number of micro-batches of the whole step:
                                            sequential ones times batch-data ranks */
    int micro_sequence, micro_sequences; /* index and number of splits */
    int chunk, chunks;                   /* index and number of pieces of the loss; 0: no piece */
    const char *layer;                   /* "decoder.1" (owned by the program) */
    const char *part;                    /* "mlp.layer_2", "" (owned by the program) */
    struct source source;                /* the configuration entry that asked for it */
};

/* The layer and part, as users name them: "decoder.1.mlp.layer_2", or "". Cut to `size` bytes.
 * Returns `buffer`. */
const char *origin_path(const struct origin *origin, char *buffer, int size);
/* What tells visits of one layer in a step apart: "backward, micro-batch 2/4, micro-sequence 1/2,
 * chunk 3/8", counted from 1, without what it is not in or of which there is one. Cut to `size`
 * bytes. Returns `buffer`. */
const char *origin_visit(const struct origin *origin, char *buffer, int size);

enum value_kind {
    VALUE_COMPUTED = 0, /* written by an instruction, lives inside the step */
    VALUE_INPUT,        /* given by the host before each step (tokens, labels, counts) */
    VALUE_CONSTANT,     /* given by the host once (rotary tables) */
    VALUE_STATE,        /* lives from step to step: parameters, moments, scaler */
};

struct value {
    int id;
    enum value_kind kind;
    enum what what;
    char *path;     /* "decoder.1.mlp.layer_2.weight": canonical, layout independent; or "" */
    char *name;     /* canonical: "gradient decoder.1.mlp.layer_2.weight",
                       "fw decoder.0.mixer.query mb=1/4 ms=0/2"; "" if unnamed */
    bool log_point; /* one of the tensors of the model tests' logs (layer outputs, input
                       gradients, parameter gradients): what verdicts are about */
    enum dtype dtype;
    struct shape shape;   /* of what this rank holds */
    struct shard shard;   /* place in the global tensor; no global shape: it is the whole */
    struct layout layout; /* how it is spread over ranks */
    enum memory_class memory_class;
    int producer;        /* instruction index, -1 for inputs, constants, states */
    int state;           /* the VALUE_STATE that this value becomes at the end of the step, or -1 */
    int starts_as;       /* VALUE_STATE: 1 + the state of which it is a copy at first; 0 = none */
    int gradient_of;     /* parameter (index) of which this is the (partial) gradient, or -1 */
    bool needs_gradient; /* depends on a trained parameter */
    struct origin origin;
};

struct instruction {
    enum op op;
    struct op_parameters parameters;
    int inputs[OP_MAX_INPUTS], input_count;    /* value ids */
    int outputs[OP_MAX_OUTPUTS], output_count; /* value ids */
    struct origin origin;
    const char *fault; /* not NULL: what a fault did here, for tests only (owned by the program) */
};

/* How a parameter starts, and how it is updated. */
struct parameter {
    int value;                       /* the VALUE_STATE of the master weight (f32) */
    int compute;                     /* what layers use: `value`, its 16-bit copy of this step, or
                                        what was gathered of that from the data ranks; -1: not yet */
    int gradient;                    /* the complete gradient (f32), -1 when frozen */
    int first_moment, second_moment; /* VALUE_STATE, -1 when frozen */
    double initial_std;              /* normal(0, std) if > 0 */
    double initial_value;            /* constant otherwise */
    bool weight_decay;
    double lr_scale; /* 0 = frozen */
    bool tied;       /* other pipeline ranks have copies of it */
};

/* Well-known inputs that the training loop fills, by value id; -1 if the program has none. */
struct program_inputs {
    int *tokens;          /* [micro-batches * splits] i32 [T], in data order */
    int *labels;          /* [micro-batches * splits * prediction heads] i32 [T] */
    int *document_starts; /* [micro-batches] i32 [micro-batch tokens] */
    int *positions;       /* [micro-batches * splits] i32 [T]: index inside the document, or -1 */
    int *label_counts;    /* [prediction heads] f64 [1]: valid labels of the whole step */
    int learning_rate;    /* f64 [1] */
    int count;            /* micro-batches * splits */
};

/* Scalars that a step reports. Value ids or -1. */
struct program_outputs {
    int *losses; /* every loss term of every micro-batch and head, f32 [1], that no rank before
                    this one has too: the sum over ranks = step loss */
    int loss_count;
    int gradient_norm; /* f32 [1] */
    int scaler;        /* VALUE_STATE f64 [SCALER_SIZE], see OPTIMIZER_FACTORS */
};

struct program {
    struct seat seat; /* the rank whose program it is */
    struct value *values;
    int value_count, value_capacity;
    struct instruction *instructions;
    int instruction_count, instruction_capacity;
    struct parameter *parameters; /* in model order */
    int parameter_count, parameter_capacity;
    struct program_inputs inputs;
    struct program_outputs outputs;
    struct names by_name; /* canonical name -> value id (the last writer of that name) */
    char **strings;       /* interned layer, part and fault texts */
    int string_count, string_capacity;
    void **constants; /* per value id: host data of VALUE_CONSTANT (owned), or NULL */
};

struct program *program_create(void);
void program_free(struct program *program);

/* Appends a value of which kind, what, dtype, shape, class and names are taken from `value` (path
 * may be NULL; strings are copied; a canonical name is made of what, path and the micro-batch of
 * the origin, and registered). Returns its id. */
int program_add_value(struct program *program, const struct value *value);
/* Gives an unnamed value its canonical name and registers it. */
void program_name_value(struct program *program, int value, enum what what, const char *path,
                        const struct origin *origin);
/* The value that has the canonical name that these make; -1 if there is none. */
int program_find_named(const struct program *program, enum what what, const char *path,
                       const struct origin *origin);
/* Appends an instruction (operands must exist) and makes it the producer of its outputs. */
int program_add_instruction(struct program *program, const struct instruction *instruction);
/* Sets the contents of a VALUE_CONSTANT (copied). */
void program_set_constant(struct program *program, int value, const void *data, size_t bytes);
int program_add_parameter(struct program *program, const struct parameter *parameter);
size_t value_bytes(const struct value *value);
/* Builds the call of an instruction, without memory. */
void program_call(const struct program *program, int index, struct op_call *call);
/* A copy of `text` that lives as long as the program; equal texts give equal pointers. */
const char *program_intern(struct program *program, const char *text);
/* The value called `name`, exactly; -1 if there is none. */
int program_find(const struct program *program, const char *name);
/* A number for the place of an instruction: phase, layer, part, and which of the sequential
 * micro-batches, micro-sequences and chunks. Collectives that belong together are at the same place
 * on all their ranks. Never 0. */
uint32_t program_place(const struct program *program, int instruction);
/* A hash over instructions, parameters, shapes and names: the identity in manifests. */
uint64_t program_hash(const struct program *program);
/* "871  accumulate  gradient decoder.1.mlp.layer_2.weight += %870" into `buffer`. */
const char *program_instruction_text(const struct program *program, int index, char *buffer,
                                     int size);
/* The value's name, or "%12" when it has none. */
const char *program_value_text(const struct program *program, int value, char *buffer, int size);

#endif
