"""Any model that lockstep's configuration can describe, in plain PyTorch: one function for each
layer, composed as the configuration says. What `random_models.py` compares lockstep with.

Tensors have lockstep's names and shapes. Derivatives are PyTorch's own. Rotary frequencies are
those of `transformers`, losses, norms and attention those of `torch.nn.functional`.
"""

import math

import torch
import transformers
from torch.nn import functional
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from batches import MASKED
from training import computing_in

ACTIVATIONS = {
    "gelu": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": functional.silu,
    "relu": functional.relu,
    "sigmoid": torch.sigmoid,
    "squared_relu": lambda x: functional.relu(x).square(),
    "identity": lambda x: x,
}


def move_by_steps(x, generator):
    """A third of the values becomes a step of float32 less, another a step more; none without a
    generator."""
    if not generator:
        return x
    noise = torch.rand(x.shape, generator=generator, dtype=x.dtype) - 0.5
    target = torch.where(noise < 0, -math.inf, math.inf).to(x.dtype)
    moved = torch.nextafter(x.detach(), target)
    moved = torch.where((noise.abs() > 1 / 6) & torch.isfinite(x), moved - x.detach(), 0)
    return x + moved


class RoundBoth(torch.autograd.Function):
    """Rounds a value on its way forward, or its gradient on the way back, to a 16-bit type."""

    @staticmethod
    def forward(context, x, forward, backward):
        context.backward_type = backward
        return x.to(forward).to(x.dtype) if forward else x.clone()

    @staticmethod
    def backward(context, gradient):
        kind = context.backward_type
        return (gradient.to(kind).to(gradient.dtype) if kind else gradient), None, None


class FlashAttention(torch.autograd.Function):
    """Attention that keeps what lockstep and flash attention keep: the result, in 16 bits if `kind`
    says so, of which the way back takes the sum over keys of p dp, and the log sum exp of each
    row, of which it makes the p again."""

    @staticmethod
    def forward(context, query, key, value, mask, scale, kind, dither):
        scores = (query @ key.transpose(1, 2) * scale).masked_fill(~mask, -math.inf)
        output = scores.softmax(-1) @ value
        output = output.to(kind).to(query.dtype) if kind else output
        log_sum_exp = move_by_steps(scores.logsumexp(-1), dither)
        context.save_for_backward(query, key, value, mask, log_sum_exp, output)
        context.scale = scale
        return output

    @staticmethod
    def backward(context, gradient):
        query, key, value, mask, log_sum_exp, output = context.saved_tensors
        scores = (query @ key.transpose(1, 2) * context.scale).masked_fill(~mask, -math.inf)
        share = (scores - log_sum_exp[..., None]).exp()
        inner = gradient @ value.transpose(1, 2) - (gradient * output).sum(-1, keepdim=True)
        scores = share * inner * context.scale
        value_gradient = share.transpose(1, 2) @ gradient
        return (scores @ key, scores.transpose(1, 2) @ query, value_gradient) + 4 * (None,)


class CrossEntropy(torch.autograd.Function):
    """The sum of the losses of a row's label each, of which the way back has the log sum exp."""

    @staticmethod
    def forward(context, logits, labels, dither):
        log_sum_exp, seen = move_by_steps(logits.logsumexp(-1), dither), labels != MASKED
        context.save_for_backward(logits, labels, log_sum_exp)
        picked = logits.gather(1, labels.clamp(min=0)[:, None])[:, 0]
        return (log_sum_exp - picked)[seen].sum()

    @staticmethod
    def backward(context, gradient):
        logits, labels, log_sum_exp = context.saved_tensors
        slope = (logits - log_sum_exp[:, None]).exp()
        slope[torch.arange(len(labels)), labels.clamp(min=0)] -= 1
        return gradient * slope * (labels != MASKED)[:, None], None, None


