"""Draws configurations from all that lockstep's language allows, sizes small and odd."""

import math


class Draw:
    """Draws of one configuration; `generator` is a `random.Random`. Models of 16 bits have no
    relu, whose derivative jumps where values are rounded, norms everywhere, and learn slowly, since
    a single rounding of a large logit is a large error of a probability."""

    def __init__(self, generator, precision="fp32"):
        self.random, self.wide = generator, precision == "fp32"

    def chance(self, probability):
        return self.random.random() < probability

    def pick(self, *choices):
        return self.random.choice(choices)

    def between(self, low, high):
        """Log-uniform, three digits."""
        value = math.exp(self.random.uniform(math.log(low), math.log(high)))
        return float(f"{value:.3g}")

    def optional(self, target, key, probability, value):
        if self.chance(probability):
            target[key] = value

    def normalization(self):
        kind = self.pick("layer_norm", "layer_norm", "rms_norm", "rms_norm", "rms_norm", "none")
        kind = "rms_norm" if kind == "none" and not self.wide else kind
        return {"type": kind, "epsilon": self.between(1e-7, 1e-1)}

    def linear(self, bias):
        """Settings of a linear layer; without `bias` it may not have one of its own."""
        layer = {"weight": {"initialization": {"type": "normal", "std": self.between(1e-3, 1e-1)}}}
        if bias and self.chance(0.3):
            layer["bias"] = {"enabled": self.chance(0.5)}
        self.optional(layer, "lr_scale", 0.1, self.pick(0, 0.5, 3))
        return layer

    def rotary(self):
        kind = self.pick("none", "default", "default", "llama3", "yarn")
        rotary = {
            "type": kind,
            "theta": self.pick(10000, 500000, self.between(1.5, 1e6)),
            "scale_factor": self.pick(8, self.between(0.5, 64)),
            "original_context_length": self.pick(8192, self.random.randint(3, 300)),
        }
        low = self.between(0.2, 4)
        rotary["low_frequency_factor"] = low
        rotary["high_frequency_factor"] = low * self.pick(1.0625, 2, 4, 16)
        slow = self.between(0.05, 4)
        rotary["beta_slow"], rotary["beta_fast"] = slow, slow * self.pick(1.0625, 4, 32)
        if kind == "yarn":
            self.optional(rotary, "attention_factor", 0.5, self.between(0.3, 2))
        return rotary

    def mixer(self, hidden, tokens, splits):
        heads = self.pick(1, 2, 3, 4, 6, 8)
        groups = self.pick(*[g for g in range(1, heads + 1) if heads % g == 0])
        mixer = {"heads": heads, "head_groups": groups, "rotary": self.rotary()}
        turned = mixer["rotary"]["type"] != "none"
        fits = hidden % heads == 0 and not (turned and hidden // heads % 2)
        if not fits or self.chance(0.5):
            mixer["head_size"] = self.random.randint(1, 40) * 2 - (0 if turned else self.pick(0, 1))
        mixer["causal"] = splits > 1 or self.chance(0.75)
        if mixer["causal"] and self.chance(0.4):
            mixer["window_size"] = self.random.randint(1, tokens + 3)
        mixer["softmax_scale_power"] = self.pick(0.5, 0.5, 0, 1, self.between(0.1, 2))
        mixer["add_linear_biases"] = self.chance(0.5)
        for layer in ("query_layer", "key_layer", "dense_layer"):
            self.optional(mixer, layer, 0.5, self.linear(True))
        return mixer

    def mlp(self):
        kind = self.pick("mlp", "mlp", "moe")
        mlp = {
            "type": kind,
            "intermediate_size": self.random.randint(1, 200),
            "gated": self.chance(0.5),
            "add_linear_biases": kind == "mlp" and self.chance(0.5),
            "lr_scale": self.pick(1, 1, 1, 1, 1, 1, 1, 0, 0.5),
        }
        kinked = "relu" if self.wide else "silu"
        activations = ("gelu", "silu", kinked, "sigmoid", "squared_relu", "identity")
        self.optional(mlp, "activation", 0.8, self.pick(*activations))
        for layer in ("layer_1", "layer_2"):
            self.optional(mlp, layer, 0.4, self.linear(kind == "mlp"))
        if kind == "moe":
            mlp["experts"] = self.random.randint(1, 8)
            fewest = 1 if self.wide or self.chance(0.3) else mlp["experts"]
            mlp["experts_per_token"] = self.random.randint(fewest, mlp["experts"])
            mlp["auxiliary_loss_coefficient"] = self.pick(0, 0.01, self.between(1e-3, 1))
            self.optional(mlp, "router", 0.5, self.linear(False))
        return mlp

    def schedule(self):
        """Micro-batches and micro-sequences, and how many of them there are."""
        depth, breadth = self.pick(1, 1, 1, 2, 3), self.pick(1, 1, 1, 2, 3)
        return {
            "depth_first_micro_batches": depth,
            "breadth_first_micro_batches": breadth,
            "micro_batch_splits": self.pick(1, 1, 1, 2, 3),
        }

    def optimizer(self, steps):
        warmup = self.pick(0, 0, self.random.randint(1, 4))
        base = self.between(1e-4, 1e-2) if self.wide else self.between(1e-5, 3e-4)
        return {
            "learning_rate": {
                "base": base,
                "minimum": self.pick(0, base / 16),
                "decay_style": self.pick("constant", "linear", "power", "cosine"),
                "decay_power": self.pick(1, 2, 0.5),
                "warmup_iterations": warmup,
                "decay_iterations": warmup + self.random.randint(1, steps + 3),
            },
            "beta_1": self.pick(0.9, 0.5, 0),
            "beta_2": self.pick(0.999, 0.95, 0.5),
            "epsilon": self.between(1e-10, 1e-4),
            "weight_decay": self.pick(0, 0.01, 0.5),
            "gradient_norm_clipping": self.pick(0, 1, self.between(1e-2, 100)),
        }

    def schedule_of_rates(self):
        """Stages in a line, instead of warmup and decay."""
        stages = []
        for _ in range(self.random.randint(1, 3)):
            kind, count = self.pick("constant", "linear", "power", "cosine"), self.random.randint(1, 3)
            stage = [kind, count, self.between(1e-5, 1e-3)]
            if kind != "constant":
                stage.append(self.pick(0, self.between(1e-5, 1e-3)))
                if self.chance(0.5):
                    stage.append(self.pick(0.5, 2, 3))
            stages.append(",".join(map(str, stage)))
        if self.chance(0.3):
            stages.append(f"constant,-1,{self.between(1e-5, 1e-3)}")
        return ";".join(stages)

    def data(self, tokens):
        return {
            "type": self.pick("text", "tokens"),
            "seed": self.random.randrange(1 << 32),
            "micro_batch_size": tokens,
            "maximum_document_length": self.pick(512, self.random.randint(1, 2 * tokens)),
            "loss_masking_spans": self.chance(0.5),
            "shuffle": self.chance(0.7),
        }

    def model(self, tokens, chunks, splits):
        hidden = self.pick(32, 48, 64, 96, 100, 128, 200, 256, self.random.randint(32, 256))
        vocabulary = self.pick(97, 131, 257, 384, self.random.randint(2, 400))
        return {
            "hidden_size": hidden,
            "tied_embedding_weight": self.chance(0.4),
            "embeddings": {
                "vocab_size": vocabulary,
                "num_position_embeddings": self.pick(600, 1024),
                "position_embeddings": {"enabled": self.chance(0.3)},
            },
            "decoder": {
                "num_blocks": self.pick(1, 1, 2, 2, 3, 4),
                "block": {
                    "normalization": self.normalization(),
                    "mixer": self.mixer(hidden, tokens, splits),
                    "mlp": self.mlp(),
                },
            },
            "head": {
                "normalization": self.normalization(),
                "logits_scale_factor": self.pick(1, 1, self.between(0.1, 3)),
                "cross_entropy_splits": chunks,
                "prediction_heads": self.pick(1, 1, 1, 2, 3),
            },
        }

    def config(self, precision, steps):
        """One configuration, complete but for the data's path."""
        schedule, chunks = self.schedule(), self.pick(1, 1, 1, 2, 5)
        tokens = schedule["micro_batch_splits"] * chunks * self.random.randint(1, 12)
        while tokens < 12:
            tokens *= 2
        model = self.model(tokens, chunks, schedule["micro_batch_splits"])
        config = {
            "base_model": model,
            "optimizer": self.optimizer(steps),
            "data": self.data(tokens),
            "schedule": schedule,
            "distributed": {"compute_dtype": precision},
            "multi_stage": {
                "zero_stage": self.pick(0, 0, 2),
                "layers_per_stage": self.pick(1, 1, 2),
            },
            "training": {"train_iters": steps},
        }
        if precision == "fp16":
            scaler = {"initial": self.pick(1024, 65536, 2.0**30), "window": self.pick(1, 2),
                      "hysteresis": self.pick(1, 2)}
            config["optimizer"]["gradient_scaler"] = scaler
        if model["embeddings"]["position_embeddings"]["enabled"]:
            limit = model["embeddings"]["num_position_embeddings"]
            length = config["data"]["maximum_document_length"]
            config["data"]["maximum_document_length"] = min(length, limit)
        rates = config["optimizer"]["learning_rate"]
        self.optional(rates, "schedule", 0.2, self.schedule_of_rates())
        return config


def spoil(draw, config):
    """Sets one key to what does not fit, or is at an end of its range; returns what."""
    model, data, optimizer = config["base_model"], config["data"], config["optimizer"]
    block = model["decoder"]["block"]
    mixer, mlp, rotary = block["mixer"], block["mlp"], block["mixer"]["rotary"]
    rate, tokens = optimizer["learning_rate"], data["micro_batch_size"]
    target, key, value = draw.pick(
        (mixer, "heads", mixer["heads"] + 1), (mixer, "head_groups", mixer["heads"] + 1),
        (mixer, "head_groups", 0), (mixer, "head_size", 7), (mixer, "head_size", 1),
        (mixer, "causal", False), (mixer, "window_size", 0), (mixer, "window_size", 10 * tokens),
        (mixer, "softmax_scale_power", 11), (mixer, "add_linear_biases", True),
        (rotary, "theta", 1), (rotary, "theta", 1.0001), (rotary, "scale_factor", 0),
        (rotary, "high_frequency_factor", rotary["low_frequency_factor"]),
        (rotary, "beta_fast", rotary["beta_slow"]), (rotary, "original_context_length", 1),
        (mlp, "type", "moe"), (mlp, "type", "mlp"), (mlp, "experts", 1), (mlp, "experts", 9),
        (mlp, "experts_per_token", 9), (mlp, "add_linear_biases", True), (mlp, "lr_scale", 0),
        (mlp, "intermediate_size", 1), (mlp, "intermediate_size", -1),
        (model, "hidden_size", 0), (model, "hidden_size", 1), (model, "hidden_size", 31),
        (model["embeddings"], "vocab_size", 1), (model["embeddings"], "vocab_size", 2),
        (model["embeddings"], "num_position_embeddings", 1),
        (model["head"], "cross_entropy_splits", 7), (model["head"], "prediction_heads", 5),
        (model["head"], "logits_scale_factor", 0), (block["normalization"], "epsilon", 0),
        (optimizer, "beta_1", 1), (optimizer, "beta_2", 0), (optimizer, "epsilon", 0),
        (rate, "base", 0), (rate, "decay_iterations", 0), (rate, "decay_power", 0),
        (data, "micro_batch_size", tokens + 1), (data, "micro_batch_size", 1),
        (data, "maximum_document_length", 1), (data, "maximum_document_length", 5000),
        (config["schedule"], "micro_batch_splits", 4),
        (config["schedule"], "depth_first_micro_batches", 0),
        (config["multi_stage"], "layers_per_stage", 50),
    )
    target[key] = value
    return f"{key} {value}"


def to_yaml(value, indent=0):
    """A mapping as YAML, block by block."""
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
            lines += [" " * indent + f"{key}:", to_yaml(item, indent + 2)]
        else:
            text = str(item).lower() if isinstance(item, bool) else str(item)
            lines.append(" " * indent + f"{key}: {text}")
    return "\n".join(lines)
