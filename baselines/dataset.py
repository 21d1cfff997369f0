"""The tokens that lockstep takes from its data, as docs/numbers.md defines them, and token files
in the two formats that it reads."""

import re
import struct

import numpy as np

from batches import MASKED, Batch
from initialize import GOLDEN, MASK, fnv1a64, splitmix64

BORDER = 336


def mix(value):
    return int(splitmix64(np.array([value & MASK], np.uint64))[0])


def number(key, index):
    return mix(key + index * GOLDEN)


def below(key, index, limit):
    return (number(key, index) >> 32) * limit >> 32


def masking_spans(length, key):
    """[(first, last)] of a document of `length` bytes."""
    count = min(below(key, 0, 6), length // 2)
    places = []
    for index, last in enumerate(range(length - 2 * count, length)):
        drawn = below(key, index + 1, last + 1)
        places.append(last if drawn in places else drawn)
    places.sort()
    return list(zip(places[::2], places[1::2]))


def text_documents(text, config):
    """[(tokens, masked)] of the documents of a text, bytes."""
    vocabulary = config["base_model"]["embeddings"]["vocab_size"]
    border = BORDER if vocabulary > BORDER else vocabulary - 1
    key = mix(config["data"]["seed"] ^ fnv1a64("masking spans"))
    documents = []
    for part in re.split(rb"\n(?:[ \t\r]*\n)+", b"\n" + text + b"\n"):
        part = part.strip(b"\r\n")
        if not part:
            continue
        tokens = [border] + [byte % vocabulary for byte in part] + [border]
        masked = np.zeros(len(tokens), bool)
        if config["data"]["loss_masking_spans"]:
            for first, last in masking_spans(len(part), number(key, len(documents))):
                masked[1 + first : 1 + last] = True
        documents.append((np.array(tokens, np.int32), masked))
    return documents


def shuffled(count, seed):
    key, order = mix(seed), list(range(count))
    for index in range(count - 1, 0, -1):
        other = below(key, index, index + 1)
        order[index], order[other] = order[other], order[index]
    return order


class Data:
    """`documents`: [(tokens, masked)]."""

    def __init__(self, config, documents):
        self.settings, self.documents = config["data"], documents
        self.heads = config["base_model"]["head"]["prediction_heads"]
        schedule = config["schedule"]
        self.count = (
            schedule["depth_first_micro_batches"] * schedule["breadth_first_micro_batches"]
        )
        self.tokens = self.starts = self.masked = np.zeros(0, np.int64)
        self.epoch = 0

    def add_epoch(self):
        """One more epoch at the end of the sequence; `starts` marks where documents begin."""
        settings, count = self.settings, len(self.documents)
        order = range(count)
        if settings["shuffle"]:
            order = shuffled(count, settings["seed"] + 571 * self.epoch)
        self.epoch += 1
        tokens, starts, masked = [self.tokens], [self.starts], [self.masked]
        for index in order:
            document, spans = self.documents[index]
            tokens.append(document)
            starts.append(np.arange(len(document)) % settings["maximum_document_length"] == 0)
            masked.append(spans)
        self.tokens, self.starts, self.masked = map(np.concatenate, (tokens, starts, masked))

    def sample(self, index):
        size = self.settings["micro_batch_size"]
        first, last = index * size, (index + 1) * size + self.heads
        while len(self.tokens) < last:
            self.add_epoch()
        tokens, masked = self.tokens[first:last], self.masked[first:last].astype(bool)
        begins = self.starts[first:last].astype(bool)
        begins[0] = True
        start = np.maximum.accumulate(np.where(begins, np.arange(last - first), 0))
        places, labels = np.arange(size), []
        for distance in range(1, self.heads + 1):
            target = places + distance
            hidden = masked[target] | (target - start[target] < distance)
            labels.append(np.where(hidden, MASKED, tokens[target]))
        return Batch(
            tokens.astype(np.int32), start[:size].astype(np.int32), np.array(labels, np.int32)
        )

    def step(self, index):
        """All micro-batches of a step, from 0."""
        return [self.sample(index * self.count + j) for j in range(self.count)]


def write_megatron(prefix, documents):
    """PREFIX.bin and PREFIX.idx, with tokens of 16 bits."""
    sizes = [len(tokens) for tokens, _ in documents]
    offsets = np.cumsum([0] + sizes[:-1]) * 2
    with open(f"{prefix}.bin", "wb") as file:
        for tokens, _ in documents:
            file.write(tokens.astype("<u2").tobytes())
    with open(f"{prefix}.idx", "wb") as file:
        file.write(b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, len(sizes), len(sizes) + 1))
        file.write(np.array(sizes, "<i4").tobytes() + offsets.astype("<i8").tobytes())
        file.write(np.arange(len(sizes) + 1, dtype="<i8").tobytes())


def write_npy(path, documents):
    """One document, or a row for each."""
    rows = [tokens for tokens, _ in documents]
    np.save(path, np.stack(rows) if len(rows) > 1 else rows[0])