def rotary_frequencies(rotary, head_size):
    """(frequency of each pair, factor of cosine and sine) in float64, as lockstep has them:
    `transformers` itself computes in float32."""
    kind = rotary["type"]
    parameters = {"rope_type": kind, "rope_theta": rotary["theta"]}
    if kind != "default":
        parameters["factor"] = rotary["scale_factor"]
        parameters["original_max_position_embeddings"] = rotary["original_context_length"]
    if kind == "llama3":
        parameters["low_freq_factor"] = rotary["low_frequency_factor"]
        parameters["high_freq_factor"] = rotary["high_frequency_factor"]
    if kind == "yarn":
        parameters.update(beta_fast=rotary["beta_fast"], beta_slow=rotary["beta_slow"])
        # `transformers` has no factor below 1 unless it is told so.
        factor = 0.1 * math.log(rotary["scale_factor"]) + 1 if rotary["scale_factor"] < 1 else None
        parameters["attention_factor"] = rotary.get("attention_factor", factor)
        parameters["truncate"] = True
    if kind == "default":
        exponent = torch.arange(0, head_size, 2, dtype=torch.float64) / head_size
        return rotary["theta"] ** -exponent, 1.0
    config = transformers.LlamaConfig(
        head_dim=head_size,
        hidden_size=head_size,
        num_attention_heads=1,
        max_position_embeddings=1 << 30,
        rope_parameters=parameters,
    )
    with computing_in(torch.float64):
        return ROPE_INIT_FUNCTIONS[kind](config, "cpu")


def parameter_shapes(config):
    """{name: shape} of all parameters, in no particular order."""
    model = config["base_model"]
    hidden, vocabulary = model["hidden_size"], model["embeddings"]["vocab_size"]
    shapes = {"embeddings.word_embeddings_weight": (vocabulary, hidden)}
    if model["embeddings"]["position_embeddings"]["enabled"]:
        positions = model["embeddings"]["num_position_embeddings"]
        shapes["embeddings.position_embeddings_weight"] = (positions, hidden)
    for name in block_names(model):
        shapes.update(block_shapes(name, model["decoder"]["block"], hidden))
    for name in head_names(model):
        shapes.update(norm_shapes(f"{name}.final_norm", model["head"]["normalization"], hidden))
    if not model["tied_embedding_weight"]:
        shapes["head.output_weights"] = (vocabulary, hidden)
    return shapes


def block_names(model):
    extra = range(model["head"]["prediction_heads"] - 1)
    return [f"decoder.{i}" for i in range(model["decoder"]["num_blocks"])] + [
        f"multi_token_prediction.blocks.{i}" for i in extra
    ]


def head_names(model):
    extra = range(model["head"]["prediction_heads"] - 1)
    return ["head"] + [f"multi_token_prediction.heads.{i}" for i in extra]


def norm_shapes(name, norm, hidden):
    parts = {"none": (), "rms_norm": ("weight",), "layer_norm": ("weight", "bias")}[norm["type"]]
    return {f"{name}.{part}": (hidden,) for part in parts}


def has_bias(layers, name):
    """The layer's own switch, else that of all layers of the mixer or the MLP."""
    own = layers.get(name, {}).get("bias", {}).get("enabled")
    return layers["add_linear_biases"] if own is None else own


def head_size_of(config):
    model = config["base_model"]
    mixer = model["decoder"]["block"]["mixer"]
    return mixer.get("head_size") or model["hidden_size"] // mixer["heads"]


