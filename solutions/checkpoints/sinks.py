"""What a trained model does when its first token leaves the window, and how one sink mends it.

A model of one layer and one head reads the defaults stream, where half of the values are known by heart: then there is
nothing to look up, and the head rests on the start token. The trained weights are then read through a window, with and
without the start token as a sink. The control never has a start token. Writes sinks.json and both models' weights.
"""

import time
from pathlib import Path

import torch
from torch import Tensor

from solutions import streams
from solutions.checkpoints import note, round_weights, save
from solutions.quadratic import attention
from solutions.tiny import Config, TinyTransformer, train

SEEDS = (0, 1, 2)
WIDTH, HEADS = 64, 1
BATCH, PAIRS, STEPS = 32, 96, 400
TEST = 256  # sequences that no model was trained on
STRETCH = 8  # tokens that share one entry of a loss by position
READINGS = ((8, 0), (7, 1), (16, 0), (15, 1), (12, 4))  # (window, sinks)


def sample(batch: int, generator: torch.Generator, start: bool) -> streams.Sample:
    """The defaults stream, with its start token or without."""
    whole = streams.defaults(batch, PAIRS, generator)
    return whole if start else streams.Sample(*(part[:, 1:] for part in (whole.tokens, whole.distance, whole.ordinary)))


def train_one(seed: int, start: bool) -> tuple[TinyTransformer, dict]:
    """One model with full attention, trained, and how it went."""
    model = TinyTransformer(Config(streams.VOCABULARY, ("full",), width=WIDTH, heads=HEADS, seed=seed))
    generator = torch.Generator().manual_seed(seed)

    def loss(model: TinyTransformer, step: int) -> Tensor:
        return streams.loss(model, sample(BATCH, generator, start))

    began, cpu_began = time.perf_counter(), time.process_time()
    losses = train(model, loss, steps=STEPS, label=f"{'with' if start else 'no'} start token, seed {seed}")
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    round_weights(model)
    return model, {
        "start_token": start,
        "seed": seed,
        "steps": STEPS,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "losses": [round(value, 4) for value in losses[:: max(STEPS // 50, 1)]],
    }


def reading(model: TinyTransformer, tried: streams.Sample, window: int | None, sinks: int = 0) -> dict:
    """What trained weights say through a window; None for the full attention that they were trained with."""
    if window is not None:
        model = model.with_attention(("window",), window={"window": window, "sinks": sinks})
    seen = (window or tried.tokens.shape[1]) - 1  # distances that a window sees
    (near, near_asked), (far, far_asked) = streams.recall_by_distance(model, tried, (seen, tried.tokens.shape[1]))
    return {
        "window": window,
        "sinks": sinks,
        "known_loss": streams.ordinary_loss(model, tried, STRETCH),
        "known_right": streams.right(model, tried.tokens)[tried.ordinary[:, 1:]].float().mean().item(),
        "near_recall": near / near_asked,
        "far_recall": far / far_asked if far_asked else None,
    }


def rest(model: TinyTransformer, tried: streams.Sample) -> dict:
    """Mean attention on the first token when the next is known by heart, and when it is to be looked up."""
    q, k = next(model.queries_and_keys(tried.tokens[:, :-1]))
    on_first = attention(q, k, torch.eye(k.shape[-2])[:, :1].expand(*k.shape[:-1], 1), causal=True)[:, 0, :, 0]
    known, asked = tried.ordinary[:, 1:], tried.distance[:, 1:] > 0
    return {"known": on_first[known].mean().item(), "looked_up": on_first[asked].mean().item()}


def make(folder: Path) -> None:
    """Train the models and their controls, read each through the windows: about 5 minutes on one thread."""
    results = []
    for start in (True, False):
        tried = sample(TEST, torch.Generator().manual_seed(1_000_000), start)
        for seed in SEEDS:
            model, result = train_one(seed, start)
            result["mass_on_first"] = rest(model, tried)
            result["readings"] = [reading(model, tried, *chosen) for chosen in ((None, 0), *READINGS)]
            results.append(result)
            if seed == SEEDS[0]:
                save(model, "sinks-start" if start else "sinks-no-start", folder, recipe="sinks", result=result)
            print(f"start token {start}, seed {seed}, {result['seconds']:.0f} s, on first {result['mass_on_first']}")
            for each in result["readings"]:
                print(
                    f"  window {each['window']} sinks {each['sinks']}: known by heart {each['known_right']:.3f} right, "
                    f"loss {each['known_loss'][0]:.3f} ... {each['known_loss'][-1]:.3f}; "
                    f"recall near {each['near_recall']:.3f} far {each['far_recall']}"
                )
    settings = {
        "layers": 1, "width": WIDTH, "heads": HEADS, "batch": BATCH, "tokens": 2 * PAIRS + 1, "learning_rate": 3e-3,
        "test_sequences": TEST, "stretch": STRETCH, "chance": 1 / streams.VALUES,
    }  # fmt: skip
    note("sinks", folder, settings=settings, runs=results)
