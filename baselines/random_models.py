#!/usr/bin/env python3
"""Draws models at random, trains each for a few steps with lockstep and with PyTorch on the same
weights and tokens, and compares every tensor that lockstep names. See README.md."""

import argparse
import collections
import json
import math
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import dataset
import generic
import random_configs

# Outcomes of a model that are somebody's fault.
WRONG = ("disagree", "wrongly refused", "crashed")
ROOT = pathlib.Path(__file__).resolve().parent.parent
ROUNDED = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
# Both sides' errors are against PyTorch in float64. PyTorch's is the largest of several of its runs
# that round differently: the error of one alone is a matter of luck where tensors are small (that of
# a loss, one number, may be 0). lockstep's may be this many times that, beside a floor: two honest
# sums of the same numbers differ by that much.
RUNS = 4
FACTOR = {"fp32": 4.0, "bf16": 3.0, "fp16": 3.0}
FLOOR = {"fp32": 2e-6, "bf16": 4e-3, "fp16": 5e-4}
# Gradients are sums in which most cancels now and then. (That lockstep keeps the log sum exp of a
# row and not the probabilities is in PyTorch's own error: half of its runs do so, too.)
GRADIENT_FLOOR = 1e-5
# A choice of experts, or the sign at a kink, that is nearer than this is left to rounding, and the
# model is drawn again with other weights.
ROUTING_MARGIN = {"fp32": 2e-5, "bf16": 3e-2, "fp16": 4e-3}
KINK_MARGIN = 2e-5


def root_mean_square(x):
    return float(x.double().square().mean().sqrt()) if x.numel() else 0.0


def finite_part(x):
    return x[torch.isfinite(x)]


def draw_values(shapes, generator):
    """Weights of a size that keeps values near 1, and norms and biases that are not neutral."""
    values = {}
    for name in sorted(shapes):
        noise = generator.standard_normal(shapes[name])
        if "norm" in name and name.endswith("weight"):
            value = 1 + 0.3 * noise
        elif name.endswith(".bias"):
            value = 0.3 * noise
        elif "embeddings" in name:
            value = 0.5 * noise
        else:
            rows = shapes[name][0 if "layer_2" in name else 1]
            value = generator.uniform(0.7, 1.5) * noise / math.sqrt(rows)
        values[name] = value.astype(np.float32).astype(np.float64)
    return values


def draw_documents(config, draw, folder):
    """Writes token files where the configuration wants them; returns [(tokens, masked)]."""
    data, vocabulary = config["data"], config["base_model"]["embeddings"]["vocab_size"]
    if data["type"] == "text":
        text = (ROOT / "configs/data/text.txt").read_bytes()
        return dataset.text_documents(text, config)
    lengths = [draw.random.randint(1, 80) for _ in range(draw.random.randint(1, 30))]
    rectangular = draw.chance(0.3)
    if rectangular:
        lengths = [lengths[0]] * len(lengths)
    documents = []
    for length in lengths:
        tokens = [draw.random.randrange(vocabulary) for _ in range(length)]
        documents.append((np.array(tokens, np.int32), np.zeros(length, bool)))
    if rectangular:
        data["path"] = str(folder / "tokens.npy")
        dataset.write_npy(data["path"], documents)
    else:
        data["path"] = str(folder / "tokens.idx")
        dataset.write_megatron(folder / "tokens", documents)
    return documents


def repeated_names(path):
    """Names that several tensors of the step have: a trace keeps one of them."""
    with safe_open(path, "numpy") as file:
        about = {name: json.loads(text) for name, text in file.metadata().items()}
    return [name for name, what in about.items() if what.get("times", 1) > 1]


