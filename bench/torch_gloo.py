#!/usr/bin/env python3
"""What it takes to start the ranks of each distributed variant as PyTorch processes that do nothing
but join a gloo group and run one all-reduce: what a test of that variant costs before it computes
anything, where every test starts its own processes. Prints JSON.

    torch_gloo.py [--seconds 40] [--samples 3] [--all]

All 20 launches of the model tests' group take minutes, so each size (2, 4 and 8 ranks) is started
once, and again in turn until the seconds are over; its median counts as often as the group has it,
and the output says so. --all starts each of them."""

import argparse
import collections
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

RANKS = [2] * 9 + [4] * 3 + [2] * 3 + [4] * 2 + [8] * 3

RANK = """
import datetime, sys, torch
import torch.distributed as group
path, rank, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
group.init_process_group("gloo", init_method="file://" + path, rank=rank, world_size=size,
                         timeout=datetime.timedelta(seconds=120))
ones = torch.ones(1024)
group.all_reduce(ones)
assert ones[0].item() == size
group.destroy_process_group()
"""


def start(ranks):
    """Seconds of the wall clock until all ranks have met and ended, and of all processors."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        processes = [subprocess.Popen([sys.executable, "-c", RANK, folder + "/store", str(rank), str(ranks)])
                     for rank in range(ranks)]
        codes = [process.wait() for process in processes]
        seconds = time.perf_counter() - begin
    if any(codes):
        raise SystemExit(f"exit codes {codes}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=40, help="no more starts after that, default %(default)s")
    parser.add_argument("--samples", type=int, default=3, help="starts of each size, default %(default)s")
    parser.add_argument("--all", action="store_true", help="start every variant, multiply nothing")
    options = parser.parse_args()
    counts = collections.Counter(RANKS)
    start(1)  # files are in memory afterwards, for us as for lockstep
    times, begin = {size: [] for size in sorted(counts)}, time.perf_counter()
    for turn in range(max(counts.values()) if options.all else options.samples):
        for size, count in sorted(counts.items()):
            late = turn > 0 and not options.all and time.perf_counter() - begin > options.seconds
            if turn < count and not late:
                times[size].append(start(size))
    total = [sum(statistics.median(one[i] for one in times[size]) * count if not options.all else
                 sum(one[i] for one in times[size]) for size, count in counts.items()) for i in range(2)]
    started = sum(len(one) for one in times.values())
    json.dump({"launches": len(RANKS), "started": started,
               "how": "each was started" if options.all else
                      f"{started} starts; the median of each size times how often the group has it",
               "seconds": total[0], "cpu_seconds": total[1],
               "starts": {size: len(one) for size, one in times.items()},
               "median_seconds": {size: statistics.median(one[0] for one in times[size]) for size in times},
               "load_average": os.getloadavg()[0]}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
