/* The variants of the distributed group. */
#ifndef TESTS_UNIT_DISTRIBUTED_VARIANTS_H
#define TESTS_UNIT_DISTRIBUTED_VARIANTS_H

static const char *const distributed_variants[] = {
    "dp2",
    "dp2_z2",
    "dp2_z3",
    "dp2_z2_df4",
    "sdp2",
    "tp2",
    "stp2",
    "tp2_df4",
    "stp2_ce4",
    "dp2_stp2",
    "sdp2_stp2_bf4",
    "sdp2_stp2",
    "pp2s2_bf4",
    "pp2s1_bf4",
    "pp2s2_ms4",
    "dp2_pp2s2_bf4",
    "stp2_pp2s1_bf4",
    "dp2_stp2_pp2s2_bf4",
    "dp2_tp2_pp2s1_bf4",
    "sdp2_stp2_pp2s2_ms4",
};

#endif
