#!/usr/bin/env python3
"""What PyTorch takes on the CPU for the work that lockstep does: a whole training step (forward,
backward, gradient clipping, AdamW) and the comparison of two large tensors. Prints JSON.

Cases: llama_mask     4096 tokens of packed documents (about 50 tokens each), dense document mask
       llama_padded   the same documents as a padded batch, each a row: no mask, but padding
       gpt2_124m      GPT-2 124M, 4 sequences of 64 tokens
       compare_torch, compare_numpy   two tensors of 64M float32, the metrics of engine/compare
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time

CASES = ("llama_mask", "llama_padded", "gpt2_124m", "compare_torch", "compare_numpy")
TOKENS = 4096
MEAN_DOCUMENT = 50
CHUNK = 1 << 18


def document_lengths(seed):
    """Lengths that sum to TOKENS, uniform from 5 to 95 but for the last."""
    generator = numpy.random.default_rng(seed)
    lengths = []
    while sum(lengths) < TOKENS:
        length = int(generator.integers(5, 2 * MEAN_DOCUMENT - 4))
        lengths.append(min(length, TOKENS - sum(lengths)))
    return lengths


def llama():
    config = transformers.LlamaConfig(
        vocab_size=384, hidden_size=256, intermediate_size=1024, num_hidden_layers=2,
        num_attention_heads=8, num_key_value_heads=4, head_dim=32, rms_norm_eps=1e-5,
        max_position_embeddings=8192, tie_word_embeddings=False, pad_token_id=None,
        attn_implementation="sdpa",
    )
    return transformers.LlamaForCausalLM(config)


def llama_mask(seed):
    lengths = torch.tensor(document_lengths(seed))
    document = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    index = torch.arange(TOKENS)
    allowed = (document[:, None] == document[None]) & (index[None] <= index[:, None])
    tokens = torch.randint(384, (1, TOKENS))
    labels = torch.where(document[1:] == document[:-1], tokens[0, 1:], -100)
    labels = torch.cat([labels, torch.tensor([-100])])[None]
    inputs = dict(input_ids=tokens, attention_mask=allowed[None, None], position_ids=index[None])
    return llama(), inputs, labels


def llama_padded(seed):
    lengths = document_lengths(seed)
    tokens = torch.randint(384, (len(lengths), max(lengths)))
    labels = torch.full_like(tokens, -100)
    for row, length in enumerate(lengths):
        labels[row, : length - 1] = tokens[row, 1:length]
    return llama(), dict(input_ids=tokens), labels


def gpt2_124m(seed):
    config = transformers.GPT2Config(
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, attn_implementation="sdpa"
    )
    tokens = torch.randint(config.vocab_size, (4, 65))
    return transformers.GPT2LMHeadModel(config), dict(input_ids=tokens[:, :-1]), tokens[:, 1:]


def make_step(model, inputs, labels, precision):
    """A function that does one training step and returns its loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    cast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16")

    def step():
        optimizer.zero_grad()
        with cast:
            logits = model(**inputs, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(loss.detach())

    return step


def summarise(count, sums, largest, nan):
    """The metrics from the sums of squares of difference, reference and test, and the product."""
    return {
        "rms_difference": (sums[0] / count) ** 0.5,
        "rms_reference": (sums[1] / count) ** 0.5,
        "max_difference": largest,
        "cosine": sums[3] / (sums[1] * sums[2]) ** 0.5,
        "nan": nan,
    }


# In chunks, because a float32 dot product of 64M elements is wrong in the fourth digit; and because
# a chunk stays in the cache between the metrics.


def compare_torch(reference, test):
    sums, nan, largest = [0.0] * 4, [0, 0], 0.0
    for left, right in zip(reference.split(CHUNK), test.split(CHUNK)):
        difference = left - right
        pairs = ((difference, difference), (left, left), (right, right), (left, right))
        sums = [total + float(torch.dot(*pair)) for total, pair in zip(sums, pairs)]
        largest = max(largest, float(difference.abs_().max()))
        nan = [total + int(torch.isnan(value).sum()) for total, value in zip(nan, (left, right))]
    return summarise(reference.numel(), sums, largest, nan)


def compare_numpy(reference, test):
    sums, nan, largest = [0.0] * 4, [0, 0], 0.0
    for start in range(0, reference.size, CHUNK):
        left, right = reference[start : start + CHUNK], test[start : start + CHUNK]
        difference = left - right
        pairs = ((difference, difference), (left, left), (right, right), (left, right))
        sums = [total + float(numpy.dot(*pair)) for total, pair in zip(sums, pairs)]
        largest = max(largest, float(numpy.abs(difference, out=difference).max()))
        nan = [total + int(numpy.isnan(value).sum()) for total, value in zip(nan, (left, right))]
    return summarise(reference.size, sums, largest, nan)


def measure(function, repeats, warm_up):
    """Medians and extremes in seconds of `repeats` calls, after `warm_up` calls."""
    for _ in range(warm_up):
        function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return {
        "median_s": statistics.median(times), "min_s": min(times), "max_s": max(times),
        "repeats": repeats,
    }


def run_step_case(name, precision, options):
    torch.manual_seed(options.seed)
    model, inputs, labels = globals()[name](options.seed)
    step = make_step(model.train(), inputs, labels, precision)
    first = step()
    result = measure(step, options.repeats, options.warm_up)
    result.update(first_loss=first, last_loss=step(), tokens=int(inputs["input_ids"].numel()),
                  parameters=sum(value.numel() for value in model.parameters()))
    result["labels"] = int((labels != -100).sum())
    return result


def run_compare_case(name, options):
    generator = numpy.random.default_rng(options.seed)
    reference = generator.standard_normal(options.elements, dtype=numpy.float32)
    test = reference + numpy.float32(1e-3) * generator.standard_normal(
        options.elements, dtype=numpy.float32
    )
    if name == "compare_torch":
        reference, test = torch.from_numpy(reference), torch.from_numpy(test)
    function = globals()[name]
    result = measure(lambda: function(reference, test), options.repeats, options.warm_up)
    result.update(elements=options.elements, metrics=function(reference, test))
    result["gigabytes_per_second"] = 8e-9 * options.elements / result["median_s"]
    return result


def processor():
    with open("/proc/cpuinfo") as lines:
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def main(options):
    results = {}
    for name in options.cases or CASES:
        if name.startswith("compare"):
            results[name] = run_compare_case(name, options)
        else:
            for precision in options.precisions.split(","):
                results[f"{name}_{precision}"] = run_step_case(name, precision, options)
    versions = dict(torch=torch.__version__, transformers=transformers.__version__,
                    numpy=numpy.__version__)
    json.dump({"cpu": processor(), "threads": options.threads, "seed": options.seed,
               "load_average": os.getloadavg()[0], "versions": versions, "results": results},
              sys.stdout, indent=1)
    print()


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--warm-up", type=int, default=2)
    parser.add_argument("--precisions", default="fp32,bf16", help="default: %(default)s")
    parser.add_argument("--elements", type=int, default=64 << 20, help="of each compared tensor")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    unknown = [name for name in options.cases if name not in CASES]
    if unknown:
        parser.error(f"unknown case {unknown[0]}")
    return options


if __name__ == "__main__":
    OPTIONS = parse()
    # Read when numpy's linear algebra and OpenMP are loaded.
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(OPTIONS.threads)
    import numpy
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(OPTIONS.threads)
    main(OPTIONS)
