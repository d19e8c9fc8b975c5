"""The trained comparison of patterns: every layer global, none, or every third, at equal size, data and steps.

Each model reads the recall stream. How far back a value may lie is a matter of the pattern; the words ask for nothing
far. Writes window.json with every run, and the weights of one seed of each pattern.
"""

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from weakref import WeakSet

import torch
from torch import Tensor

from solutions import streams
from solutions.checkpoints import note, round_weights, save
from solutions.local_global import layer_pattern, pattern_kv_bytes, receptive_field
from solutions.tiny import Config, TinyTransformer, train

PATTERNS = {"all-global": "G", "every-third-global": "GLL", "every-third-global-late": "LLG", "all-local": "L"}
KEPT = ("all-global", "every-third-global", "all-local")  # of these the first seed's weights
SEEDS = (0, 1, 2)
LAYERS, WIDTH, HEADS, WINDOW = 6, 64, 2, 8
BATCH, TRIPLES, STEPS = 32, 32, 250
LONGER = {"all-local": 1000, "every-third-global-late": 1000}  # steps of one more model each: is it only slower?
TEST = 1024  # sequences that no model was trained on
LONG = 4096  # tokens, to see what they cost

IN_WINDOW = WINDOW - 1  # the largest distance that one window sees
IN_REACH = receptive_field(LAYERS, WINDOW) - 1  # and all windows, one behind the other
EDGES = (4, IN_WINDOW, 10, 13, 16, 22, 28, 35, IN_REACH, 60, 3 * TRIPLES)


def config(pattern: str, seed: int) -> Config:
    """A model of the comparison; only the attention of its layers differs."""
    layers = layer_pattern(PATTERNS[pattern], LAYERS)
    options = {"window": {"window": WINDOW}} if "window" in layers else {}
    return Config(streams.VOCABULARY, layers, width=WIDTH, heads=HEADS, options=options, seed=seed)


def train_one(pattern: str, seed: int, steps: int) -> tuple[TinyTransformer, dict]:
    """One model, trained, and what there is to say about it. Recall is a share of the answers; losses are in nats."""
    model = TinyTransformer(config(pattern, seed))
    generator = torch.Generator().manual_seed(seed)

    def loss(model: TinyTransformer, step: int) -> Tensor:
        return streams.loss(model, streams.recall(BATCH, TRIPLES, generator))

    start, cpu_start = time.perf_counter(), time.process_time()
    losses = train(model, loss, steps=steps, label=f"{pattern}, seed {seed}")
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    round_weights(model)
    return model, {
        "pattern": pattern,
        "seed": seed,
        "steps": steps,
        **quality(model),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "losses": [round(value, 4) for value in losses[:: max(steps // 50, 1)]],
    }


def quality(model: TinyTransformer) -> dict:
    """What a model of the comparison can do, on sequences that none was trained on."""
    sample = streams.recall(TEST, TRIPLES, torch.Generator().manual_seed(1_000_000))
    bands = dict(zip(EDGES, streams.recall_by_distance(model, sample, EDGES), strict=True))

    def share(low: int, high: int) -> float:
        """Of the answers at distances above low and up to high, both of them edges."""
        right, asked = zip(*(band for edge, band in bands.items() if low < edge <= high), strict=True)
        return sum(right) / sum(asked)

    return {
        "recall": share(0, EDGES[-1]),
        "recall_in_window_in_reach_beyond": [
            share(low, high) for low, high in pairwise((0, IN_WINDOW, IN_REACH, EDGES[-1]))
        ],
        "recall_by_distance": [right / asked for right, asked in bands.values()],
        "word_loss": streams.ordinary_loss(model, sample)[0],
    }


def cost(pattern: str) -> dict:
    """What a model of the comparison costs at LONG tokens: to read them, to keep them, and to learn from them."""
    model = TinyTransformer(config(pattern, seed=0))
    tokens = streams.recall(1, LONG // 3 + 1, torch.Generator().manual_seed(0)).tokens[:, :LONG]
    with torch.no_grad():
        start = time.process_time()
        model(tokens)
        cpu_seconds = time.process_time() - start
        stream = model.new_stream()
        for chunk in tokens.split(64, dim=1):
            model(chunk, stream)
    return {
        "pattern": pattern,
        "cpu_seconds": round(cpu_seconds, 2),
        "cache_bytes": stream.nbytes,
        "cache_formula": pattern_kv_bytes(model.config.layers, LONG, WINDOW, HEADS, WIDTH // HEADS, element_bytes=4),
        "training_bytes": kept_for_backward(model, tokens),
    }


class Held:
    """A tensor that waits for a backward pass, and goes with it."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor


def kept_for_backward(model: TinyTransformer, tokens: Tensor) -> int:
    """Bytes that one training step holds between its forward and its backward pass, the weights aside."""
    waiting: WeakSet[Held] = WeakSet()

    def hold(tensor: Tensor) -> Held:
        held = Held(tensor)
        waiting.add(held)
        return held

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda held: held.tensor):
        surprise = streams.surprise(model, tokens)
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    storages = {held.tensor.untyped_storage().data_ptr(): held.tensor.untyped_storage().nbytes() for held in waiting}
    del surprise  # what waits, waits for it
    return sum(nbytes for place, nbytes in storages.items() if place not in weights)


def runs(folder: Path) -> Iterator[dict]:
    """Train every model, keep the weights of the first seed, and tell about each."""
    for pattern in PATTERNS:
        for seed in SEEDS:
            model, result = train_one(pattern, seed, STEPS)
            if pattern in KEPT and seed == SEEDS[0]:
                save(model, f"window-{pattern}", folder, recipe="window", result=result)
            yield result
    for pattern, steps in LONGER.items():
        yield train_one(pattern, SEEDS[0], steps)[1]


def make(folder: Path) -> None:
    """Run the comparison and print it: about 15 minutes on one thread."""
    results = []
    for result in runs(folder):
        near, reach, far = result["recall_in_window_in_reach_beyond"]
        print(
            f"{result['pattern']:24} seed {result['seed']} {result['steps']:5} steps {result['seconds']:6.1f} s   "
            f"recall {result['recall']:.3f} (1-{IN_WINDOW} {near:.3f}, to {IN_REACH} {reach:.3f}, beyond {far:.3f})   "
            f"words {result['word_loss']:.3f} of {streams.WORD_ENTROPY:.3f} nats",
            flush=True,
        )
        results.append(result)
    settings = {
        "layers": LAYERS, "width": WIDTH, "heads": HEADS, "window": WINDOW, "batch": BATCH, "tokens": 3 * TRIPLES,
        "learning_rate": 3e-3, "test_sequences": TEST, "edges": EDGES, "in_window": IN_WINDOW, "in_reach": IN_REACH,
        "word_entropy": streams.WORD_ENTROPY, "chance": 1 / streams.VALUES, "long": LONG,
    }  # fmt: skip
    note("window", folder, settings=settings, runs=results, costs=[cost(pattern) for pattern in PATTERNS])
