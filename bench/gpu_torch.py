#!/usr/bin/env python3
"""What PyTorch takes on a GPU for a whole training step (forward, backward, gradient clipping,
AdamW) of llama-like models in bf16 autocast with float32 parameters, eager and compiled: the other
side of `lockstep_bench_step ... cuda`. Prints one JSON object a line, as soon as it is known.

Models: small  the llama of the model tests, 4096 tokens in documents of 512
        135m   SmolLM-135M, 1b  1074 million parameters, both in sequences of 2048
"""

import argparse
import json
import statistics
import sys
import time

import torch

MODELS = {  # hidden, feed-forward, layers, heads, groups, size of a head, words, tied
    "small": (256, 1024, 2, 8, 4, 32, 384, False),
    "135m": (576, 1536, 30, 9, 3, 64, 49152, True),
    "1b": (2048, 8192, 16, 32, 8, 64, 49152, True),
}
BATCHES = {"small": (8, 512), "135m": (4, 2048), "1b": (2, 2048)}
TINY = (32, 64, 2, 2, 2, 16, 96)  # what --try puts in the place of each model, and what is tied stays


class Norm(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(width))

    def forward(self, x):
        return torch.nn.functional.rms_norm(x, x.shape[-1:], self.weight.to(x.dtype), 1e-5)


def turn(x, cosine, sine):
    first, second = x.chunk(2, -1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)


class Layer(torch.nn.Module):
    def __init__(self, hidden, width, heads, groups, size):
        super().__init__()
        linear = torch.nn.Linear
        self.heads, self.groups, self.size = heads, groups, size
        self.norm_1, self.norm_2 = Norm(hidden), Norm(hidden)
        self.qkv = linear(hidden, (heads + 2 * groups) * size, bias=False)
        self.dense = linear(heads * size, hidden, bias=False)
        self.up = linear(hidden, 2 * width, bias=False)
        self.down = linear(width, hidden, bias=False)

    def forward(self, x, cosine, sine):
        batch, length, _ = x.shape
        qkv = self.qkv(self.norm_1(x)).view(batch, length, -1, self.size).transpose(1, 2)
        q, k, v = qkv.split([self.heads, self.groups, self.groups], 1)
        q, k = turn(q, cosine, sine), turn(k, cosine, sine)
        mixed = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.dense(mixed.transpose(1, 2).flatten(2))
        gate, up = self.up(self.norm_2(x)).chunk(2, -1)
        return x + self.down(torch.nn.functional.silu(gate) * up)


class Model(torch.nn.Module):
    def __init__(self, hidden, width, layers, heads, groups, size, words, tied):
        super().__init__()
        self.size = size
        self.embedding = torch.nn.Embedding(words, hidden)
        self.layers = torch.nn.ModuleList(
            Layer(hidden, width, heads, groups, size) for _ in range(layers))
        self.norm = Norm(hidden)
        self.head = torch.nn.Linear(hidden, words, bias=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=hidden**-0.5)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens, labels):
        place = torch.arange(tokens.shape[1], device=tokens.device)
        rate = 10000 ** (-torch.arange(self.size // 2, device=tokens.device) / (self.size // 2))
        angle = place[:, None] * rate
        cosine, sine = angle.cos().bfloat16(), angle.sin().bfloat16()
        x = self.embedding(tokens).bfloat16()
        for layer in self.layers:
            x = layer(x, cosine, sine)
        logits = self.head(self.norm(x))
        return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten())


def make_step(sizes, batch, mode, device):
    torch.manual_seed(1)
    model = Model(*sizes).to(device)
    tokens = torch.randint(sizes[6], (batch[0], batch[1] + 1), device=device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    forward = torch.compile(model, mode=None if mode == "default" else mode) \
        if mode != "eager" else model

    def step():
        optimizer.zero_grad()
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = forward(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(loss.detach())

    return step, sum(parameter.numel() for parameter in model.parameters())


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def measure(name, mode, repeats, trying):
    start = time.perf_counter()
    device = "cpu" if trying else "cuda"
    batch = (2, 32) if trying else BATCHES[name]
    sizes = (*TINY, MODELS[name][7]) if trying else MODELS[name]
    step, parameters = make_step(sizes, batch, mode, device)
    losses = [step() for _ in range(4)]
    wait(device)
    warm_up = time.perf_counter() - start
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        losses.append(step())  # reading the loss waits for the GPU
        wait(device)
        times.append(time.perf_counter() - start)
    median = statistics.median(times)
    return dict(model=name, mode=mode, step=median, fastest=min(times), warm_up=warm_up,
                tokens=batch[0] * batch[1], tokens_per_second=batch[0] * batch[1] / median,
                parameters=parameters, first_loss=losses[0], last_loss=losses[-1],
                memory=0 if trying else torch.cuda.max_memory_allocated())


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--modes", default="eager,default,reduce-overhead",
                        help="eager, or a mode of torch.compile; default: %(default)s")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=240, help="begins nothing after these")
    parser.add_argument("--try", dest="trying", action="store_true",
                        help="tiny models on the CPU: does this script work?")
    options = parser.parse_args()
    if not options.trying and not torch.cuda.is_available():
        sys.exit("PyTorch sees no GPU")
    begun, failed = time.perf_counter(), False
    for name in options.models or MODELS:
        for mode in options.modes.split(","):
            if time.perf_counter() - begun > options.seconds:
                print(json.dumps(dict(model=name, mode=mode, error="no time left")), flush=True)
                continue
            try:
                result = measure(name, mode, options.repeats, options.trying)
            except Exception as error:  # the others are still wanted
                failed, result = True, dict(model=name, mode=mode, error=repr(error)[:300])
            print(json.dumps(dict(result, torch=torch.__version__)), flush=True)
            if not options.trying:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
    sys.exit(failed)


if __name__ == "__main__":
    main()