def block_shapes(name, block, hidden):
    mixer, mlp = block["mixer"], block["mlp"]
    size = mixer.get("head_size") or hidden // mixer["heads"]
    inner, experts = mlp["intermediate_size"], mlp.get("experts") or 1
    wide = inner * (2 if mlp["gated"] else 1)
    queries = mixer["heads"] * size
    linear = {
        "mixer.query": (mixer, "query_layer", (queries, hidden), queries),
        "mixer.key_value": (mixer, "key_layer", (2 * mixer["head_groups"] * size, hidden), None),
        "mixer.dense": (mixer, "dense_layer", (hidden, queries), hidden),
        "mlp.layer_1": (mlp, "layer_1", (experts * wide, hidden), wide),
        "mlp.layer_2": (mlp, "layer_2", (experts * inner, hidden), hidden),
    }
    shapes = {}
    for part in ("norm_1", "norm_2"):
        shapes.update(norm_shapes(f"{name}.{part}", block["normalization"], hidden))
    for part, (layers, key, shape, outputs) in linear.items():
        shapes[f"{name}.{part}.weight"] = shape
        if has_bias(layers, key):
            shapes[f"{name}.{part}.bias"] = (outputs or shape[0],)
    if mlp["type"] == "moe":
        shapes[f"{name}.mlp.router.weight"] = (experts, hidden)
    return shapes


