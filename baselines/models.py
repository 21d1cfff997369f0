"""The recorded models: classes of `transformers`, and how their weights map to lockstep's names."""

import dataclasses
from collections.abc import Callable

import torch
import transformers

import batches

SHAPE = dict(hidden=256, heads=8, groups=4, head_size=32, intermediate=1024)
VOCABULARY = 384
CONTEXT = 65536
ORIGINAL_CONTEXT = 8192


@dataclasses.dataclass
class Piece:
    """Rows of a lockstep parameter: `view` of the module's parameter `source`."""

    source: str
    view: Callable = lambda tensor: tensor


@dataclasses.dataclass
class Model:
    """What to build. `create` returns an object with module, parameters, values and forward."""

    create: Callable
    documents: tuple = batches.PACKED
    heads: int = 1
    window: int = 0  # 0: none


def transposed(tensor):
    return tensor.T


def rows(first, last=None):
    return lambda tensor: tensor[first:last]


def columns_transposed(first, last=None):
    return lambda tensor: tensor[:, first:last].T


class Recorded:
    """A model under recording: `parameters` {lockstep name: pieces}, `values` {layer path: module
    whose output it is}, `inputs` {value: module whose input it is}, `routers` {value: router}."""

    def __init__(self, module, learned_positions=False):
        self.module = module
        self.learned_positions = learned_positions
        self.parameters, self.values, self.inputs, self.routers = {}, {}, {}, {}

    def forward(self, tokens, positions, mask):
        """Logits of each prediction head, [T, vocabulary]. Without a mask the module makes its
        own."""
        output = self.module(
            tokens[None], attention_mask=mask, position_ids=positions[None], use_cache=False
        )
        return [output.logits[0]]

    def shapes(self):
        named = dict(self.module.named_parameters())
        return {name: tuple(self.gather(name, named).shape) for name in self.parameters}

    def gather(self, name, tensors):
        """The lockstep parameter `name` (or its gradient) out of {module name: tensor}."""
        pieces = [piece.view(tensors[piece.source]) for piece in self.parameters[name]]
        return torch.cat(pieces).detach()

    def load(self, values):
        named = {name: value.data for name, value in self.module.named_parameters()}
        for name, pieces in self.parameters.items():
            views = [piece.view(named[piece.source]) for piece in pieces]
            parts = torch.from_numpy(values[name]).split([len(view) for view in views])
            for view, part in zip(views, parts):
                view.copy_(part)

    def add(self, name, *pieces):
        self.parameters[name] = [
            piece if isinstance(piece, Piece) else Piece(piece) for piece in pieces
        ]

    def add_linear(self, name, *sources, bias, view=None):
        """Weight and bias of a linear layer made of several modules' rows."""
        view = view or (lambda tensor: tensor)
        self.add(f"{name}.weight", *(Piece(f"{source}.weight", view) for source in sources))
        if bias:
            self.add(f"{name}.bias", *(f"{source}.bias" for source in sources))

    def add_norm(self, name, source, bias):
        for part in ("weight", "bias") if bias else ("weight",):
            self.add(f"{name}.{part}", f"{source}.{part}")

    def watch(self, modules):
        self.values.update(modules)

    def watch_block(self, name, block, norms, attention, dense, layer_2=None):
        """Inner values of a block; `dense` and `layer_2` are the last linear layers of attention
        and MLP."""
        values = {"norm_1": norms[0], "mixer": attention, "norm_2": norms[1], "mlp": block.mlp}
        self.watch({f"{name}.{part}": module for part, module in values.items()})
        self.watch({name: block})
        self.inputs[f"{name}.mixer.context"] = dense
        self.inputs[f"{name}.mixer_residual"] = norms[1]
        if layer_2:
            self.inputs[f"{name}.mlp.activated"] = layer_2


def add_llama_block(model, name, path, block, biases=(), layer_norm=False):
    """A block of the Llama family: separate q, k and v; rotary; `biases` of "qkv", "dense",
    "mlp"."""
    attention = f"{path}.self_attn"
    model.add_norm(f"{name}.norm_1", f"{path}.input_layernorm", layer_norm)
    model.add_norm(f"{name}.norm_2", f"{path}.post_attention_layernorm", layer_norm)
    model.add_linear(f"{name}.mixer.query", f"{attention}.q_proj", bias="qkv" in biases)
    model.add_linear(
        f"{name}.mixer.key_value",
        f"{attention}.k_proj",
        f"{attention}.v_proj",
        bias="qkv" in biases,
    )
    model.add_linear(f"{name}.mixer.dense", f"{attention}.o_proj", bias="dense" in biases)
    add_llama_mlp(model, name, f"{path}.mlp", block.mlp, biases)
    norms = (block.input_layernorm, block.post_attention_layernorm)
    layer_2 = getattr(block.mlp, "down_proj", getattr(block.mlp, "c_proj", None))
    model.watch_block(name, block, norms, block.self_attn, block.self_attn.o_proj, layer_2)


