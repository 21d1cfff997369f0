"""The tokens, documents and labels that the baselines were recorded with."""

import dataclasses

import numpy as np
from safetensors.numpy import load_file, save_file

from initialize import SEED, uniform

TOKENS = 256
MASKED = -100
# First tokens of the documents, for each training step. They include a document of one token.
PACKED = ((0, 70, 71, 160), (0, 33, 200))
# One document longer than the attention window of 128 tokens, in either half of the batch.
LONG = ((0, 190), (0, 30))
SINGLE = ((0,), (0,))
# Loss-masking spans, one in each step: labels that are one of these tokens do not count.
SPANS = ((20, 40), (100, 131))


@dataclasses.dataclass
class Batch:
    """One training step: `tokens` has one extra token for each prediction head."""

    tokens: np.ndarray  # [T + heads] int32
    document_start: np.ndarray  # [T] int32
    labels: np.ndarray  # [heads, T] int32

    @property
    def positions(self):
        """Index of each token inside its document."""
        return np.arange(TOKENS, dtype=np.int32) - self.document_start

    @property
    def starts(self):
        return sorted(set(self.document_start.tolist()))


def make_tokens(model, step, count, vocabulary):
    """Skewed to small numbers, so that many embedding rows occur more than once."""
    draws = uniform(f"baseline {model} tokens {step}", SEED, count)
    return np.floor(draws**2 * vocabulary).astype(np.int32)


def make_labels(tokens, start, span, heads):
    """labels[d][t] = tokens[t + d + 1], masked where that token is in another document or in the
    masked span."""
    first, last = span
    index = np.arange(TOKENS)
    # Tokens after the last of the batch continue its last document.
    document = np.concatenate([start, np.full(heads, start[-1])])
    rows = []
    for distance in range(1, heads + 1):
        target = index + distance
        masked = (document[target] != start) | ((target >= first) & (target < last))
        rows.append(np.where(masked, MASKED, tokens[target]))
    return np.stack(rows).astype(np.int32)


def make(model, documents, heads, vocabulary):
    batches = []
    for step, starts in enumerate(documents):
        tokens = make_tokens(model, step, TOKENS + heads, vocabulary)
        index = np.searchsorted(starts, np.arange(TOKENS), side="right") - 1
        start = np.asarray(starts, np.int32)[index]
        batches.append(Batch(tokens, start, make_labels(tokens, start, SPANS[step], heads)))
    return batches


def save(path, batches):
    tensors = {
        field.name: np.stack([getattr(batch, field.name) for batch in batches])
        for field in dataclasses.fields(Batch)
    }
    save_file(tensors, path)


def load(path):
    tensors = load_file(path)
    names = [field.name for field in dataclasses.fields(Batch)]
    return [Batch(*values) for values in zip(*(tensors[name] for name in names))]
