"""Writes and reads trace directories (docs/trace-format.md): manifest.json and one safetensors file
per step, with the samples of each tensor in program order."""

import json
import math

import numpy as np

SAMPLES = 1024


def sampling_step(shape):
    """numel / 1024, lowered until no dimension divides it, so that the samples do not all fall
    into the same channels."""
    step = max(math.prod(shape) // SAMPLES, 1)
    while step > 1 and any(size > 1 and step % size == 0 for size in shape):
        step -= 1
    return step


def samples(array):
    step = sampling_step(array.shape)
    return array.reshape(-1)[: SAMPLES * step : step]


def describe(array, order):
    """What the metadata of one tensor says: shape, sampling and statistics of the whole tensor."""
    finite = array[np.isfinite(array)].astype(np.float64)
    numbers = {}
    if finite.size:
        numbers = {"mean": finite.mean(), "minimum": finite.min(), "maximum": finite.max()}
    if finite.size > 1:
        numbers["deviation"] = finite.std(ddof=1)
    return {
        "dtype": "f32",
        "shape": list(array.shape),
        "sampling_step": sampling_step(array.shape),
        **{key: float(value) for key, value in numbers.items()},
        "nan_count": int(np.isnan(array).sum()),
        "infinity_count": int(np.isinf(array).sum()),
        "order": order,
    }


def write_step(path, entries):
    """One safetensors file with the entries in their order, which the library's own writer would
    sort. Written under a temporary name first."""
    metadata = {
        name: json.dumps(describe(value, order), separators=(",", ":"))
        for order, (name, value) in enumerate(entries.items())
    }
    header = {"__metadata__": metadata}
    offset, data = 0, []
    for name, value in entries.items():
        kept = np.ascontiguousarray(samples(value), "<f4")
        end = offset + kept.nbytes
        header[name] = {"dtype": "F32", "shape": [kept.size], "data_offsets": [offset, end]}
        offset = end
        data.append(kept.tobytes())
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data))
    temporary.replace(path)


def write(folder, description, steps):
    folder.mkdir(parents=True, exist_ok=True)
    for step, entries in steps.items():
        write_step(folder / f"{step}.safetensors", entries)
    manifest = {"format": "lockstep-trace", "version": 1, **description,
                "full_tensors": False, "steps": list(steps)}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def read_step(path):
    """{name: samples} in the file's order."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(content[start + entry["data_offsets"][0] :], "<f4", entry["shape"][0])
        for name, entry in header.items()
    }


def read(folder):
    """{step: {name: samples}} in the order of the run."""
    steps = json.loads((folder / "manifest.json").read_text())["steps"]
    return {step: read_step(folder / f"{step}.safetensors") for step in steps}
