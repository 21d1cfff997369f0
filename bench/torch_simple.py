#!/usr/bin/env python3
"""What a PyTorch user runs to see what `llama/simple` does: importing torch alone, the same model in
plain modules, and training steps. ATTENTION is "mask", as one would write it (each token's mask of
what it may see), or "padded", the fastest that eager mode allows: documents are padded for attention
only, and no other token is padding. Prints the losses.

With LOG it also does what makes it that test: of every parameter at first, and of every layer's
output, its gradient and all parameters' gradients of each step, the mean, deviation, least, most and
1024 samples are kept and saved in that folder.

Usage: torch_simple.py [STEPS [THREADS [ATTENTION [LOG]]]]
"""

import os
import sys
import time

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 2
THREADS = int(sys.argv[2]) if len(sys.argv) > 2 else os.cpu_count()
ATTENTION = sys.argv[3] if len(sys.argv) > 3 else "padded"
LOG = sys.argv[4] if len(sys.argv) > 4 else None
# Read when PyTorch's libraries are loaded.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(THREADS)

import torch  # noqa: E402
from torch.nn import functional  # noqa: E402

TOKENS, VOCABULARY, HIDDEN, WIDE, LAYERS, HEADS, GROUPS, SIZE = 4096, 384, 256, 1024, 2, 8, 4, 32


class Norm(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(HIDDEN))

    def forward(self, x):
        return functional.rms_norm(x, (HIDDEN,), self.weight, 1e-5)


def linear(inputs, outputs):
    return torch.nn.Linear(inputs, outputs, bias=False)


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm_1, self.norm_2 = Norm(), Norm()
        self.query, self.dense = linear(HIDDEN, HEADS * SIZE), linear(HEADS * SIZE, HIDDEN)
        self.key, self.value = linear(HIDDEN, GROUPS * SIZE), linear(HIDDEN, GROUPS * SIZE)
        self.gate, self.up, self.down = linear(HIDDEN, WIDE), linear(HIDDEN, WIDE), linear(WIDE, HIDDEN)

    def forward(self, x, batch):
        h = self.norm_1(x)
        query = batch.rotate(self.query(h).view(TOKENS, HEADS, SIZE))
        key = batch.rotate(self.key(h).view(TOKENS, GROUPS, SIZE)).repeat_interleave(HEADS // GROUPS, 1)
        value = self.value(h).view(TOKENS, GROUPS, SIZE).repeat_interleave(HEADS // GROUPS, 1)
        x = x + self.dense(batch.attend(query, key, value))
        h = self.norm_2(x)
        return x + self.down(functional.silu(self.gate(h)) * self.up(h))


class Batch:
    """Random documents of 5 to 95 tokens, one after the other."""

    def __init__(self):
        lengths = []
        while sum(lengths) < TOKENS:
            length = int(torch.randint(5, 96, ()))
            lengths.append(min(length, TOKENS - sum(lengths)))
        lengths = torch.tensor(lengths)
        starts = lengths.cumsum(0) - lengths
        document = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
        position = torch.arange(TOKENS) - starts[document]
        self.shape = (len(lengths), int(lengths.max()))
        self.place = document * self.shape[1] + position
        if ATTENTION == "mask":
            self.mask = (document[:, None] == document) & (position[:, None] >= position)
        self.tokens = torch.randint(VOCABULARY, (TOKENS,))
        same = torch.cat([document[1:] == document[:-1], torch.tensor([False])])
        self.labels = torch.where(same, self.tokens.roll(-1), -100)
        angles = position[:, None] * 10000.0 ** (-torch.arange(0, SIZE, 2) / SIZE)
        self.cosine, self.sine = angles.cos()[:, None], angles.sin()[:, None]

    def rotate(self, x):
        re, im = x.chunk(2, -1)
        return torch.cat([re * self.cosine - im * self.sine, im * self.cosine + re * self.sine], -1)

    def attend(self, query, key, value):
        if ATTENTION == "mask":
            query, key, value = (x.transpose(0, 1)[None] for x in (query, key, value))
            attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=self.mask)
            return attended[0].transpose(0, 1).reshape(TOKENS, -1)
        return self.unpad(functional.scaled_dot_product_attention(
            self.pad(query), self.pad(key), self.pad(value), is_causal=True))

    def pad(self, x):
        padded = x.new_zeros(self.shape[0] * self.shape[1], HEADS, SIZE)
        return padded.index_copy(0, self.place, x).view(*self.shape, HEADS, SIZE).transpose(1, 2)

    def unpad(self, x):
        return x.transpose(1, 2).reshape(-1, HEADS * SIZE)[self.place]


class Log:
    """What is kept of tensors; nothing if there is no folder."""

    def __init__(self, folder):
        self.folder, self.entries = folder, []

    def add(self, name, tensor):
        if not self.folder:
            return
        flat = tensor.detach().float().flatten()
        step = max(flat.numel() // 1024, 1)
        while step > 1 and any(size > 1 and step % size == 0 for size in tensor.shape):
            step -= 1
        self.entries.append({"name": name, "shape": tuple(tensor.shape), "mean": flat.mean().item(),
                             "std": flat.std().item(), "min": flat.min().item(), "max": flat.max().item(),
                             "samples": flat[:1024 * step:step].clone()})

    def add_both(self, name, tensor):
        """The tensor now, and its gradient when that is there."""
        self.add(f"fw {name}", tensor)
        if self.folder:
            tensor.register_hook(lambda gradient: self.add(f"bw {name}", gradient))

    def save(self, name):
        if self.folder:
            os.makedirs(self.folder, exist_ok=True)
            torch.save(self.entries, f"{self.folder}/tensor_logs_{name}.pt")
        self.entries = []


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(VOCABULARY, HIDDEN)
        self.layers = torch.nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm, self.head = Norm(), linear(HIDDEN, VOCABULARY)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=HIDDEN**-0.5)

    def forward(self, batch, log):
        x = self.embedding(batch.tokens)
        log.add_both("embeddings", x)
        for i, layer in enumerate(self.layers):
            x = layer(x, batch)
            log.add_both(f"decoder.{i}", x)
        loss = functional.cross_entropy(self.head(self.norm(x)), batch.labels)
        log.add("fw head", loss.view(1))
        return loss


def main():
    torch.manual_seed(1)
    torch.set_num_threads(THREADS)
    model, log = Model(), Log(LOG)
    for name, parameter in model.named_parameters():
        log.add(f"param {name}", parameter)
    log.save("init")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    for step in range(STEPS):
        batch = Batch()
        start = time.perf_counter()
        loss = model(batch, log)
        optimizer.zero_grad()
        loss.backward()
        for name, parameter in model.named_parameters():
            log.add(f"gradient {name}", parameter.grad)
        log.save(f"train_{step + 1}")
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        print(f"loss {loss.item():.5f}  {1e3 * (time.perf_counter() - start):.1f} ms")


if __name__ == "__main__":
    main()