class Run:
    """lockstep's own run: its tensors by step, or why it refused; `place` tells whether it named the
    line of the configuration, `crashed` is the name of the signal that ended it."""

    def __init__(self, program, config, values, folder):
        for kind in ("models", "variants"):
            (folder / kind).mkdir(exist_ok=True)
        # The variants built in set the size of micro-batches: this one leaves the model as it is.
        (folder / "variants/plain.yaml").write_text("group: basic\noverrides: {}\n")
        (folder / "models/random.yaml").write_text(random_configs.to_yaml(config) + "\n")
        save_file({name: torch.from_numpy(value).float() for name, value in values.items()},
                  folder / "init.safetensors")
        command = [str(program.resolve()), "run", "random/plain", "--config-dir", str(folder), "--init-from",
                   str(folder / "init.safetensors"), "--trace", str(folder / "trace"),
                   "--full-tensors"]
        result = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        self.output, self.command = result.stdout + result.stderr, command
        code = result.returncode
        self.crashed = signal.Signals(-code).name if code < 0 else None
        # A loss or norm that is not finite ends a run; what it recorded up to there is judged.
        ended = re.search(r"step (\d+): the (?:loss|gradient norm) is not finite; NaN or infinity "
                          r"appear first in (.*), instruction", self.output)
        self.first_not_finite = (int(ended[1]), ended[2]) if ended else None
        self.refused, self.steps, self.repeated = code != 0 and not ended, [], []
        self.place = "models/random.yaml:" in self.output
        count = int(ended[1]) if ended else config["training"]["train_iters"]
        for number in range(0 if self.refused else count):
            path = folder / f"trace/train_{number + 1}.safetensors"
            self.steps.append(load_file(path))
            self.repeated += repeated_names(path)


def scheduled_rate(schedule, iteration):
    """The rate of stages "type,updates,rate[,last[,power]];...": the stage that `iteration` is in
    has not ended, and behind all of them the last one's end counts."""
    begin = 0
    for stage in schedule.split(";"):
        kind, updates, *numbers = stage.split(",")
        first, last, power = [*map(float, numbers), *[float(numbers[0]), 1.0][len(numbers) - 1:]]
        part = min((iteration - begin) / int(updates), 1.0) if kind != "constant" else 0.0
        curve = part**power
        if kind == "cosine":
            curve = 0.5 * (1 - math.cos(math.pi * curve))
        rate = first + curve * (last - first)
        begin += int(updates)
        if int(updates) < 0 or iteration < begin:
            break
    return rate


def learning_rate(settings, iteration):
    """Of the update `iteration`, from 1: warmup from 0, then a curve from base to minimum."""
    if "schedule" in settings:
        return scheduled_rate(settings["schedule"], iteration)
    base, minimum = settings["base"], settings["minimum"]
    warmup, end, kind = (settings[key] for key in
                         ("warmup_iterations", "decay_iterations", "decay_style"))
    if iteration < warmup:
        return base * iteration / warmup
    if kind == "constant":
        return base
    part = min((iteration - warmup) / (end - warmup), 1.0)
    if kind == "power":
        part = part ** settings["decay_power"]
    if kind == "cosine":
        part = 0.5 * (1 - math.cos(math.pi * part ** settings["decay_power"]))
    return base + part * (minimum - base)


def learning_rate_scale(config, name):
    """The factor of a parameter's own layer, and that of the whole MLP."""
    block = config["base_model"]["decoder"]["block"]
    keys = {".mixer.query.": ("mixer", "query_layer"), ".mixer.key_value.": ("mixer", "key_layer"),
            ".mixer.dense.": ("mixer", "dense_layer"), ".mlp.layer_1.": ("mlp", "layer_1"),
            ".mlp.layer_2.": ("mlp", "layer_2"), ".mlp.router.": ("mlp", "router")}
    for part, (group, key) in keys.items():
        if part in name:
            return block[group].get(key, {}).get("lr_scale", 1) * block[group].get("lr_scale", 1)
    return 1


