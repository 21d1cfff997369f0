#!/usr/bin/env python3
"""What it takes to start the ranks of each distributed variant as PyTorch processes that do nothing
but join a gloo group and run one all-reduce: what a test of that variant costs before it computes
anything, where every test starts its own processes. Prints JSON.

    torch_gloo.py [--ranks N...]     # default: the ranks of the 20 variants of the model tests
"""

import argparse
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
    """Seconds until all ranks have met and ended."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        processes = [subprocess.Popen([sys.executable, "-c", RANK, folder + "/store", str(rank), str(ranks)])
                     for rank in range(ranks)]
        codes = [process.wait() for process in processes]
        seconds = time.perf_counter() - begin
    if any(codes):
        raise SystemExit(f"exit codes {codes}")
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="*", default=RANKS)
    options = parser.parse_args()
    times = [start(ranks) for ranks in options.ranks]
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    json.dump({"launches": len(times), "seconds": sum(times), "cpu_seconds": usage.ru_utime + usage.ru_stime,
               "median_seconds": statistics.median(times), "load_average": os.getloadavg()[0]}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
