#!/usr/bin/env python3
"""What scripts/gpu-check measured, as tables: `gpu_ratios.py STEPS TORCH` puts lockstep's steps (lines
of lockstep_bench_step) beside PyTorch's (bench/gpu_torch.py), for as many tokens, and beside what
was forecast for an H100 (gpu_forecast.json, docs/cuda.md); `gpu_ratios.py --kernels CSV` adds up
what Nsight Compute wrote about each kernel."""

import collections
import csv
import json
import pathlib
import sys

PEAK = 989e12  # bf16 products of an H100 SXM, without sparsity: NVIDIA's data sheet


def lines(path):
    with open(path) as file:
        return [json.loads(line) for line in file if line.startswith("{")]


def steps(ours_path, torch_path):
    forecasts = json.loads(pathlib.Path(__file__).with_name("gpu_forecast.json").read_text())
    theirs = collections.defaultdict(dict)
    for entry in lines(torch_path):
        theirs[entry["model"]][entry["mode"]] = entry
    for ours in lines(ours_path):
        modes = {mode: entry for mode, entry in theirs[ours["model"]].items() if "step" in entry}
        text = f"{ours['model']:12} {ours['step'] * 1e3:9.3f} ms {ours['tokens'] / ours['step']:10.0f} " \
               f"tokens/s, queued in {ours['queued'] * 1e3:.3f} ms, recording " \
               f"{100 * (ours['recorded_step'] / ours['step'] - 1):+.1f} %"
        if modes:
            parameters = next(iter(modes.values()))["parameters"]
            share = 6 * parameters * ours["tokens"] / ours["step"] / PEAK
            text += f", {100 * share:.1f} % of the peak"
        if ours["model"] in forecasts:
            text += f"; forecast {forecasts[ours['model']]:.2f} ms"
        print(text)
        for mode, entry in modes.items():
            ratio = entry["step"] / entry["tokens"] * ours["tokens"] / ours["step"]
            verdict = "ahead" if ratio > 1 else "BEHIND"
            print(f"  PyTorch {mode:16} {entry['step'] * 1e3:9.3f} ms  x{ratio:5.2f} {verdict}")


def short(name):
    return name.split("(")[0].removeprefix("void ")[:60]


def kernels(path):
    found = {}
    with open(path, newline="") as file:
        rows = csv.DictReader(line for line in file if line.startswith('"'))
        for row in rows:
            entry = found.setdefault(row["ID"], {"name": short(row["Kernel Name"])})
            value = float(row["Metric Value"].replace(",", ""))
            scale = {"us": 1e3, "usecond": 1e3, "ms": 1e6, "msecond": 1e6}.get(row["Metric Unit"], 1)
            entry[row["Metric Name"].split("__")[0]] = value * scale
    totals = collections.defaultdict(lambda: [0, 0.0, 0.0, 0.0])
    for entry in found.values():
        total, time = totals[entry["name"]], entry.get("gpu", 0.0)
        total[0] += 1
        total[1] += time
        total[2] += time * entry.get("dram", 0.0)
        total[3] += time * entry.get("sm", 0.0)
    everything = sum(total[1] for total in totals.values()) or 1.0
    print(f"{'kernel':60} {'calls':>6} {'us':>10} {'share':>6} {'memory':>7} {'units':>6}")
    for name, (calls, time, dram, units) in sorted(totals.items(), key=lambda item: -item[1][1])[:30]:
        print(f"{name:60} {calls:6} {time / 1e3:10.1f} {100 * time / everything:5.1f}% "
              f"{dram / max(time, 1e-9):6.1f}% {units / max(time, 1e-9):5.1f}%")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    if sys.argv[1] == "--kernels":
        kernels(sys.argv[2])
    else:
        steps(sys.argv[1], sys.argv[2])
