#!/usr/bin/env python3
"""Records the baselines: two training steps of PyTorch and transformers on known weights and
tokens, as traces that lockstep can be compared with. See README.md."""

import argparse
import json
import pathlib
import platform
import sys

import numpy as np
import safetensors
import torch
import transformers
from safetensors.numpy import save_file

import batches
import initialize
import trace_files
import training
from models import MODELS, VOCABULARY

FOLDER = pathlib.Path(__file__).resolve().parent
# A committed value may differ from a new recording by this, relative to the root mean square of
# the tensor, plus NOISE_FACTOR times the tensor's own float32 noise (noise.json).
CHECK_TOLERANCE = 1e-5
NOISE_FACTOR = 4.0
PACKED_TOLERANCE = 1e-5


def relative_error(value, reference):
    """Root mean square of the difference over that of the reference."""
    difference = value.astype(np.float64) - reference
    scale = np.sqrt(np.mean(np.square(reference, dtype=np.float64)))
    error = np.sqrt(np.mean(np.square(difference)))
    return float(error / scale) if scale > 0 else float(error)


def noise_of(steps, exact):
    """{step: {tensor: relative error of the float32 run against the float64 run}}."""
    return {
        step: {name: relative_error(value, exact[step][name]) for name, value in entries.items()}
        for step, entries in steps.items()
        if step != "init"
    }


def worst_of(noise):
    """{what: (largest relative error, its tensor)} over all steps."""
    worst = {}
    for entries in noise.values():
        for name, error in entries.items():
            what = name.split()[0]
            worst[what] = max(worst.get(what, (0.0, "")), (error, name))
    return worst


def software():
    return (
        f"torch {torch.__version__}, transformers {transformers.__version__}, "
        f"safetensors {safetensors.__version__}, numpy {np.__version__}, "
        f"python {platform.python_version()}"
    )


class Recording:
    """Everything there is to know about one baseline."""

    def __init__(self, name, device="cpu"):
        self.name, self.model, self.device = name, MODELS[name], device
        self.shapes = self.model.create().shapes()
        self.values = initialize.make(self.shapes)
        self.batches = batches.make(name, self.model.documents, self.model.heads, VOCABULARY)

    def run(self):
        self.packed = max(
            training.check_documents(self.model, batch, self.values) for batch in self.batches
        )
        if self.packed > PACKED_TOLERANCE:
            raise SystemExit(f"{self.name}: a packed document differs by {self.packed:.1e} from "
                             "the same document alone")
        with torch.device(self.device):
            run = training.train(self.model, self.batches, self.values)
            exact = training.train(self.model, self.batches, self.values, torch.float64)
        self.steps, self.margin, self.gradient_norms = run
        self.noise = noise_of(self.steps, exact[0])
        self.losses = [
            (float(self.steps[step]["fw head.loss"][0]), float(exact[0][step]["fw head.loss"][0]))
            for step in ("train_1", "train_2")
        ]

    def write(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        initialize.write_description(folder / "init.json", self.shapes)
        batches.save(folder / "data.safetensors", self.batches)
        write_noise(folder / "noise.json", self.noise)
        description = {
            "run": f"{self.name}/simple",
            "device": self.device,
            "seed": initialize.SEED,
            "software": software(),
        }
        trace_files.write(folder / "trace", description, self.steps)

    def table_row(self):
        worst = worst_of(self.noise)
        errors = " | ".join(f"{worst[what][0]:.1e}" for what in ("fw", "bw", "gradient", "param"))
        losses = ", ".join(f"{single:.6f}" for single, _ in self.losses)
        exact = ", ".join(f"{double:.9f}" for _, double in self.losses)
        norms = ", ".join(f"{norm:.4f}" for norm in self.gradient_norms)
        return f"| {self.name} | {losses} | {exact} | {norms} | {errors} |"


TABLE_HEADER = (
    "| model | head.loss, steps 1, 2 | the same in float64 | gradient norm | fw | bw | gradient | "
    "param |\n|---|---|---|---|---|---|---|---|"
)


def write_noise(path, noise):
    rounded = {
        step: {name: float(f"{error:.3g}") for name, error in entries.items()}
        for step, entries in noise.items()
    }
    path.write_text(json.dumps(rounded, indent=1) + "\n")


def check_inputs(recording, folder):
    """Differences of init.json and data.safetensors from what the script makes, as text."""
    problems = []
    if json.loads((folder / "init.json").read_text()) != initialize.describe(recording.shapes):
        problems.append("init.json differs")
    for new, old in zip(recording.batches, batches.load(folder / "data.safetensors")):
        for field in ("tokens", "document_start", "labels"):
            if not np.array_equal(getattr(new, field), getattr(old, field)):
                problems.append(f"data.safetensors: {field} differs")
    return problems


def check_trace(recording, folder):
    """(problems, number of samples, number of samples that are bit-identical)."""
    noise = json.loads((folder / "noise.json").read_text())
    committed = trace_files.read(folder / "trace")
    problems, total, identical = [], 0, 0
    if list(committed) != list(recording.steps):
        return [f"steps are {list(committed)}"], 0, 0
    for step, entries in recording.steps.items():
        if list(committed[step]) != list(entries):
            problems.append(f"{step}: other tensors than are recorded now")
            continue
        for name, value in entries.items():
            new, old = trace_files.samples(value), committed[step][name]
            if new.shape != old.shape:
                problems.append(f"{step} {name}: shape {old.shape}, now {new.shape}")
                continue
            total += new.size
            identical += int((new == old).sum())
            limit = CHECK_TOLERANCE + NOISE_FACTOR * noise.get(step, {}).get(name, 0.0)
            error = relative_error(new, old)
            if not error <= limit:
                problems.append(f"{step} {name}: relative error {error:.1e} > {limit:.1e}")
    return problems, total, identical


def check(recording, folder):
    problems, total, identical = check_trace(recording, folder)
    problems = check_inputs(recording, folder) + problems
    for problem in problems:
        print(f"{recording.name}: {problem}")
    verdict = "FAILED" if problems else "ok"
    print(f"{recording.name}: {verdict}, {identical} of {total} samples bit-identical")
    return not problems


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="all if none is named")
    parser.add_argument("--check", action="store_true", help="record again, compare, write nothing")
    parser.add_argument("--output", type=pathlib.Path, default=FOLDER, help="default: %(default)s")
    parser.add_argument("--write-init", type=pathlib.Path, metavar="FILE",
                        help="write the initial parameters of one MODEL as safetensors; no run")
    parser.add_argument("--device", default="cpu", help="what PyTorch computes on; default: cpu")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    unknown = [name for name in options.models if name not in MODELS]
    if unknown:
        parser.error(f"unknown model {unknown[0]}; known: {', '.join(MODELS)}")
    if options.write_init and len(options.models) != 1:
        parser.error("--write-init needs one MODEL")
    return options


def main(arguments):
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    if options.write_init:
        save_file(Recording(options.models[0]).values, options.write_init)
        return 0
    passed = True
    if not options.check:
        print(TABLE_HEADER)
    for name in options.models or MODELS:
        recording = Recording(name, options.device)
        recording.run()
        if options.check:
            passed = check(recording, options.output / name) and passed
        else:
            recording.write(options.output / name)
            print(recording.table_row())
            print(f"{name}: packed documents {recording.packed:.1e}, router margin "
                  f"{recording.margin:.1e}, worst {worst_of(recording.noise)}", file=sys.stderr)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