class Optimizer:
    """PyTorch's AdamW and clipping in float64, on the gradients and parameters that lockstep has:
    so each step of it is judged by itself."""

    def __init__(self, config, values):
        self.config, settings = config, config["optimizer"]
        self.parameters = {name: torch.from_numpy(value.copy()).requires_grad_()
                           for name, value in values.items()
                           if learning_rate_scale(config, name) > 0}
        self.rates = [learning_rate_scale(config, name) for name in self.parameters]
        groups = [{"params": [x], "weight_decay": settings["weight_decay"] * (x.ndim > 1)}
                  for x in self.parameters.values()]
        betas = (float(settings["beta_1"]), float(settings["beta_2"]))
        self.adamw = torch.optim.AdamW(groups, betas=betas, eps=settings["epsilon"])
        self.updates = 0

    def step(self, gradients, values):
        """(norm before clipping, {name: updated value}). Steps that overflow do not come here, and
        do not count for the learning rate."""
        self.updates += 1
        rate = learning_rate(self.config["optimizer"]["learning_rate"], self.updates)
        for name, x in self.parameters.items():
            x.data = torch.from_numpy(values[name].copy())
            x.grad = gradients[name].double().reshape(x.shape).clone()
        for group, scale in zip(self.adamw.param_groups, self.rates):
            group["lr"] = rate * scale
        limit = self.config["optimizer"]["gradient_norm_clipping"]
        parameters = list(self.parameters.values())
        norm = math.hypot(*(float(x.grad.norm()) for x in parameters))
        if limit > 0 and parameters:
            torch.nn.utils.clip_grad_norm_(parameters, limit)
        self.adamw.step()
        return norm, {name: x.detach() for name, x in self.parameters.items()}


class LossScale:
    """The dynamic loss scale of fp16; 1 in other precisions."""

    def __init__(self, config):
        self.settings = config["optimizer"].get("gradient_scaler")
        self.value = self.settings["initial"] if self.settings else 1.0
        self.good, self.patience = 0, self.settings["hysteresis"] if self.settings else 0

    def update(self, finite):
        if not self.settings:
            return
        self.good = self.good + 1 if finite else 0
        self.patience -= not finite
        if not finite and self.patience <= 0:
            self.value = max(self.value / 2, 1.0)
        if self.good == self.settings["window"]:
            self.good, self.patience, self.value = 0, self.settings["hysteresis"], self.value * 2


