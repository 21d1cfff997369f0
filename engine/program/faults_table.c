/* The ready faults. Each must be found, and traced to the instruction that it changed, on the model
 * and variant named with it: tests/unit/engine_compare/test_faults.c. */
#include "engine/base/memory.h"
#include "engine/program/faults.h"

#include <stddef.h>
#include <string.h>

static const struct fault_ready table[] = {
    {"dropped-micro-batch", "drop:op=accumulate,layer=decoder.1,part=mlp.layer_2,mb=2",
     "The gradient of one micro-batch is written over instead of added.", "llama/bf4",
     "four micro-batches"},
    {"gradient-added-twice", "repeat:op=accumulate,layer=decoder.0,part=mixer.dense,mb=1",
     "A hook runs twice and adds a micro-batch's gradient two times.", "llama/bf4",
     "two micro-batches"},
    {"loss-per-micro-batch", "scale:op=cross_entropy_gradient,factor=4",
     "The loss is divided by the labels of its micro-batch, not of the step.", "llama/bf4",
     "four micro-batches"},
    {"repeated-data", "stale:op=embedding,mb=1,input=0",
     "The data loader gives the same micro-batch a second time.", "llama/bf4", "two micro-batches"},
    {"lost-keys", "drop:op=write_rows,phase=forward,layer=decoder.0,ms=1",
     "The keys and values of a micro-sequence are not kept for the later ones.", "llama/ms4",
     "two micro-sequences"},
    {"norm-epsilon", "set:op=rms_norm,param=epsilon,value=1e-6",
     "The epsilon of the norms is 1e-6, not the 1e-5 of the configuration.", "llama", "RMS norms"},
    {"norm-weight-gradient-missing",
     "drop:op=rms_norm_gradient,layer=decoder.1,part=norm_2,output=1",
     "A fused norm kernel forgets the gradient of its weight.", "llama", "RMS norms"},
    {"norm-gradient-scaled", "scale:op=rms_norm_gradient,layer=decoder.0,part=norm_1,factor=2",
     "The gradient that leaves a norm is counted twice.", "llama", "RMS norms"},
    {"attention-scale-missing", "set:op=attention,param=scale,value=1",
     "The scores are not divided by the root of the head size.", "llama", ""},
    {"mask-shifted", "shift:op=attention,by=1",
     "The causal mask is off by one: a token sees the next one.", "llama", ""},
    {"backward-not-causal", "set:op=attention_gradient,layer=decoder.1,param=causal,value=0",
     "The backward pass of attention is built without the causal mask.", "llama", ""},
    {"window-ignored", "set:op=attention,param=window,value=0",
     "An attention kernel without sliding window is chosen.", "mistral",
     "a window shorter than the documents"},
    {"documents-mixed", "drop:op=attention,input=2",
     "Packed documents see each other: the mask knows the causal order only.", "llama",
     "several documents in a micro-batch"},
    {"rotary-off-by-one", "shift:op=rotary,name=mixer.query_rotated,phase=forward,by=1",
     "Positions of the queries count from one, those of the keys from zero.", "llama",
     "rotary embeddings"},
    {"rotary-not-turned-back", "set:op=rotary,phase=backward,param=inverse,value=0",
     "The backward pass turns the gradient the same way as the forward pass.", "llama",
     "rotary embeddings"},
    {"query-heads-reordered", "shift:op=matmul,part=mixer.query,phase=forward,input=1,by=half",
     "Imported query heads are in another order: each meets the keys of another group.", "llama",
     ""},
    {"bias-missing", "drop:op=matmul,part=mixer.dense,phase=forward,input=2",
     "A linear layer is built without its bias; it shows once the bias is no longer zero.", "gpt_2",
     "linear layers with biases"},
    {"bias-gradient-missing", "drop:op=bias_gradient,layer=decoder.0,part=mlp.layer_1",
     "The bias of a linear layer gets no gradient.", "gpt_2", "linear layers with biases"},
    {"activation-gelu",
     "set:op=gated_activation,param=activation,value=gelu+"
     "set:op=gated_activation_gradient,param=activation,value=gelu",
     "GELU instead of the configured SiLU.", "llama", "gated layers with SiLU"},
    {"gate-and-up-swapped",
     "shift:op=matmul,part=mlp.layer_1,phase=forward,layer=decoder.0,input=1,by=half",
     "The two halves of the gated layer are in the other order.", "llama", "gated dense layers"},
    {"residual-dropped", "drop:op=add,layer=decoder.1,part=mixer,phase=forward,input=0",
     "A residual connection is left out.", "llama", ""},
    {"residual-gradient-dropped", "drop:op=add,layer=decoder.1,part=norm_2,phase=backward,input=0",
     "The gradient of the residual connection is left out.", "llama", ""},
    {"tied-gradient-dropped", "drop:op=accumulate,layer=embeddings,part=word",
     "A tied weight gets the gradient of the output only.", "gpt_2", "tied embeddings"},
    {"wrong-layer-weights",
     "swap:op=matmul,layer=decoder.0,part=mixer.query,phase=forward,input=1,"
     "with=decoder.1.mixer.query.weight",
     "A layer computes with the weight of another layer.", "llama", ""},
    {"labels-shifted", "shift:op=cross_entropy,by=1+shift:op=cross_entropy_gradient,by=1",
     "The labels are shifted twice.", "llama", ""},
    {"moe-scores-ignored", "drop:op=combine_rows,input=1,value=1",
     "Expert outputs are summed without their scores.", "mixtral_top2",
     "a mixture of experts with two of them for each token"},
    {"load-balance-doubled", "scale:op=load_balance_gradient,factor=2",
     "The load balancing loss counts twice in the gradient.", "mixtral_top2",
     "a mixture of experts"},
    {"expert-gradient-missing", "drop:op=top_k_gradient,layer=decoder.0",
     "The router learns from the load balancing loss only.", "mixtral_top2",
     "a mixture of experts with two of them for each token"},
    {"stale-weights", "stale:op=matmul,layer=decoder.0,part=mlp.layer_1,phase=forward",
     "A layer computes with the weight of the step before: a broadcast that came too late.",
     "llama", "two steps"},
    {"activation-rounded", "cast:op=gated_activation,layer=decoder.0,dtype=bf16",
     "An activation passes through bfloat16 in a float32 run.", "llama", "gated layers, float32"},
    {"norm-weight-decay", "set:op=adamw,part=decoder.0.norm_1.weight,param=decay,value=0.1",
     "Weight decay is applied to a norm weight.", "llama", ""},
    {"no-bias-correction",
     "set:op=optimizer_factors,param=beta1,value=0+set:op=optimizer_factors,param=beta2,value=0",
     "Adam without the correction of its young moments.", "llama", ""},
    {"clipping-off", "set:op=optimizer_factors,param=factor,value=0",
     "The gradient is not clipped.", "llama", "a gradient norm above the clipping limit"},
    {"norm-of-fewer-gradients", "drop:op=sum_squares,part=head.output_weights",
     "One gradient is missing in the norm that clipping uses.", "llama", "untied output weights"},
    {"betas-swapped", "swap:op=adamw,param=beta1,with=beta2",
     "The two betas of Adam are in the other order.", "llama", ""},
    {"learning-rate-doubled", "set:op=adamw,layer=optimizer,param=factor,value=2",
     "Two parameter groups share a tensor, which is updated twice.", "llama", ""},
    {"update-left-out", "drop:op=adamw,part=decoder.1.mlp.layer_1.weight",
     "A parameter is missing in the optimizer's list.", "llama", ""},
};

const struct fault_ready *faults_ready(int *count)
{
    *count = ARRAY_LENGTH(table);
    return table;
}

const struct fault_ready *faults_find(const char *name)
{
    for (int i = 0; i < ARRAY_LENGTH(table); i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}