def add_llama_mlp(model, name, path, mlp, biases):
    if hasattr(mlp, "experts"):
        return add_experts(model, name, path, mlp)
    if hasattr(mlp, "gate_proj"):
        halves = (f"{path}.gate_proj", f"{path}.up_proj")
        model.add_linear(f"{name}.mlp.layer_1", *halves, bias=False)
        model.add(f"{name}.mlp.layer_2.weight", Piece(f"{path}.down_proj.weight", transposed))
        return None
    model.add_linear(f"{name}.mlp.layer_1", f"{path}.c_fc", bias="mlp" in biases)
    return model.add_linear(
        f"{name}.mlp.layer_2", f"{path}.c_proj", bias="mlp" in biases, view=transposed
    )


def add_experts(model, name, path, mlp):
    """layer_1 expert-major, inside an expert gate then up; layer_2 transposed for each expert."""
    model.add(f"{name}.mlp.router.weight", f"{path}.gate.weight")
    model.add(
        f"{name}.mlp.layer_1.weight",
        Piece(f"{path}.experts.gate_up_proj", lambda tensor: tensor.view(-1, tensor.shape[-1])),
    )
    pieces = [
        Piece(f"{path}.experts.down_proj", lambda tensor, expert=expert: tensor[expert].T)
        for expert in range(mlp.gate.num_experts)
    ]
    model.add(f"{name}.mlp.layer_2.weight", *pieces)
    model.routers[f"{name}.mlp.router.logits"] = mlp.gate


def add_llama_ends(model, module, layer_norm=False):
    model.add("embeddings.word_embeddings_weight", "model.embed_tokens.weight")
    model.add_norm("head.final_norm", "model.norm", layer_norm)
    if not module.config.tie_word_embeddings:
        model.add("head.output_weights", "lm_head.weight")
    model.watch({"embeddings": module.model.embed_tokens, "head.final_norm": module.model.norm})


def llama_settings(blocks=2, rope=None, **shape):
    shape = {**SHAPE, **shape}
    return dict(
        vocab_size=VOCABULARY,
        hidden_size=shape["hidden"],
        intermediate_size=shape["intermediate"],
        num_hidden_layers=blocks,
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["groups"],
        head_dim=shape["head_size"],
        rms_norm_eps=1e-5,
        hidden_act="silu",
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, **(rope or {})},
        attention_dropout=0.0,
        tie_word_embeddings=False,
        pad_token_id=None,
        attn_implementation="eager",
    )


def create_llama_family(family, biases=(), settings=None, **more):
    """LlamaForCausalLM, MistralForCausalLM, ... without change."""
    settings = {**llama_settings(**more), **(settings or {})}
    config = getattr(transformers, f"{family}Config")(**settings)
    module = getattr(transformers, f"{family}ForCausalLM")(config)
    model = Recorded(module)
    layer_norm = isinstance(module.model.norm, torch.nn.LayerNorm)
    for index, block in enumerate(module.model.layers):
        add_llama_block(
            model, f"decoder.{index}", f"model.layers.{index}", block, biases, layer_norm
        )
    add_llama_ends(model, module, layer_norm)
    return model


def llama(family="Llama", **more):
    return lambda: create_llama_family(family, **more)


def create_starcoder_2():
    settings = dict(
        norm_epsilon=1e-5,
        hidden_act="gelu_pytorch_tanh",
        use_bias=True,
        residual_dropout=0.0,
        embedding_dropout=0.0,
        sliding_window=None,
        tie_word_embeddings=True,
    )
    return create_llama_family("Starcoder2", ("qkv", "dense", "mlp"), settings)


class MultiTokenLlama(Recorded):
    """Two prediction heads composed of Llama layers: the second head's block reads what the last
    decoder block reads, has its own final norm, and shares the output weights."""

    def __init__(self):
        config = transformers.LlamaConfig(**llama_settings(blocks=3))
        super().__init__(transformers.LlamaForCausalLM(config))
        self.extra_norm = type(self.module.model.norm)(config.hidden_size, config.rms_norm_eps)
        self.module.model.extra_norm = self.extra_norm
        prefix = "multi_token_prediction"
        layers = self.module.model.layers
        for name, index in (("decoder.0", 0), ("decoder.1", 1), (f"{prefix}.blocks.0", 2)):
            add_llama_block(self, name, f"model.layers.{index}", layers[index])
        add_llama_ends(self, self.module)
        self.add_norm(f"{prefix}.heads.0.final_norm", "model.extra_norm", False)
        self.watch({f"{prefix}.heads.0.final_norm": self.extra_norm})

    def forward(self, tokens, positions, mask):
        model = self.module.model
        if mask is None:
            length = len(tokens)
            mask = torch.full((length, length), float("-inf")).triu(1)[None, None]
        hidden = model.embed_tokens(tokens[None])
        rotary = model.rotary_emb(hidden, position_ids=positions[None])
        settings = dict(attention_mask=mask, position_embeddings=rotary)
        trunk = model.layers[0](hidden, **settings)
        outputs = [
            norm(model.layers[index](trunk, **settings))
            for index, norm in ((1, model.norm), (2, self.extra_norm))
        ]
        return [self.module.lm_head(output)[0] for output in outputs]