class Judge:
    """Compares one run's tensors with PyTorch's."""

    def __init__(self, config, precision):
        self.config = config
        self.precision, self.problems, self.unknown = precision, [], collections.Counter()
        self.compared, self.worst = 0, (0.0, "")
        self.not_finite = 0 # tensors that have NaN or infinity on both sides
        self.overflowed = False # PyTorch's gradients of this step have NaN or infinity

    def problem(self, step, name, text):
        self.problems.append(f"step {step} {name}: {text}")

    def tensor(self, step, name, test, near, exact, scale=0.0):
        """`near`: PyTorch in the same precision, several times; `exact`: in float64; `scale`: a
        size below which the tensor counts as rounding of others."""
        test, exact = test.double().reshape(-1), exact.double().reshape(-1)
        near = [x.double().reshape(-1) for x in near]
        if test.shape != exact.shape:
            return self.problem(step, name, f"{test.numel()} elements, not {exact.numel()}")
        self.compared += 1
        finite = self.finite_places(step, name, test, near, exact)
        if finite is None:
            return None
        test, exact, near = test[finite], exact[finite], [x[finite] for x in near]
        error = root_mean_square(test - exact)
        own = max(root_mean_square(x - exact) for x in near)
        size = max(root_mean_square(exact), scale)
        limit = FACTOR[self.precision] * own + self.floor(name) * size + 1e-30
        self.worst = max(self.worst, (error / limit, f"step {step} {name}"))
        if not error <= limit:
            relative = error / size if size else math.inf
            self.problem(step, name, f"relative error {relative:.1e}, PyTorch's "
                                     f"{own / (size or 1):.1e}")
        return None

    def finite_places(self, step, name, test, near, exact):
        """Where all sides are finite; None after a problem. NaN and infinity must be where PyTorch
        has them. Where only some of its runs do, or float64 alone does not, rounding decides. In a
        step that overflows there, gradients may have more: what becomes of infinity times a
        derivative of 0 depends on how that is written, and the step is lost in any case."""
        theirs = torch.stack([~torch.isfinite(x) for x in near])
        ours, beyond = ~torch.isfinite(test), ~torch.isfinite(exact)
        alone = ours & ~theirs.any(0) & (name.startswith("fw ") or not self.overflowed)
        hidden = ~ours & theirs.all(0) & beyond
        if alone.any() or hidden.any():
            kind, where = ("not finite", alone) if alone.any() else ("finite", hidden)
            return self.problem(step, name, f"{kind} at {int(where.sum())} of {len(where)} "
                                            "places where PyTorch is otherwise")
        self.not_finite += bool(ours.any())
        return ~(ours | theirs.any(0) | beyond)

    def floor(self, name):
        floor = FLOOR[self.precision]
        return floor if name.startswith("fw ") else max(floor, GRADIENT_FLOOR)

    def step(self, number, test, near, exact):
        sizes = {}
        self.overflowed = not all(torch.isfinite(x).all() for name, x in near[0].items()
                                  if name.startswith("gradient "))
        for name, x in exact.items():
            key = name.split()[0]
            size = root_mean_square(finite_part(x)) if x.ndim > 1 else 0.0
            sizes[key] = max(sizes.get(key, 0.0), size)
        for name, value in test.items():
            if name.startswith(("param ", "state ")):
                continue
            if name not in exact:
                self.unknown[re.sub(r"\d+", "N", name)] += 1
                continue
            expected, wide = [tensors[name] for tensors in near], exact[name]
            if "key_value_history" in name:
                value = self.history(number, name, value, wide)
            scale = 1e-3 * sizes[name.split()[0]]
            if ".router.logits<-" in name or name.endswith(".router.weight"):
                scale = max(scale, self.router_scale(wide))
            self.tensor(number, name, value, expected, wide, scale)

    def router_scale(self, gradient):
        """Size of the terms of which a load-balancing gradient is the difference: with all experts
        chosen nothing is left of them but rounding."""
        mlp = self.config["base_model"]["decoder"]["block"]["mlp"]
        return mlp["auxiliary_loss_coefficient"] * mlp["experts_per_token"] / len(gradient)

    def history(self, number, name, value, wide):
        """Rows that no micro-sequence has written yet are zeros; their gradients are not looked
        at by anybody."""
        if name.startswith("fw ") and len(value) > len(wide) and value[len(wide):].abs().max() > 0:
            self.problem(number, name, "rows after the last written one are not zero")
        return value[: len(wide)]

    def missing(self, number, test, exact):
        """Names that PyTorch's model has and lockstep's trace has not: only what needs no name."""
        for name in exact:
            if name in test or " mb=" in name or " ms=" in name:
                continue
            frozen = learning_rate_scale(self.config, name) == 0
            value = re.match(r"fw .*(output|loss)$", name)
            if name.startswith("gradient ") and not frozen or value:
                self.problem(number, name, "not in the trace")


def complete(config, test, number, judge, name, values):
    """The gradient of a parameter; frozen ones have none."""
    gradient = test.get(f"gradient {name}")
    if gradient is None:
        judge.problem(number, f"gradient {name}", "not in the trace")
        return torch.zeros(values[name].shape)
    return gradient


