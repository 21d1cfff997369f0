"""Parameter values from the parameter's name alone: the generator of engine/train/initialize.h.

No weights are stored with the baselines: both sides make them from `init.json`, which gives the
seed and each parameter's mean and standard deviation (value = float32 normal(0, std) + float32
mean).
"""

import json
import math

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15
MASK = 0xFFFFFFFFFFFFFFFF
SEED = 1234
INIT_1 = 2.0**-5.5
INIT_2 = 2.0**-6.5


def fnv1a64(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def splitmix64(value):
    """One output of splitmix64 for each element of a uint64 array (arithmetic modulo 2^64)."""
    value = value + np.uint64(GOLDEN)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def random_words(name, seed, count):
    """The first `count` 64-bit words of the stream called `name`."""
    key = splitmix64(np.array([seed ^ fnv1a64(name)], np.uint64))
    return splitmix64(key + np.arange(count, dtype=np.uint64) * np.uint64(GOLDEN))


def uniform(name, seed, count):
    """`count` float64 values in [0, 1)."""
    return (random_words(name, seed, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(name, seed, std, count):
    """`count` float32 values of normal(0, std), by Box-Muller on pairs of words."""
    words = random_words(name, seed, 2 * ((count + 1) // 2)).reshape(-1, 2) >> np.uint64(11)
    radius = np.sqrt(-2.0 * np.log((words[:, 0].astype(np.float64) + 1.0) * 2.0**-53))
    angle = 2.0 * math.pi * (words[:, 1].astype(np.float64) * 2.0**-53)
    pairs = np.stack([std * radius * np.cos(angle), std * radius * np.sin(angle)], 1)
    return pairs.reshape(-1)[:count].astype(np.float32)


def recipe(name):
    """(mean, std) of a parameter. Biases and norms are not left at 0 and 1: a baseline in which
    they are neutral would not notice that they are forgotten."""
    if name.endswith(".bias"):
        return 0.0, 0.02
    if "norm" in name:
        return 1.0, 0.05
    if name.endswith(("mixer.dense.weight", "mlp.layer_2.weight")):
        return 0.0, INIT_2
    return 0.0, INIT_1


def describe(names):
    """The content of init.json for these parameters."""
    parameters = {name: dict(zip(("mean", "std"), recipe(name))) for name in names}
    return {"seed": SEED, "parameters": parameters}


def make(shapes):
    """{name: float32 array} for {name: shape}."""
    values = {}
    for name, shape in shapes.items():
        mean, std = recipe(name)
        flat = normal(name, SEED, std, math.prod(shape)) + np.float32(mean)
        values[name] = flat.reshape(shape)
    return values


def write_description(path, names):
    path.write_text(json.dumps(describe(names), indent=1) + "\n")
