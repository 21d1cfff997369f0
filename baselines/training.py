"""Two training steps of a model, with every tensor of interest kept."""

import contextlib

import numpy as np
import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from batches import MASKED, TOKENS

LEARNING_RATE = 1e-4
WEIGHT_DECAY = 0.01
CLIPPING = 1.0
AUXILIARY_COEFFICIENT = 0.01


class Widened(TorchFunctionMode):
    """Turns the float32 that `transformers` asks for inside norms, softmax and rotary embeddings
    into float64, so that a float64 run is one throughout."""

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        def widen(value):
            return torch.float64 if value is torch.float32 else value

        if function is torch.Tensor.float:
            function = torch.Tensor.double
        keywords = {key: widen(value) for key, value in (keywords or {}).items()}
        return function(*map(widen, arguments), **keywords)


@contextlib.contextmanager
def computing_in(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with Widened() if dtype == torch.float64 else contextlib.nullcontext():
            yield
    finally:
        torch.set_default_dtype(before)


def indices(array):
    """An array of integers as what modules take, where they are."""
    return torch.from_numpy(array).long().to(torch.get_default_device())


def attention_mask(batch, window):
    """[1, 1, T, T], 0 where query i may see key j: same document, j <= i, i - window < j."""
    index = torch.arange(TOKENS)
    start = indices(batch.document_start)
    allowed = (start[:, None] == start[None]) & (index[None] <= index[:, None])
    if window:
        allowed &= index[None] > index[:, None] - window
    mask = torch.zeros(TOKENS, TOKENS).masked_fill(~allowed, torch.finfo(torch.float32).min)
    return mask[None, None]


def head_name(index):
    return f"multi_token_prediction.heads.{index - 1}" if index else "head"


class Recorder:
    """Keeps module outputs (their `fw`) and their gradients (`bw`) of one step, in the order in
    which they are computed."""

    def __init__(self, model):
        self.outputs, self.routers = {}, []
        self.hooks = [
            module.register_forward_hook(self.hook(name)) for name, module in model.values.items()
        ]
        self.hooks += [
            module.register_forward_pre_hook(self.input_hook(name))
            for name, module in model.inputs.items()
        ]
        self.hooks += [
            router.register_forward_hook(self.router_hook(name))
            for name, router in model.routers.items()
        ]

    def hook(self, name):
        def keep(module, inputs, output):
            self.keep(f"{name}.output", output[0] if isinstance(output, tuple) else output)

        return keep

    def keep(self, name, tensor):
        tensor.retain_grad()
        self.outputs[name] = tensor

    def input_hook(self, name):
        def keep(module, inputs):
            self.keep(name, inputs[0])

        return keep

    def router_hook(self, name):
        def keep(module, inputs, output):
            self.keep(name, output[0])
            self.routers.append((output[0], output[2]))

        return keep

    def remove(self):
        for hook in self.hooks:
            hook.remove()

    def entries(self, what):
        """{"fw name": value} in program order or {"bw name": gradient} in the reverse order."""
        items = list(self.outputs.items())
        if what == "bw":
            items = [(name, tensor.grad) for name, tensor in reversed(items)]
        return {f"{what} {name}": flatten(tensor) for name, tensor in items}


def flatten(tensor):
    """[T, channels], without the batch dimension of one."""
    array = tensor.detach().cpu().numpy().copy()
    return array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array


def head_losses(recorder, logits, labels):
    """Sum of the token losses over the number of labels that count, for each head."""
    losses = []
    for index, (head, targets) in enumerate(zip(logits, indices(labels))):
        recorder.keep(f"{head_name(index)}.logits", head)
        count = (targets != MASKED).sum()
        total = functional.cross_entropy(head, targets, ignore_index=MASKED, reduction="sum")
        losses.append(total / count)
    return losses


def load_balancing(routers):
    """experts * 0.01 * sum over experts of mean probability * share of tokens, for each layer: only
    its gradient matters, the reported loss does not contain it."""
    total = 0.0
    for logits, chosen in routers:
        experts = logits.shape[-1]
        share = functional.one_hot(chosen, experts).sum(1).to(logits.dtype).mean(0)
        probability = functional.softmax(logits, -1).mean(0)
        total = total + experts * AUXILIARY_COEFFICIENT * (probability * share).sum()
    return total


def router_margin(routers):
    """Smallest difference between the last chosen and the first rejected logit: how far routing
    is from depending on rounding."""
    smallest = float("inf")
    for logits, chosen in routers:
        if chosen.shape[1] < logits.shape[1]:
            ordered = logits.detach().sort(-1, descending=True).values
            gap = ordered[:, chosen.shape[1] - 1] - ordered[:, chosen.shape[1]]
            smallest = min(smallest, float(gap.min()))
    return smallest


def make_optimizer(module):
    decayed = [value for value in module.parameters() if value.ndim > 1]
    others = [value for value in module.parameters() if value.ndim <= 1]
    groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        groups, lr=LEARNING_RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=WEIGHT_DECAY
    )