def judge_update(config, optimizer, judge, number, test, values, loss_scale):
    """Checks norm, moments and parameters after the step; returns the parameters as lockstep has
    them, for the next step."""
    gradients = {name: complete(config, test, number, judge, name, values)
                 for name in optimizer.parameters}
    finite = all(bool(torch.isfinite(g).all()) for g in gradients.values())
    scaler, after = loss_scale.value, dict(values)
    finite = finite or not loss_scale.settings # only a scale that adapts gives up steps
    loss_scale.update(finite)
    for name in optimizer.parameters:
        after[name] = test[f"state {name}.updated"].double().numpy().reshape(values[name].shape)
    if not finite:
        for name in optimizer.parameters:
            if not np.array_equal(after[name], values[name]):
                judge.problem(number, name, "changed in a step that overflowed")
        return after
    scaled = {name: g.double() / scaler for name, g in gradients.items()}
    norm, updated = optimizer.step(scaled, values)
    reported = float(test["state gradient_norm"][0])
    alike = math.isclose(norm, reported, rel_tol=1e-5, abs_tol=1e-30)
    # float64 may hold the norm of what float32 does not.
    both = not math.isfinite(reported) and not norm <= torch.finfo(torch.float32).max
    if not alike and not both:
        judge.problem(number, "state gradient_norm", f"{reported}, not {norm}")
    for name, x in optimizer.parameters.items():
        moments = optimizer.adamw.state[x]
        for key, suffix in (("exp_avg", "first_moment"), ("exp_avg_sq", "second_moment")):
            label = f"state {name}.updated_{suffix}"
            judge.tensor(number, label, test[label], [moments[key].float()], moments[key])
        change, wanted = after[name] - values[name], updated[name].numpy() - values[name]
        if not np.array_equal(np.isfinite(change), np.isfinite(wanted)):
            judge.problem(number, f"state {name}.updated", "not finite at other places")
            continue
        change, wanted = change[np.isfinite(wanted)], wanted[np.isfinite(wanted)]
        if not len(wanted):
            continue
        error = np.abs(change - wanted).max()
        start = values[name][np.isfinite(values[name])]
        rounding = 2.0**-23 * np.abs(start).max(initial=0) + 2e-5 * np.abs(wanted).max()
        if not error <= rounding:
            judge.problem(number, f"state {name}.updated",
                          f"off by {error:.1e} of {np.abs(wanted).max():.1e}")
    return after


class Case:
    """One drawn model."""

    def __init__(self, seed, options, folder):
        self.seed, self.options, self.folder = seed, options, folder
        self.draw = random_configs.Draw(random.Random(seed), options.precision)
        self.config = self.draw.config(options.precision, options.steps)
        self.spoiled = random_configs.spoil(self.draw, self.config) if options.odd else None
        self.documents = draw_documents(self.config, self.draw, folder)

    def passes(self, values, batches, scaler):
        """(tensors of PyTorch in the run's precision, several times, the generic.Step in
        float64)."""
        rounded = ROUNDED[self.options.precision]
        exact = generic.Step(self.config, values, torch.float64, None, scaler)
        exact.run(batches)
        near = []
        for draw in range(RUNS):
            dither = torch.Generator().manual_seed(draw) if draw else None
            flash = draw % 2 == 1
            step = generic.Step(self.config, values, torch.float32, rounded, scaler, dither, flash)
            step.run(batches)
            near.append(step.tensors)
        return near, exact

    def summary(self):
        """What is unusual about the model, in one line."""
        model, schedule = self.config["base_model"], self.config["schedule"]
        block = model["decoder"]["block"]
        mixer, mlp = block["mixer"], block["mlp"]
        counts = "x".join(str(count) for count in schedule.values())
        return (f"{block['normalization']['type']}, {model['head']['prediction_heads']} heads, "
                f"{mixer['heads']}/{mixer['head_groups']} {mixer['rotary']['type']} causal "
                f"{mixer['causal']} window {mixer.get('window_size')}, {mlp['type']} "
                f"{mlp.get('activation')}, schedule {counts}")

    def stable(self, exact):
        limit = ROUTING_MARGIN[self.options.precision]
        return exact.routing_margin > limit and exact.kink_margin > KINK_MARGIN

    def run(self):
        precision, shapes = self.options.precision, generic.parameter_shapes(self.config)
        data, judge = dataset.Data(self.config, self.documents), Judge(self.config, precision)
        if self.spoiled:
            run = Run(self.options.program, self.config, {}, self.folder)
            if run.crashed or run.place or "init.safetensors" not in run.output:
                return run, judge # not because it has no weights
        loss_scale = LossScale(self.config)
        values = None
        for attempt in range(40):
            values = draw_values(shapes, np.random.default_rng([self.seed, attempt]))
            near, exact = self.passes(values, data.step(0), loss_scale.value)
            if self.stable(exact):
                break
        run = Run(self.options.program, self.config, values, self.folder)
        if run.refused:
            return run, judge
        for name in run.repeated:
            judge.problem("", name, "the name of several tensors")
        optimizer = Optimizer(self.config, values)
        for index, test in enumerate(run.steps):
            if index:
                near, exact = self.passes(values, data.step(index), loss_scale.value)
            if not self.stable(exact):
                break
            judge.step(index + 1, test, near, exact.tensors)
            judge.missing(index + 1, test, exact.tensors)
            values = judge_update(self.config, optimizer, judge, index + 1, test, values,
                                  loss_scale)
        return run, judge


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20, help="models (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the first (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--precision", choices=ROUNDED, default="fp32")
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build/release/lockstep")
    parser.add_argument("--keep", type=pathlib.Path, metavar="DIR",
                        help="keep configuration, weights, data and trace of what goes wrong there")
    parser.add_argument("--odd", action="store_true",
                        help="spoil one setting of each model; print why it is refused")
    parser.add_argument("-v", "--verbose", action="store_true", help="all problems of a model")
    return parser.parse_args(arguments)