class Step:
    """Forward and backward passes of one training step, on given parameters (`values`, {name:
    float64 array}). `dtype` is what PyTorch computes in; `rounded` a 16-bit type to which values,
    gradients and weights are rounded wherever lockstep stores them. `dither`: a torch.Generator
    that moves each value by up to a quarter of a step of that type before it is rounded (without
    such a type, by a step of float32 or not at all), to see how much hangs on single roundings.
    `flash`: softmax keeps for the way back what lockstep keeps, which is not the probabilities.

    After `run`: `tensors` {lockstep's name: tensor}, `parameter_gradients` {name: tensor}, and
    `routing_margin`, `kink_margin`: how far choices of experts and signs at the kink of a relu are
    from depending on rounding."""

    def __init__(self, config, values, dtype, rounded=None, loss_scale=1.0, dither=None,
                 flash=False):
        self.dither, self.flash = dither, flash
        self.config, self.model = config, config["base_model"]
        self.dtype, self.rounded, self.loss_scale = dtype, rounded, loss_scale
        self.leaves = {
            name: torch.from_numpy(value).to(dtype).requires_grad_()
            for name, value in values.items()
        }
        self.parallel = config["schedule"]
        self.splits = self.parallel["micro_batch_splits"]
        self.micro_batches = len(self.backward_order())
        self.tensors, self.pending = {}, {}
        self.routing_margin = self.kink_margin = math.inf
        self.make_rotary_table()

    def make_rotary_table(self):
        rotary, size = self.model["decoder"]["block"]["mixer"]["rotary"], head_size_of(self.config)
        if rotary["type"] == "none":
            return
        frequencies, factor = rotary_frequencies(rotary, size)
        positions = torch.arange(self.config["data"]["micro_batch_size"], dtype=torch.float64)
        angles = positions[:, None] * frequencies
        # lockstep's table is float32 whatever computes with it.
        self.cos = (angles.cos() * factor).float().to(self.dtype)
        self.sin = (angles.sin() * factor).float().to(self.dtype)

    # Names and rounding.

    def suffix(self, split=None):
        text = f" mb={self.micro_batch}/{self.micro_batches}" if self.micro_batches > 1 else ""
        split = self.split if split is None else split
        return text + (f" ms={split}/{self.splits}" if self.splits > 1 else "")

    def keep(self, name, x, rounded=True):
        """`x` as lockstep stores it, under its name; its gradient will be kept, too."""
        kind = self.rounded if rounded else None
        if self.dither:
            x = self.moved(x, kind)
        x = RoundBoth.apply(x, kind, None)
        if x.requires_grad:
            x.retain_grad()
        self.pending[name + self.suffix()] = x
        return RoundBoth.apply(x, None, kind)

    def moved(self, x, kind):
        if not kind:
            return move_by_steps(x, self.dither)
        noise = torch.rand(x.shape, generator=self.dither, dtype=x.dtype) - 0.5
        return x * (1 + torch.finfo(kind).eps / 2 * noise)

    def keep_float(self, name, x):
        x = x.detach().float() if self.rounded else x.detach()
        self.tensors[f"fw {name}{self.suffix()}"] = x

    def use(self, x, target, consumer):
        """`x` for one of its several consumers, whose share of the gradient will be kept. Without
        norms lockstep numbers shares and sums of shares alike (#2, ...): those are left out."""
        x = RoundBoth.apply(x, None, None)
        if x.requires_grad:
            x.retain_grad()
        if self.model["decoder"]["block"]["normalization"]["type"] != "none":
            self.pending[f"{target}<-{consumer}{self.suffix()}"] = x
        return RoundBoth.apply(x, None, self.rounded)

    def weight(self, name, consumer):
        """A parameter for one of the instructions that use it; None if the model does not have
        it. Its gradients are float32 in every precision."""
        leaf = self.leaves.get(name)
        if leaf is None:
            return None
        leaf = RoundBoth.apply(leaf, self.rounded, None)
        leaf.retain_grad()
        self.pending[f"{name}<-{consumer}{self.suffix()}"] = leaf
        return leaf

    # Layers.

    def linear(self, x, name, transposed=False):
        weight, bias = self.weight(f"{name}.weight", name), self.weight(f"{name}.bias", name)
        return functional.linear(x, weight.T if transposed else weight, bias)

    def norm(self, x, name, norm):
        if norm["type"] == "none":
            return x
        weight, bias = self.weight(f"{name}.weight", name), self.weight(f"{name}.bias", name)
        epsilon = norm["epsilon"]
        if norm["type"] == "layer_norm":
            y = functional.layer_norm(x, x.shape[-1:], weight, bias, epsilon)
            variance = x.detach().var(-1, correction=0)
            self.keep_float(f"{name}.output.mean", x.detach().mean(-1))
        else:
            y = functional.rms_norm(x, x.shape[-1:], weight, epsilon)
            variance = x.detach().square().mean(-1)
        self.keep_float(f"{name}.output.inverse", (variance + epsilon).rsqrt())
        return self.keep(f"{name}.output", y)

    def rotate(self, x, heads, name):
        """The first `heads` heads of each row are turned."""
        if self.model["decoder"]["block"]["mixer"]["rotary"]["type"] == "none":
            return x
        size = head_size_of(self.config)
        turned = x[:, : heads * size].unflatten(1, (heads, 2, size // 2))
        real, imaginary = turned[:, :, 0], turned[:, :, 1]
        rows = slice(self.first, self.first + len(x))
        cos, sin = self.cos[rows, None], self.sin[rows, None]
        parts = [real * cos - imaginary * sin, imaginary * cos + real * sin]
        turned = torch.stack(parts, 2).flatten(1)
        return self.keep(name, torch.cat([turned, x[:, heads * size :]], 1))

    def history(self, name, key_value):
        """Keys and values of the micro-batch so far."""
        if self.splits == 1:
            return key_value
        before = self.past.get(name)
        if before is not None:
            key_value = torch.cat([before, key_value])
        key_value = self.keep(f"{name}.mixer.key_value_history", key_value)
        self.past[name] = key_value
        return key_value

    def visible(self, keys):
        """[rows, keys]: which keys the rows of this part see."""
        mixer = self.model["decoder"]["block"]["mixer"]
        query = torch.arange(self.first, self.first + self.rows)[:, None]
        key = torch.arange(keys)[None]
        start = torch.from_numpy(self.batch.document_start)
        seen = start[query] == start[key]
        if mixer["causal"]:
            seen = seen & (key <= query)
        if mixer.get("window_size"):
            seen = seen & (key > query - mixer["window_size"])
        return seen

    def attend(self, name, query, key_value):
        mixer, size = self.model["decoder"]["block"]["mixer"], head_size_of(self.config)
        if self.splits > 1:
            target = f"{name}.mixer.key_value_history"
            key_value = self.use(key_value, target, f"{name}.mixer.attention")
        query = query.unflatten(1, (-1, size)).transpose(0, 1)
        repeat = mixer["heads"] // mixer["head_groups"]
        key, value = (
            part.unflatten(1, (-1, size)).transpose(0, 1).repeat_interleave(repeat, 0)
            for part in key_value.chunk(2, 1)
        )
        mask = self.visible(key.shape[1])
        scale = size ** -mixer["softmax_scale_power"]
        scores = (query.detach() @ key.detach().transpose(1, 2) * scale).masked_fill(
            ~mask, -math.inf
        )
        self.keep_float(f"{name}.mixer.context.log_sum_exp", scores.logsumexp(-1).T)
        if self.rounded or self.flash:
            context = FlashAttention.apply(
                query, key, value, mask, scale, self.rounded, self.dither
            )
        else:
            context = functional.scaled_dot_product_attention(
                query[None], key[None], value[None], attn_mask=mask, scale=scale
            )[0]
        return self.keep(f"{name}.mixer.context", context.transpose(0, 1).flatten(1))

    def mixer(self, name, x):
        mixer = self.model["decoder"]["block"]["mixer"]
        source = self.normed_name(name, "norm_1")
        key_value = self.linear(
            self.use(x, source, f"{name}.mixer.key_value"), f"{name}.mixer.key_value"
        )
        key_value = self.keep(f"{name}.mixer.key_value", key_value)
        query = self.linear(self.use(x, source, f"{name}.mixer.query"), f"{name}.mixer.query")
        query = self.keep(f"{name}.mixer.query", query)
        query = self.rotate(query, mixer["heads"], f"{name}.mixer.query_rotated")
        key_value = self.rotate(
            key_value, mixer["head_groups"], f"{name}.mixer.key_value_rotated"
        )
        context = self.attend(name, query, self.history(name, key_value))
        return self.keep(f"{name}.mixer.output", self.linear(context, f"{name}.mixer.dense"))

    def activate(self, name, hidden):
        mlp = self.model["decoder"]["block"]["mlp"]
        kind = mlp.get("activation") or ("silu" if mlp["gated"] else "gelu")
        gate, up = hidden.chunk(2, 1) if mlp["gated"] else (hidden, 1)
        if kind == "relu" and gate.numel():
            self.kink_margin = min(self.kink_margin, float(gate.detach().abs().min()))
        return self.keep(f"{name}.mlp.activated", ACTIVATIONS[kind](gate) * up)

    def mlp(self, name, x):
        if self.model["decoder"]["block"]["mlp"]["type"] == "moe":
            return self.experts(name, x)
        hidden = self.keep(f"{name}.mlp.hidden", self.linear(x, f"{name}.mlp.layer_1"))
        activated = self.activate(name, hidden)
        output = self.linear(activated, f"{name}.mlp.layer_2", transposed=True)
        return self.keep(f"{name}.mlp.output", output)

    def route(self, name, x):
        """(experts of each token, scores), and the load-balancing loss, of which only the
        gradient counts."""
        mlp = self.model["decoder"]["block"]["mlp"]
        experts, chosen = mlp["experts"], mlp["experts_per_token"]
        logits_name = f"{name}.mlp.router.logits"
        weight = self.weight(f"{name}.mlp.router.weight", f"{name}.mlp.router")
        logits = self.keep(logits_name, functional.linear(x, weight))
        ordered = torch.sort(logits.detach(), dim=-1, descending=True, stable=True)
        top = ordered.indices[:, :chosen]
        if chosen < experts:
            gaps = ordered.values[:, chosen - 1] - ordered.values[:, chosen]
            self.routing_margin = min(self.routing_margin, float(gaps.min()))
        balanced = mlp["auxiliary_loss_coefficient"] > 0
        routed = self.use(logits, logits_name, f"{name}.mlp.router#2") if balanced else logits
        scores = functional.softmax(routed.gather(1, top), -1)
        if balanced:
            share = functional.one_hot(top, experts).sum(1).to(logits.dtype).mean(0)
            own = self.use(logits, logits_name, f"{name}.mlp.router")
            loss = (functional.softmax(own, -1).mean(0) * share).sum()
            self.keep_float(f"{name}.mlp.load_balancing_loss", loss.reshape(1))
            self.extra = self.extra + experts * mlp["auxiliary_loss_coefficient"] * loss
        return top, scores

    def experts(self, name, x):
        mlp = self.model["decoder"]["block"]["mlp"]
        source = self.normed_name(name, "norm_2")
        chosen = mlp["experts_per_token"]
        top, scores = self.route(name, self.use(x, source, f"{name}.mlp.router#2"))
        flat = top.flatten()
        order = flat.argsort(stable=True)
        routed = self.use(x, source, f"{name}.mlp.router")[order // chosen]
        routed = self.keep(f"{name}.mlp.routed", routed)
        parts = routed.split(torch.bincount(flat, minlength=mlp["experts"]).tolist())
        first, second = (
            self.weight(f"{part}.weight", part).chunk(mlp["experts"])
            for part in (f"{name}.mlp.layer_1", f"{name}.mlp.layer_2")
        )
        hidden = torch.cat([part @ weight.T for part, weight in zip(parts, first)])
        activated = self.activate(name, self.keep(f"{name}.mlp.hidden", hidden))
        parts = activated.split([len(part) for part in parts])
        outputs = torch.cat([part @ weight for part, weight in zip(parts, second)])
        outputs = self.keep(f"{name}.mlp.expert_outputs", outputs)
        place = order.argsort().unflatten(0, (-1, chosen))
        return self.keep(f"{name}.mlp.output", (outputs[place] * scores[..., None]).sum(1))

    def normed_name(self, name, part):
        """What the value behind a norm is called: without a norm it is the norm's input."""
        if self.model["decoder"]["block"]["normalization"]["type"] != "none":
            return f"{name}.{part}.output"
        return self.input_name if part == "norm_1" else f"{name}.mixer_residual"

    def block(self, name, x, input_name):
        norm = self.model["decoder"]["block"]["normalization"]
        self.input_name = input_name
        own = self.use(x, input_name, f"{name}.norm_1") if norm["type"] != "none" else x
        x = self.keep(
            f"{name}.mixer_residual", x + self.mixer(name, self.norm(own, f"{name}.norm_1", norm))
        )
        own = self.use(x, f"{name}.mixer_residual", f"{name}.norm_2")
        fed = self.mlp(name, self.norm(own, f"{name}.norm_2", norm))
        return self.keep(f"{name}.output", x + fed)

    def embed(self):
        tokens = torch.from_numpy(self.batch.tokens[self.first : self.first + self.rows]).long()
        weight = self.weight("embeddings.word_embeddings_weight", "embeddings.word")
        learned = self.weight("embeddings.position_embeddings_weight", "embeddings.position")
        if learned is None:
            return self.keep("embeddings.output", functional.embedding(tokens, weight))
        start = torch.from_numpy(self.batch.document_start[self.first : self.first + self.rows])
        positions = torch.arange(self.first, self.first + self.rows) - start
        word = self.keep("embeddings.word", functional.embedding(tokens, weight))
        position = self.keep("embeddings.position", functional.embedding(positions, learned))
        return self.keep("embeddings.output", word + position)

    def head(self, name, x, distance):
        """Sum of the losses of this part's tokens over the number of labels of the whole step."""
        head = self.model["head"]
        x = self.norm(x, f"{name}.final_norm", head["normalization"])
        tied = self.model["tied_embedding_weight"]
        weight = "embeddings.word_embeddings_weight" if tied else "head.output_weights"
        chunks, logits = head["cross_entropy_splits"], []
        for index, part in enumerate(x.chunk(chunks)):
            chunk = f".chunk_{index + 1}_of_{chunks}" if chunks > 1 else ""
            used = self.weight(weight, f"{name}.output_weights{chunk}")
            logits.append(functional.linear(part, used))
        logits = self.keep(f"{name}.logits", torch.cat(logits))
        labels = torch.from_numpy(self.batch.labels[distance]).long()
        labels = labels[self.first : self.first + self.rows]
        scaled = logits * head["logits_scale_factor"]
        self.keep_float(f"{name}.loss.log_sum_exp", scaled.logsumexp(-1))
        if self.flash:
            total = CrossEntropy.apply(scaled, labels, self.dither)
        else:
            total = functional.cross_entropy(scaled, labels, ignore_index=MASKED, reduction="sum")
        loss = total / max(self.label_counts[distance], 1)
        self.keep_float(f"{name}.loss", loss.reshape(1))
        return loss

    def forward_part(self):
        """All layers on one micro-sequence; the sum of its losses."""
        self.extra = 0.0
        heads = head_names(self.model)
        count = self.model["decoder"]["num_blocks"]
        x, name, trunk = self.embed(), "embeddings.output", None
        for index in range(count):
            if index + 1 == count:
                trunk = (x, name)
            x, name = self.block(f"decoder.{index}", x, name), f"decoder.{index}.output"
        losses = [self.head(heads[0], x, 0)]
        for index, head in enumerate(heads[1:]):
            x = self.block(f"multi_token_prediction.blocks.{index}", *trunk)
            losses.append(self.head(head, x, index + 1))
        for head, loss in zip(heads, losses):
            self.losses[head] = self.losses.get(head, 0.0) + float(loss.detach())
        return sum(losses) + self.extra

    def run_micro_batch(self, number, batch):
        self.micro_batch, self.batch, self.past, self.losses = number, batch, {}, {}
        self.rows = len(batch.document_start) // self.splits
        total = 0.0
        for self.split in range(self.splits):
            self.first = self.split * self.rows
            total = total + self.forward_part()
        (total * self.loss_scale).backward()
        for name, x in self.pending.items():
            if "<-" not in name:
                self.tensors[f"fw {name}"] = x.detach()
            if x.grad is not None:
                self.tensors[f"bw {name}"] = x.grad
        self.pending = {}
        if self.splits > 1:
            label = f" mb={number}/{self.micro_batches}" if self.micro_batches > 1 else ""
            for head, loss in self.losses.items():
                self.tensors[f"fw {head}.loss{label}"] = torch.tensor([loss])

    def backward_order(self):
        """Numbers of the micro-batches in the order in which their gradients are added up."""
        depth = self.parallel["depth_first_micro_batches"]
        breadth = self.parallel["breadth_first_micro_batches"]
        return [b * depth + d for d in range(depth) for b in range(breadth)]

    def summed_by_micro_batch(self, name):
        """Whether lockstep's partial sums are those over whole micro-batches: with breadth-first
        ones a weight that several stages use gets all of one stage's first."""
        shared = "embeddings_weight" in name or "output_weights" in name
        return self.micro_batches > 1 and not (
            shared and self.parallel["breadth_first_micro_batches"] > 1
        )

    def keep_partial_sums(self, last):
        for name, leaf in self.leaves.items():
            if self.summed_by_micro_batch(name) and leaf.grad is not None:
                label = f"gradient {name} mb={last}/{self.micro_batches}"
                self.tensors[label] = leaf.grad.clone()

    def run(self, batches):
        """All micro-batches of the step; gradients of parameters accumulate."""
        heads = len(batches[0].labels)
        self.label_counts = [
            sum(int((batch.labels[d] != MASKED).sum()) for batch in batches) for d in range(heads)
        ]
        order = self.backward_order()
        for done, number in enumerate(order):
            self.run_micro_batch(number, batches[number])
            last = max(order[: done + 1])
            if last == done: # the sum so far is over the first ones, so lockstep gives it a name
                self.keep_partial_sums(last)
        self.parameter_gradients = {
            name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            for name, leaf in self.leaves.items()
        }
        for name, gradient in self.parameter_gradients.items():
            self.tensors[f"gradient {name}"] = gradient
