/* A library without ncclCommSplit, as before 2.18: the rest is the double's. */
#define ncclCommSplit hidden_ncclCommSplit
#include "tests/nccl_double/double.c"