def outcome_of(case, run, judge):
    if run.crashed:
        return "crashed"
    if run.refused: # a right model must be taken, and of a spoiled one the place must be named
        return "refused" if case.spoiled and run.place else "wrongly refused"
    return "disagree" if judge.problems else "agree" if judge.compared else "undecided"


def run_case(seed, options, folder):
    """(one of `outcome_of`, Judge)."""
    case = Case(seed, options, folder)
    run, judge = case.run()
    outcome = outcome_of(case, run, judge)
    if run.refused:
        spoiled = f" ({case.spoiled})" if case.spoiled else ""
        reason = re.sub(r"\S*models/random.yaml", "random.yaml", run.output.strip())
        reason = f"{run.crashed} {reason}" if run.crashed else reason
        print(f"{seed}: {outcome}{spoiled}: {reason}", flush=True)
    elif outcome == "undecided":
        print(f"{seed}: choices of experts or signs hang on rounding ({case.summary()})")
    elif outcome == "disagree":
        shown = judge.problems if options.verbose else judge.problems[:4]
        print(f"{seed}: {len(judge.problems)} of {judge.compared} tensors disagree "
              f"({case.summary()})", flush=True)
        for problem in shown:
            print(f"    {problem}")
    elif judge.not_finite:
        first = " first {1} in step {0}".format(*run.first_not_finite) if run.first_not_finite else ""
        print(f"{seed}: {judge.compared} tensors agree; {judge.not_finite} of them have NaN or "
              f"infinity on both sides{first} ({case.summary()})")
    elif options.verbose:
        print(f"{seed}: {judge.compared} tensors agree; at {judge.worst[0]:.2f} of its limit: "
              f"{judge.worst[1]}")
    return outcome, judge


def keep(folder, kept):
    """Copies what one model has made; its configuration then names its data there."""
    shutil.copytree(folder, kept, dirs_exist_ok=True)
    path = kept / "models/random.yaml"
    path.write_text(path.read_text().replace(str(folder), str(kept)))


def main(arguments):
    options = parse(arguments)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    totals, unknown, worst = collections.Counter(), collections.Counter(), (0.0, "")
    for seed in range(options.seed, options.seed + options.count):
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            outcome, judge = run_case(seed, options, folder)
            if options.keep and outcome in WRONG:
                keep(folder, options.keep.resolve() / str(seed))
        totals[outcome] += 1
        totals["tensors"] += judge.compared
        totals["not finite on both sides"] += judge.not_finite
        unknown.update(judge.unknown)
        worst = max(worst, (*judge.worst, seed))
    counts = ", ".join(f"{count} {what}" for what, count in totals.items())
    print(f"seeds {options.seed} to {seed}: {counts}")
    print(f"nearest to its limit: {worst}")
    for name, count in unknown.most_common():
        print(f"not compared: {count} x {name}")
    return 1 if any(totals[outcome] for outcome in WRONG) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