def add_gpt_block(model, name, path, block, key_value_size):
    """A block of GPT-2 or GPT-BigCode: fused q, k, v. GPT-2's Conv1D stores [in, out]."""
    conv = isinstance(block.mlp.c_fc, transformers.pytorch_utils.Conv1D)
    hidden = block.ln_1.weight.shape[0]
    cut = columns_transposed if conv else rows
    for part, limits in (("query", (0, hidden)), ("key_value", (hidden, hidden + key_value_size))):
        source = f"{path}.attn.c_attn"
        model.add(f"{name}.mixer.{part}.weight", Piece(f"{source}.weight", cut(*limits)))
        model.add(f"{name}.mixer.{part}.bias", Piece(f"{source}.bias", rows(*limits)))
    plain, flipped = (transposed, None) if conv else (None, transposed)
    model.add_linear(f"{name}.mixer.dense", f"{path}.attn.c_proj", bias=True, view=plain)
    model.add_linear(f"{name}.mlp.layer_1", f"{path}.mlp.c_fc", bias=True, view=plain)
    model.add_linear(f"{name}.mlp.layer_2", f"{path}.mlp.c_proj", bias=True, view=flipped)
    model.add_norm(f"{name}.norm_1", f"{path}.ln_1", True)
    model.add_norm(f"{name}.norm_2", f"{path}.ln_2", True)
    norms = (block.ln_1, block.ln_2)
    model.watch_block(name, block, norms, block.attn, block.attn.c_proj, block.mlp.c_proj)


def create_gpt(family, groups, **settings):
    """GPT2LMHeadModel or GPTBigCodeForCausalLM: learned positions, tied embeddings."""
    config = getattr(transformers, f"{family}Config")(
        vocab_size=VOCABULARY,
        n_embd=SHAPE["hidden"],
        n_layer=2,
        n_head=SHAPE["heads"],
        n_inner=SHAPE["intermediate"],
        n_positions=512,
        layer_norm_epsilon=1e-5,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        tie_word_embeddings=True,
        pad_token_id=None,
        attn_implementation="eager",
        **settings,
    )
    class_name = "GPT2LMHeadModel" if family == "GPT2" else f"{family}ForCausalLM"
    module = getattr(transformers, class_name)(config)
    model = Recorded(module, learned_positions=True)
    model.add("embeddings.word_embeddings_weight", "transformer.wte.weight")
    model.add("embeddings.position_embeddings_weight", "transformer.wpe.weight")
    for index, block in enumerate(module.transformer.h):
        path = f"transformer.h.{index}"
        add_gpt_block(model, f"decoder.{index}", path, block, 2 * groups * SHAPE["head_size"])
    model.add_norm("head.final_norm", "transformer.ln_f", True)
    model.watch({"embeddings": module.transformer.drop, "head.final_norm": module.transformer.ln_f})
    return model


def mixtral(active):
    return llama(
        "Mixtral",
        settings=dict(
            num_local_experts=4,
            num_experts_per_tok=active,
            sliding_window=None,
            experts_implementation="eager",
        ),
    )


LLAMA_3 = dict(
    rope_type="llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=ORIGINAL_CONTEXT,
)
YARN = dict(
    rope_type="yarn",
    factor=8.0,
    beta_fast=32.0,
    beta_slow=1.0,
    attention_factor=1.2079441541679836,
    original_max_position_embeddings=ORIGINAL_CONTEXT,
)

MODELS = {
    "llama": Model(llama()),
    "llama_3": Model(llama(rope=LLAMA_3), batches.SINGLE),
    "llama_yarn": Model(llama(rope=YARN), batches.SINGLE),
    "llama_9x64": Model(
        llama(hidden=576, heads=9, groups=3, head_size=64, intermediate=1536)
    ),
    "qwen_2": Model(llama("Qwen2", biases=("qkv",))),
    "mistral": Model(llama("Mistral", settings=dict(sliding_window=128)), batches.LONG, window=128),
    "mixtral": Model(mixtral(4)),
    "mixtral_top2": Model(mixtral(2)),
    "starcoder_2": Model(create_starcoder_2),
    "gpt_2": Model(lambda: create_gpt("GPT2", SHAPE["heads"], activation_function="gelu_new")),
    "starcoder": Model(
        lambda: create_gpt(
            "GPTBigCode", 1, multi_query=True, activation_function="gelu_pytorch_tanh"
        )
    ),
    "mtp_llama": Model(MultiTokenLlama, heads=2),
}