def parameter_entries(model):
    named = {name: value.data for name, value in model.module.named_parameters()}
    return {f"param {name}": model.gather(name, named).cpu().numpy() for name in model.parameters}


def gradient_entries(model):
    named = {name: value.grad for name, value in model.module.named_parameters()}
    return {
        f"gradient {name}": model.gather(name, named).cpu().numpy() for name in model.parameters
    }


def run_step(model, batch, window):
    """Forward and backward of one step. Returns (entries, router margin)."""
    recorder = Recorder(model)
    tokens = indices(batch.tokens[:TOKENS])
    positions = batch.positions if model.learned_positions else np.arange(TOKENS)
    mask = attention_mask(batch, window)
    logits = model.forward(tokens, indices(positions), mask)
    losses = head_losses(recorder, logits, batch.labels)
    (sum(losses) + load_balancing(recorder.routers)).backward()
    recorder.remove()
    entries = recorder.entries("fw")
    for index, loss in enumerate(losses):
        entries[f"fw {head_name(index)}.loss"] = loss.detach().cpu().numpy().reshape(1)
    entries.update(recorder.entries("bw"))
    entries.update(gradient_entries(model))
    return entries, router_margin(recorder.routers)


def train(specification, batches, values, dtype=torch.float32):
    """{step: {tensor name: array}}, the smallest router margin and the gradient norms before
    clipping, starting from `values`."""
    with computing_in(dtype):
        model = specification.create()
        model.module.to(dtype).train()
        model.load(values)
        optimizer = make_optimizer(model.module)
        steps, margins, norms = {"init": parameter_entries(model)}, [], []
        for number, batch in enumerate(batches, 1):
            optimizer.zero_grad()
            before = parameter_entries(model) if number > 1 else {}
            entries, margin = run_step(model, batch, specification.window)
            steps[f"train_{number}"] = {**before, **entries}
            margins.append(margin)
            norm = torch.nn.utils.clip_grad_norm_(model.module.parameters(), CLIPPING)
            norms.append(float(norm))
            optimizer.step()
        steps["final"] = parameter_entries(model)
    return steps, min(margins), norms


def check_documents(specification, batch, values):
    """Largest difference between the packed batch's logits and those of each document alone under
    the mask that `transformers` makes itself: masks, windows and positions in one."""
    model = specification.create()
    model.load(values)
    tokens = indices(batch.tokens[:TOKENS])
    positions = batch.positions if model.learned_positions else np.arange(TOKENS)
    with torch.no_grad():
        mask = attention_mask(batch, specification.window)
        packed = model.forward(tokens, indices(positions), mask)
        alone = [
            model.forward(part, torch.arange(len(part)), None)
            for part in tokens.tensor_split(batch.starts[1:])
        ]
    return max(
        float((whole - torch.cat(parts)).abs().max()) for whole, parts in zip(packed, zip(*alone))
    )
