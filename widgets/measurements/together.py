"""Three ways on one task: a pattern, a memory, a choice; `python3 course.py measure together`.

The models of `checkpoints.window` in all but the attention: six layers of two heads of 32 on the recall stream of 96
tokens. Each query of each layer has about 21 keys, the mean of all positions and layers:

    window               the last 24
    every third global   the last 8, and in every third layer all: the models as they are, and their runs
    Infini               segments of 8, 4.5 on average, and a memory as large as 16.5 keys
    chosen               24 of all, by an indexer; from the dense model by a warm-up and a sparse stage

Window, Infini and chosen learn for STEPS steps in all. Writes results/together.json; name seeds to measure only these.
"""

import json
import math
import sys
import time
from collections.abc import Callable

import torch

from solutions import streams
from solutions.checkpoints import infini as infini_recipe
from solutions.checkpoints import load, provenance, round_weights
from solutions.checkpoints import window as lesson2
from solutions.sparse import index_loss, indexer_parameters, model_parameters
from solutions.tiny import Config, TinyTransformer, train
from widgets.measurements import RESULTS

FILE = RESULTS / "together.json"
SEEDS = (0, 1, 2)
WINDOW, SEGMENT, TOP_K, FEW = 24, 8, 24, 8
WARM_UP, SPARSE, STEPS = 200, 200, lesson2.STEPS + 200 + 200
LENGTHS = (96, 4096)  # tokens of a stream whose bytes are counted; multiples of SEGMENT


def batches(seed: int) -> Callable[[], streams.Sample]:
    generator = torch.Generator().manual_seed(seed)
    return lambda: streams.recall(lesson2.BATCH, lesson2.TRIPLES, generator)


def fresh(kind: str, options: dict, seed: int) -> TinyTransformer:
    layers = (kind,) * lesson2.LAYERS
    config = Config(
        streams.VOCABULARY, layers, width=lesson2.WIDTH, heads=lesson2.HEADS, options={kind: options}, seed=seed
    )
    return TinyTransformer(config)


def on_the_task(model: TinyTransformer, seed: int, label: str, groups: list[dict] | None = None) -> TinyTransformer:
    draw = batches(seed)
    train(model, lambda model, step: streams.loss(model, draw()), steps=STEPS, groups=groups, label=label)
    round_weights(model)
    return model


def choosing(model: TinyTransformer, **options) -> TinyTransformer:
    return model.with_attention(("sparse",) * lesson2.LAYERS, sparse=options)


def chosen(seed: int) -> TinyTransformer:
    """The dense model through DeepSeek's two stages; rates as in the recipe of `checkpoints.sparse`."""
    dense = load("window-all-global") if seed == 0 else lesson2.train_one("all-global", seed, lesson2.STEPS)[0]
    model, draw = choosing(dense, top_k=TOP_K, selector="all"), batches(1000 + seed)
    model.requires_grad_(False)
    for weight in indexer_parameters(model):
        weight.requires_grad_(True)

    def divergence(model: TinyTransformer, step: int) -> torch.Tensor:
        model(draw().tokens[:, :-1])
        return index_loss(model)

    learning: list[dict] = [{"params": indexer_parameters(model)}]
    train(model, divergence, steps=WARM_UP, learning_rate=1e-3, weight_decay=0.0, groups=learning, label="warm-up")
    model.requires_grad_(True)
    model = choosing(model, top_k=TOP_K)

    def both(model: TinyTransformer, step: int) -> torch.Tensor:
        return streams.loss(model, draw()) + index_loss(model)

    learning = [{"params": model_parameters(model)}, {"params": indexer_parameters(model), "lr": 1e-3}]
    train(model, both, steps=SPARSE, learning_rate=3e-4, clip=math.inf, groups=learning, label="sparse stage")
    round_weights(model)
    return model


@torch.no_grad()
def stream_bytes(model: TinyTransformer, n: int) -> int:
    """What a stream of n tokens keeps."""
    tokens = streams.recall(1, -(-n // 3), torch.Generator().manual_seed(0)).tokens[:, :n]
    stream = model.new_stream()
    for chunk in tokens.split(64, dim=1):
        model(chunk, stream)
    return stream.nbytes


def row(name: str, seed: int, model: TinyTransformer, began: float | None = None) -> dict:
    model.eval()
    seconds = None if began is None else round(time.process_time() - began, 1)
    held = {str(n): stream_bytes(model, n) for n in LENGTHS}
    found = {"name": name, "seed": seed, **lesson2.quality(model), "state_bytes": held, "cpu_seconds": seconds}
    shares = " ".join(f"{share:.3f}" for share in found["recall_in_window_in_reach_beyond"])
    print(f"{name}, seed {seed}: found {found['recall']:.3f} ({shares}), words {found['word_loss']:.3f}, {held} bytes")
    return found


def runs_of(seed: int) -> list[dict]:
    began = time.process_time()
    model = chosen(seed)
    rows = [row("chosen", seed, model, began), row(f"chosen, {FEW}", seed, choosing(model, top_k=FEW))]
    if seed == 0:
        shipped = ("every third global", "all global")
        rows += [row(name, 0, load(f"window-{name.replace(' ', '-')}")) for name in shipped]
    began = time.process_time()
    model = fresh("infini", {"segment": SEGMENT}, seed)
    rows.append(row("Infini", seed, on_the_task(model, seed, "Infini", infini_recipe.groups(model)), began))
    began = time.process_time()
    rows.append(row("window", seed, on_the_task(fresh("window", {"window": WINDOW}, seed), seed, "window"), began))
    return rows


def main(seeds: list[int]) -> None:
    torch.set_num_threads(1)
    for seed in seeds:
        kept = json.loads(FILE.read_text(encoding="utf-8"))["runs"] if FILE.exists() else []
        rows = [each for each in kept if each["seed"] != seed] + runs_of(seed)
        settings = {"window": WINDOW, "segment": SEGMENT, "top_k": TOP_K, "steps": STEPS, "edges": lesson2.EDGES}
        found = {"settings": settings, "runs": rows, "provenance": provenance()}
        FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]] or list(SEEDS))
