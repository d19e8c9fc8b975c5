"""What a window costs and saves, measured on one thread: `python3 course.py measure window`, results/window.json.

growth    window attention at a fixed window and growing N: time and peak memory, and their exponents
masked    the same window as a mask, with torch's fused attention, and full causal attention beside it
stack     22 layers of ModernBERT's pattern against 22 full ones at N = 8,192, beside what the pairs predict

Times are processor time, the least of several runs: on a machine with other work, wall time measures the others.
"""

import json
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from solutions.checkpoints import provenance
from solutions.local_global import (
    MODERNBERT_BASE,
    saving,
    saving_ceiling,
    sliding_window_attention,
    window_mask,
    window_pairs,
)
from solutions.quadratic import blocked_attention, growth_exponent
from widgets.ledger.measure import record
from widgets.measurements import RESULTS

FILE = RESULTS / "window.json"
WINDOW, HEAD_DIM = 128, 64
LENGTHS = (2048, 4096, 8192, 16_384, 32_768)
MASKED_LENGTHS = (1024, 2048, 4096, 8192)
STACK_LENGTH = 8192


def inputs(n: int, heads: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    return tuple(torch.randn(3, 1, heads, n, HEAD_DIM, generator=generator))


def seconds(function: Callable, *arguments, repeats: int = 1, **keywords) -> float:
    """Processor time of one call, the least of `repeats`."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function(*arguments, **keywords)
        times.append(time.process_time() - start)
    return min(times)


def growth() -> dict:
    took, peaks = [], []
    for n in LENGTHS:
        q, k, v = inputs(n)
        took.append(seconds(sliding_window_attention, q, k, v, WINDOW, repeats=15))
        peaks.append(record(sliding_window_attention, q, k, v, WINDOW).peak_bytes)
        print(f"N {n:6,}   window {WINDOW}: {1e3 * took[-1]:7.1f} ms   peak {peaks[-1] / 2**20:6.2f} MiB")
    time_exponent, memory_exponent = growth_exponent(LENGTHS, took), growth_exponent(LENGTHS, peaks)
    print(f"exponents: time {time_exponent:.3f}, peak memory {memory_exponent:.3f}\n")
    return {
        "lengths": LENGTHS,
        "seconds": took,
        "peak_bytes": peaks,
        "time_exponent": time_exponent,
        "memory_exponent": memory_exponent,
    }


def masked() -> dict:
    rows = []
    for n in MASKED_LENGTHS:
        q, k, v = inputs(n)

        def as_mask(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            position = torch.arange(q.shape[-2])
            mask = window_mask(position, position, WINDOW)
            return scaled_dot_product_attention(q, k, v, attn_mask=mask)

        difference = (as_mask(q, k, v) - sliding_window_attention(q, k, v, WINDOW)).abs().max().item()
        rows.append(
            {
                "n": n,
                "full_fused": seconds(scaled_dot_product_attention, q, k, v, is_causal=True, repeats=5),
                "masked_fused": seconds(as_mask, q, k, v, repeats=5),
                "banded": seconds(sliding_window_attention, q, k, v, WINDOW, repeats=5),
                "masked_peak_bytes": record(as_mask, q, k, v).peak_bytes,
                "banded_peak_bytes": record(sliding_window_attention, q, k, v, WINDOW).peak_bytes,
                "difference": difference,
            }
        )
        row = rows[-1]
        print(
            f"N {n:6,}   torch, full causal {1e3 * row['full_fused']:7.1f} ms   torch, window as a mask "
            f"{1e3 * row['masked_fused']:7.1f} ms   ours, band {1e3 * row['banded']:7.1f} ms   peak "
            f"{row['masked_peak_bytes'] / 2**20:6.1f} and {row['banded_peak_bytes'] / 2**20:5.1f} MiB"
        )
    print()
    return {"rows": rows}


def stack() -> dict:
    """Attention of a whole stack: layer by layer, the full one and the pattern in turn, so both meet the same noise."""
    model, n = MODERNBERT_BASE, STACK_LENGTH
    q, k, v = inputs(n, heads=model.kv_heads)
    spent: dict[str, list[float]] = {"full": [], "pattern": []}
    for kind in model.layer_types:
        spent["full"].append(seconds(blocked_attention, q, k, v))
        spent["pattern"].append(
            seconds(blocked_attention, q, k, v)
            if kind == "full"
            else seconds(sliding_window_attention, q, k, v, model.window, causal=False)
        )
    full, pattern = sum(spent["full"]), sum(spent["pattern"])
    window_layers = [took for kind, took in zip(model.layer_types, spent["pattern"], strict=True) if kind == "window"]
    result = {
        "model": model.name,
        "n": n,
        "heads": model.kv_heads,
        "layers": model.layers,
        "full_seconds": full,
        "pattern_seconds": pattern,
        "measured_ratio": full / pattern,
        "predicted_ratio": saving(model.layer_types, n, model.window, causal=False),
        "ceiling": saving_ceiling(model.layer_types),
        "one_full_layer_seconds": full / model.layers,
        "one_window_layer_seconds": sum(window_layers) / len(window_layers),
        "one_layer_predicted_ratio": n * n / window_pairs(n, model.window, causal=False),
    }
    print(
        f"{model.name}, {model.layers} layers, {model.kv_heads} heads, N {n:,}: all full {full:.1f} s, pattern "
        f"{pattern:.1f} s\nratio measured {result['measured_ratio']:.2f}, predicted by the pairs "
        f"{result['predicted_ratio']:.2f}, ceiling {result['ceiling']:.2f}\n"
        f"one layer: full {result['one_full_layer_seconds']:.2f} s, window {result['one_window_layer_seconds']:.3f} s, "
        f"ratio {result['one_full_layer_seconds'] / result['one_window_layer_seconds']:.1f}, predicted by the pairs "
        f"{result['one_layer_predicted_ratio']:.1f}"
    )
    return result


def main() -> None:
    torch.set_num_threads(1)
    settings = {"window": WINDOW, "head_dim": HEAD_DIM, "dtype": "float32", "device": "cpu"}
    found = {"settings": settings, "growth": growth(), "masked": masked(), "stack": stack()}
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps({**found, "provenance": provenance()}, indent=1) + "\n", encoding="utf-8")
    print(f"\nWritten to {FILE}")


if __name__ == "__main__":
    main()
