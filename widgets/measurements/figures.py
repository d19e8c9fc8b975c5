"""What we measured: every measured figure of the course, where it is kept, and the command that measures it again.

    python -m widgets.measurements.figures             lists what can be measured again, and with which command
    python -m widgets.measurements.figures window      measures it again (`course.py measure window`)

Nothing here is a number that somebody typed: a figure is a path into a file that a run wrote, and `page` reads it when
the site is bound. The table below says what stands at the end of each path, in which setting, and what others have
published on the same question.
"""

from __future__ import annotations

import json
import subprocess
import sys
from fnmatch import fnmatchcase
from functools import cache
from itertools import chain, groupby
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
NOT_YET = "not measured yet"

# unit: what one of it is in the file's own unit, and how a value is written
UNITS = {
    "": (1, "{:.3g}"),
    "exponent": (1, "{:.3f}"),
    "times": (1, "{:.3g} times"),
    "of 1": (1, "{:.3f}"),
    "%": (0.01, "{:.1f} %"),
    "nats": (1, "{:.2f} nats"),
    "B": (1, "{:,.0f} B"),
    "KiB": (2**10, "{:,.1f} KiB"),
    "MiB": (2**20, "{:,.1f} MiB"),
    "GB": (1e9, "{:,.2f} GB"),
    "GFLOP": (1e9, "{:,.0f} GFLOP"),
    "printed ms": (1, "{:,.1f} ms"),
    "ms": (1e-3, "{:,.1f} ms"),
    "s": (1, "{:,.0f} s"),
    "tokens": (1, "{:,.0f} tokens"),
    "positions": (1, "{:,.0f} positions"),
    "tokens/s": (1, "{:,.0f} tokens/s"),
    "TFLOP/s": (1, "{:,.0f} TFLOP/s"),
    "GB/s": (1, "{:,.0f} GB/s"),
}


class Figure(NamedTuple):
    """One measured figure.

    what, setting: what was measured, and on what; path: where its run's file holds it, see `values`; unit: of UNITS
    published: what others printed on the question, with the source, or ""
    """

    what: str
    setting: str
    path: str
    unit: str = ""
    published: str = ""


class Run(NamedTuple):
    """What one command measures.

    command: what follows `course.py measure`; takes: roughly how long; file: where the results are kept, below ROOT,
    with * for the models of one recipe; needs_gpu: its figures may be missing
    """

    command: str
    takes: str
    file: str
    figures: list[Figure]
    needs_gpu: bool = False


def kept(name: str) -> str:
    return f"widgets/measurements/results/{name}.json"


def shipped(name: str) -> str:
    return f"solutions/checkpoints/{name}.json"


def said(name: str) -> str:
    return f"book/figures/{name}.json"


# fmt: off: a table
LESSONS: dict[str, list[Run]] = {
    "quadratic_attention": [
        Run("lesson quadratic_attention", "a minute", said("quadratic_attention"), [
            Figure("Peak memory of plain attention",
                   "one head of 64, 4,096 tokens, bytes of all tensors alive at once",
                   "figures/peak of plain attention", "MiB",
                   "grows as N² (Dao et al. 2022, section 2.2)"),
            Figure("Exponent of plain attention's peak in N", "256 to 4,096 tokens",
                   "figures/its exponent", "exponent"),
            Figure("Peak memory in blocks of rows", "the same result, 4,096 tokens",
                   "figures/peak in blocks of rows", "MiB"),
            Figure("Exponent of the blocks' peak in N", "256 to 4,096 tokens",
                   "figures/exponent in blocks of rows", "exponent"),
            Figure("Difference between measured peak and 12 N² + 12 N", "five lengths",
                   "figures/peak less its formula", "B"),
            Figure("Exponent of the KV cache's bytes", "measured, expected 1",
                   "figures/exponent of the KV cache", "exponent"),
            Figure("Growth of our attention's time",
                   "512 to 4,096 tokens: pairs grow 64 times, and the matrix leaves the caches",
                   "figures/growth of our time", "times"),
            Figure("Growth of torch's fused attention's time", "the same lengths",
                   "figures/growth of the fused time", "times"),
        ]),
    ],
    "local_and_global": [
        Run("window", "a quarter of an hour", kept("window"), [
            Figure("Exponent of time in N", "window 128, 2,048 to 32,768 tokens", "growth/time_exponent", "exponent"),
            Figure("Exponent of peak memory in N", "window 128, the same lengths", "growth/memory_exponent",
                   "exponent"),
            Figure("A window passed as a mask to torch's fused attention",
                   "8,192 tokens; the result is ours, nothing is skipped", "masked/rows/n=8192/masked_fused", "ms"),
            Figure("The same window computed as a band", "8,192 tokens", "masked/rows/n=8192/banded", "ms"),
            Figure("All 22 layers full, against the pattern one in three",
                   "ModernBERT-base's shape, 8,192 tokens, attention alone", "stack/measured_ratio", "times",
                   "whole model, other question: 148.1 thousand tokens/s at 512, 123.7 at 8,192, RTX 4090 (Warner et "
                   "al. 2024, table 2)"),
            Figure("What the pairs predict for that ratio", "the same shape", "stack/predicted_ratio", "times"),
        ]),
        Run("train window", "a quarter of an hour", shipped("window"), [
            Figure("Recall, every layer global", "6 layers, window 8, 96 tokens, 250 steps, three seeds",
                   "runs/pattern=all-global/recall", "%"),
            Figure("Recall, every third layer global", "the same training",
                   "runs/pattern=every-third-global/recall", "%",
                   "“identical downstream performance” to all global, up to 100 B tokens (Warner et al. 2024, "
                   "appendix D)"),
            Figure("Recall beyond the reach of all windows, every layer local", "the same; chance is 3.1 %",
                   "runs/pattern=all-local&steps=250/recall_in_window_in_reach_beyond/2", "%"),
            Figure("Cache of the pattern", "4,096 tokens, two layers of six global",
                   "costs/pattern=every-third-global/cache_bytes", "MiB"),
            Figure("Cache of all global", "4,096 tokens", "costs/pattern=all-global/cache_bytes", "MiB"),
        ]),
        Run("train window", "a quarter of an hour", shipped("window-*"), [
            Figure("Training one shipped model", "processor time, seed 0, 250 steps", "result/cpu_seconds", "s"),
        ]),
        Run("train sinks", "five minutes", shipped("sinks"), [
            Figure("Words known by heart, window of 8 without its first token",
                   "a model trained with a start token, three seeds",
                   "runs/start_token=True/readings/window=8/known_right", "%"),
            Figure("The same with the first token kept", "window of 7 and one sink",
                   "runs/start_token=True/readings/window=7/known_right", "%",
                   "Llama-2-13B: perplexity 5,158 without, 5.40 with four first tokens (Xiao et al. 2023, table 1)"),
            Figure("Recall of what left the window, with the sink", "chance is 3.1 %",
                   "runs/start_token=True/readings/window=7/far_recall", "%"),
        ]),
        Run("train sinks", "five minutes", shipped("sinks-start"), [
            Figure("Weight on the start token", "where nothing is looked up, seed 0", "result/mass_on_first/known",
                   "%"),
        ]),
        Run("train sinks", "five minutes", shipped("sinks-no-start"), [
            Figure("Weight on the first word, trained without a start token", "the same seed",
                   "result/mass_on_first/known", "%"),
        ]),
        Run("atlas", "five minutes, and a Chromium", kept("atlas"), [
            Figure("Building the Atlas's picture of one head", "131,072 tokens, processor time",
                   "length/processor_seconds", "s"),
            Figure("Largest relative error of a cell", "4 million cells compared with the direct sum",
                   "length/worst_relative_error_of_a_cell"),
            Figure("A frame while zooming through it", "headless Chromium", "frames/zooming/atlas frame/p95_ms",
                   "printed ms"),
            Figure("Longest text that bertviz drew of 256, 512 and 1,024 tokens",
                   "12 heads, the same machine, bertviz 1.4.1", "bertviz/largest_drawn/bertviz", "tokens"),
        ]),
    ],
    "flash_attention": [
        Run("lesson flash_attention", "two minutes", said("flash_attention"), [
            Figure("Bytes that attention in tiles moves",
                   "one head, 512 tokens, counted by a tile machine", "figures/bytes in tiles", "B"),
            Figure("Bytes that the standard algorithm moves", "the same head",
                   "figures/bytes of the standard algorithm", "B"),
            Figure("Figure 2 of FlashAttention counted again, 384 keys a block",
                   "16 heads, 1,024 tokens, batch 64, forward and backward; formulas that equal a byte counter",
                   "figures/flash, 384 keys a block", "GB",
                   "4.4 GB on an A100 (Dao et al. 2022, figure 2)"),
            Figure("The standard algorithm in that figure", "algorithms 0 and 3 of the paper as they are printed",
                   "figures/standard, algorithms 0 and 3", "GB",
                   "40.3 GB; version 1 of the paper printed 35.3 (Dao et al. 2022, figure 2)"),
            Figure("Operations in the standard algorithm's matrix products", "forward and backward",
                   "figures/operations, standard", "GFLOP",
                   "66.6 GFLOP (Dao et al. 2022, figure 2)"),
            Figure("Operations in FlashAttention's matrix products",
                   "forward and backward; the printed ones count otherwise",
                   "figures/operations, flash", "GFLOP",
                   "75.2 GFLOP (Dao et al. 2022, figure 2)"),
        ]),
    ],
    "flash_in_triton": [
        Run("lesson flash_in_triton", "two minutes", said("flash_in_triton"), [
            Figure("Bytes that the Triton kernel asks for",
                   "1,024 tokens, d = 64, blocks of 64, traced under the interpreter",
                   "figures/bytes by the trace", "B"),
            Figure("What the closed form says", "the same kernel", "figures/bytes by the closed form", "B"),
        ]),
        Run("kernels", "needs a GPU", kept("kernels"), [
            Figure("Our forward kernel", "fp16, d = 128, not causal, 16,384 tokens",
                   "forward/case.head_dim=128&case.causal=False&case.keys=16384/tflop_per_s", "TFLOP/s",
                   "FlashAttention-2 up to 230 on an A100 (Dao 2023, section 4), FlashAttention-3 up to 740 on an "
                   "H100 (Shah et al. 2024, abstract)"),
            Figure("Our backward kernels", "the same shape",
                   "backward/case.head_dim=128&case.causal=False&case.keys=16384/tflop_per_s", "TFLOP/s"),
            Figure("Keys and values read in decoding",
                   "one query a request, batch 8, 131,072 keys, our own number of splits",
                   "decode/case.batch=8&case.keys=131072&case.splits=0/gb_per_s", "GB/s"),
            Figure("What the GPU multiplies at most", "random numbers, fp16", "peaks/matmul_tflop_per_s", "TFLOP/s"),
        ], needs_gpu=True),
    ],
    "infini_attention": [
        Run("infini passkey", "an hour and a half", kept("infini"), [
            Figure("Passkey digits found, key at the start of a million tokens",
                   "a model of 2 layers trained on 512 tokens, three seeds; chance is 10 %",
                   "runs/*/cells/tokens=1000000&depth=0.0/digits", "%",
                   "96 % at 1 M after 400 steps on the task, 8 % before, a 1B model (Munkhdalai et al. 2024, table "
                   "3, linear)"),
            Figure("The same, key in the middle", "three seeds", "runs/*/cells/tokens=1000000&depth=0.5/digits", "%",
                   "94 % after, 6 % before (the same table)"),
            Figure("The same with the memory emptied", "key in the middle of a million tokens",
                   "runs/*/cells/tokens=1000000&depth=0.5/digits_without_memory", "%"),
            Figure("Bytes of memory at a million tokens", "two layers, two heads, 32 × 33 numbers each",
                   "runs/*/cells/tokens=1000000&depth=0.5/memory_bytes", "KiB"),
            Figure("Training", "1,500 steps, one thread, processor time", "runs/*/training_cpu_seconds", "s"),
        ]),
        Run("train infini", "ten minutes", shipped("infini"), [
            Figure("Gates of the shipped model", "two layers of two heads, began at 0.5",
                   "result/gates_at_the_end/*/*", "of 1"),
        ]),
        Run("train infini-controls", "a quarter of an hour", shipped("infini-*"), [
            Figure("Training what it is compared with", "window, Transformer-XL, kNN, full, plain", "result/seconds",
                   "s"),
        ]),
        Run("infini alignment", "a minute", kept("infini_alignment"), [
            Figure("Digits found, over where in its segment a text ends",
                   "64 places; training never lays a border across question and answer",
                   "runs/tokens=2048/rows/*/digits", "%"),
        ]),
        Run("infini baselines", "an hour", kept("infini_baselines"), [
            Figure("Window and sinks, key in the middle of 131,072 tokens", "window 64 and 4 sinks; chance is 10 %",
                   "systems/name=window 64, 4 sinks/runs/*/cells/tokens=131072&depth=0.5/digits", "%"),
            Figure("Transformer-XL's cache, the same", "one segment kept",
                   "systems/name=Transformer-XL/runs/*/cells/tokens=131072&depth=0.5/digits", "%"),
            Figure("kNN memory, a million tokens", "every key and value of one layer kept",
                   "systems/name=kNN memory/runs/*/cells/tokens=1000000&depth=0.5/digits", "%"),
            Figure("What it keeps for that", "bytes of keys and values",
                   "systems/name=kNN memory/runs/*/cells/tokens=1000000&depth=0.5/state_bytes", "MiB"),
        ]),
        Run("infini controls", "half an hour", kept("infini_controls"), [
            Figure("Trained without simulated repetition, 131,072 tokens", "key in the middle",
                   "variants/name=without simulated repetition/runs/*/cells/tokens=131072&depth=0.5/digits", "%"),
            Figure("Gates at a hundredth of their rate, where they end", "began at 0.5, 1,500 steps",
                   "variants/name=gates at a hundredth of their rate/runs/*/gates/*/*", "of 1"),
        ]),
        Run("infini haystacks", "half an hour", kept("infini_haystacks"), [
            Figure("Random words for filler, 131,072 tokens", "the lesson's model, key in the middle",
                   "tasks/task=random words&model=the lesson's model/cells/tokens=131072&depth=0.5/digits", "%"),
            Figure("A key said three times, the last one counts", "the lesson's model, 131,072 tokens",
                   "tasks/task=a key said 3 times, the last counts&model=the lesson's "
                   "model/cells/tokens=131072&depth=0.5/digits", "%"),
            Figure("Four labelled keys, one asked for", "trained on it, 131,072 tokens",
                   "tasks/task=4 labelled keys&model=trained on it/cells/tokens=131072&depth=0.5/digits", "%"),
        ]),
        Run("train language", "three hours", shipped("language"), [
            Figure("Transformer-XL's perplexity, 2,048 tokens, 16 facts", "64 KiB carried",
                   "runs/system=Transformer-XL/cells/tokens=2048&facts=16/perplexity", "",
                   "perplexity 11.88 on PG19 (Munkhdalai et al. 2024, table 2)"),
            Figure("Infini-attention's", "linear rule, 16.5 KiB carried",
                   "runs/system=Infini, linear/cells/tokens=2048&facts=16/perplexity", "",
                   "perplexity 9.65 on PG19 (the same table)"),
            Figure("Transformer-XL's, where a fact holds for 128 tokens", "2,048 tokens, 16 facts at a time",
                   "runs/system=Transformer-XL/changing/holds=128&facts=16/perplexity"),
            Figure("Infini-attention's, where a fact holds for 128 tokens", "the same texts",
                   "runs/system=Infini, linear/changing/holds=128&facts=16/perplexity"),
        ]),
        Run("train language", "three hours", shipped("language-*"), [
            Figure("Training a language model of two layers", "1,200 steps of 8,192 tokens: Infini-attention, "
                   "Transformer-XL", "result/seconds", "s"),
        ]),
        Run("infini plug", "a few minutes", kept("infini_plug"), [
            Figure("Far recall after Infini-attention took the place of a window",
                   "300 steps, gates at 3e-2; chance is 3.1 %",
                   "runs/name=Infini-attention, gates at 3e-2/after/recall_in_window_in_reach_beyond/2", "%"),
        ]),
        Run("infini speed", "a minute", kept("infini_speed"), [
            Figure("A million tokens streamed", "linear rule, one thread",
                   "streams/rule=linear/tokens_per_cpu_second", "tokens/s"),
            Figure("Growth of the process's memory from 10 K to 1 M tokens", "resident bytes",
                   "streams/rule=linear/resident_growth_from_10K", "%"),
        ]),
        Run("infini needle", "half a minute", kept("infini_needle"), [
            Figure("Bytes that a full cache keeps of 4,096 tokens", "the key is in it and is not found",
                   "full/tokens=4096/state_bytes", "MiB"),
            Figure("Bytes that the lesson's model keeps of a million tokens", "it finds the key",
                   "infini/state_bytes", "KiB"),
        ]),
        Run("gated prose", "a quarter of an hour", kept("gated_prose"), [
            Figure("Digits found in prose by the gated delta rule, 131,072 tokens",
                   "trained on 512 tokens, text it never saw, key in the middle",
                   "runs/*/cells/kind=as trained&tokens=131072&depth=0.5/digits", "%"),
            Figure("What it keeps for that", "two layers, two heads of 32",
                   "runs/0/cells/kind=as trained&tokens=131072&depth=0.5/state_bytes", "B"),
            Figure("The same models, a key said three times, the last counts", "8,192 tokens, not trained on it",
                   "runs/*/cells/kind=said 3 times, the last counts&depth=0.5/digits", "%"),
            Figure("Training", "350 steps of 16, one thread, processor time", "runs/*/cpu_seconds", "s"),
        ]),
        Run("train gated", "a quarter of an hour", shipped("gated-*"), [
            Figure("Training a shipped model of the gated delta rule", "processor time, seed 0",
                   "result/cpu_seconds", "s"),
        ]),
        Run("gated last-of-three", "a quarter of an hour", kept("gated_last_of_three"), [
            Figure("Digits of the last of three sayings, 131,072 tokens",
                   "trained on it in periodic sentences, 512 tokens, key in the middle",
                   "runs/*/cells/kind=as trained&tokens=131072&depth=0.5/digits", "%"),
            Figure("The same models in random words, 8,192 tokens", "not trained on them; chance is 10 %",
                   "runs/*/cells/kind=random words&depth=0.5/digits", "%"),
        ]),
        Run("train hybrid", "half an hour", shipped("hybrid"), [
            Figure("Recall at 768 tokens, four layers of the gated delta rule",
                   "trained on 96 tokens, 250 steps; chance is 3.1 %", "runs/kind=states/found/tokens=768/recall", "%"),
            Figure("The same, the first layer full, without positions", "the same training",
                   "runs/kind=full-first/found/tokens=768/recall", "%"),
            Figure("The same, the last layer full in its place", "the same training",
                   "runs/kind=full-last/found/tokens=768/recall", "%"),
            Figure("Loss on a word at 768 tokens, all layers full and rotated", "no model can go below 1.11",
                   "runs/kind=full-rope/found/tokens=768/word_loss", "nats"),
            Figure("The same, all layers full, without positions", "the same texts",
                   "runs/kind=full-nope/found/tokens=768/word_loss", "nats"),
            Figure("The same, the first layer full, the others states", "the same texts",
                   "runs/kind=full-first/found/tokens=768/word_loss", "nats"),
        ]),
        Run("train hybrid", "half an hour", shipped("hybrid-*"), [
            Figure("Training one of them", "processor time, seed 0, 250 steps", "result/cpu_seconds", "s"),
        ]),
        Run("gated capacity", "half a minute", kept("gated_capacity"), [
            Figure("Pairs given back by a sum, 64 of them", "random keys, one matrix of 64², nearest of 100 values",
                   "rows/d=64&rule=addition/right/pairs=64/seeds/*", "%"),
            Figure("The same, corrected, one pass", "the delta rule",
                   "rows/d=64&rule=delta, 1 pass/right/pairs=64/seeds/*", "%"),
            Figure("The same, corrected, 30 passes", "the delta rule",
                   "rows/d=64&rule=delta, 30 passes/right/pairs=64/seeds/*", "%"),
            Figure("By a sum, 128 of them", "the same matrix", "rows/d=64&rule=addition/right/pairs=128/seeds/*", "%"),
            Figure("Corrected, 30 passes, 128 of them", "the same matrix",
                   "rows/d=64&rule=delta, 30 passes/right/pairs=128/seeds/*", "%"),
        ]),
    ],
    "deepseek_sparse_attention": [
        Run("train sparse", "five minutes", shipped("sparse"), [
            Figure("Recall of the dense model", "2 layers, 96 tokens, seed 0",
                   "stages/stage=dense/readings/selector=all/recall", "%"),
            Figure("Recall with 8 keys chosen by the indexer", "after warm-up and sparse stage",
                   "stages/stage=sparse/readings/selector=indexer&top_k=8&tokens=96/recall", "%"),
        ]),
        Run("train sparse", "five minutes", shipped("sparse-*"), [
            Figure("Training a stage", "processor time: dense, warm-up, sparse", "result/cpu_seconds", "s"),
        ]),
        Run("sparse seed-0 seed-1 seed-2", "ten minutes", kept("sparse"), [
            Figure("Attention mass on 8 chosen keys, of what the best 8 hold", "two layers, three seeds",
                   "seed-*/runs/stage=sparse/readings/selector=indexer&top_k=8&tokens=96/mass/of_best/*", "%"),
            Figure("Recall with the last 8 keys in their place", "the same models",
                   "seed-*/runs/stage=sparse/readings/selector=window&top_k=8&tokens=96/recall", "%"),
            Figure("Recall with 8 random keys", "the same models",
                   "seed-*/runs/stage=sparse/readings/selector=random&top_k=8&tokens=96/recall", "%"),
            Figure("Recall with 8 keys by Quest's bound of a page", "the same models",
                   "seed-*/runs/stage=sparse/readings/selector=Quest&top_k=8&tokens=96/recall", "%"),
            Figure("Recall with rotations in the wrong pairs, 24 tokens",
                   "interleaved layout in the indexer alone, k = 8, three seeds",
                   "seed-*/layouts/index.layout=interleaved&tokens=24/recall", "%",
                   "100 on RULER's niah_multikey_3 at 4K and 8K (sglang pull request 13439)"),
            Figure("The same at 96 tokens", "the longest that they were trained on",
                   "seed-*/layouts/index.layout=interleaved&tokens=96/recall", "%", "87.5 at 16K (the same)"),
            Figure("Keys chosen alike with index scores from FP8 inputs", "e4m3, two layers, three seeds",
                   "seed-*/few_bits/index.precision=e4m3/same_keys/*", "%"),
        ]),
        Run("sparse fewer_keys", "a minute", kept("sparse"), [
            Figure("Loss on 24 tokens with rotations in the wrong pairs, one key chosen", "the shipped weights",
                   "fewer_keys/rows/top_k=1/loss/interleaved", "nats"),
            Figure("The same in the right pairs", "the shipped weights",
                   "fewer_keys/rows/top_k=1/loss/half-split", "nats"),
        ]),
        Run("sparse growth", "a minute", kept("sparse"), [
            Figure("Exponent of attention's time in N", "64 of N keys chosen, 2,048 to 16,384 tokens",
                   "growth/exponents/attention seconds", "exponent"),
            Figure("Exponent of the indexer's time", "the same lengths", "growth/exponents/indexer seconds",
                   "exponent"),
        ]),
        Run("sparse bytes", "a few minutes", kept("sparse"), [
            Figure("Exponent of the bytes that chosen attention asks for", "16 keys chosen, 64 to 512 tokens",
                   "bytes/exponents/attention", "exponent"),
            Figure("Exponent of the indexer's bytes", "the same lengths", "bytes/exponents/indexer", "exponent"),
        ]),
        Run("sparse decode", "two minutes", kept("sparse"), [
            Figure("Decoding at 131,072 tokens, dense over sparse", "256 keys chosen, one thread of a CPU",
                   "decode/rows/context=131072/speed_up", "times",
                   "8.65 in cost on H800 at k = 2,048 (DeepSeek-V3.2-Exp report, figure 3, read from its corners)"),
            Figure("What a count of operations predicts", "256 keys chosen",
                   "decode/rows/context=131072/predicted_by_flops", "times"),
            Figure("Sparse is cheaper from", "256 keys chosen", "decode/faster_from/speed_up", "tokens",
                   "4,871 tokens (the same figure)"),
        ]),
        Run("sparse gpu", "needs a GPU", kept("sparse"), [
            Figure("The three kernels against dense attention, decoding", "DeepSeek's head sizes, 131,072 tokens",
                   "gpu/rows/phase=decode&context=131072/speed_up", "times", "8.65 in cost (the same figure)"),
            Figure("The same, prefill", "the last 1,024 of 131,072 tokens",
                   "gpu/rows/phase=prefill&context=131072/speed_up", "times", "3.56 in cost (the same figure)"),
        ], needs_gpu=True),
        Run("together", "twenty minutes", kept("together"), [
            Figure("Recall beyond the reach of all windows, 24 keys chosen",
                   "6 layers, 96 tokens; chance is 3.1 %",
                   "runs/name=chosen/recall_in_window_in_reach_beyond/2", "%"),
            Figure("The same, Infini-attention", "segments of 8, 650 steps",
                   "runs/name=Infini/recall_in_window_in_reach_beyond/2", "%"),
            Figure("What the first keeps at 4,096 tokens", "keys, values and index keys",
                   "runs/name=chosen/state_bytes/4096", "MiB"),
            Figure("What the second keeps", "at any length", "runs/name=Infini/state_bytes/4096", "KiB"),
        ]),
    ],
    "from_2k_to_128k": [
        Run("train positions", "three quarters of an hour", shipped("positions"), [
            Figure("Loss inside the trained length", "positions up to 128 of 1,024, copying from up to 31 back",
                   "runs/rule=none&steps=0/loss_by_position/0", "nats"),
            Figure("Loss beyond it, positions left alone", "positions 512 to 1,024, three seeds; chance is 3.47 nats",
                   "runs/rule=none&steps=0/loss_by_position/4", "nats",
                   "LLaMA 7B, 2,048 tokens: perplexity 7.20 there, above 1,000 at 8,192 (Chen et al. 2023)"),
            Figure("The same, position interpolation", "factor 8, no training",
                   "runs/rule=linear&steps=0/loss_by_position/4", "nats",
                   "perplexity 16.1 at 8,192, 6.95 after training (Chen et al. 2023)"),
            Figure("The same, NTK-aware", "factor 8, no training", "runs/rule=ntk&steps=0/loss_by_position/4", "nats",
                   "perplexity at 10,240, factor 2: PI 8.07, NTK 6.24, YaRN 6.04 (Peng et al. 2023, table 1)"),
            Figure("The same, base raised 50 times", "no training", "runs/rule=abf&steps=0/loss_by_position/4", "nats"),
            Figure("The same, by parts with β = 1", "divides just the pairs that never turned; factor 8, no training",
                   "runs/rule=turns 1&steps=0/loss_by_position/4", "nats"),
            Figure("The same, β = 4", "factor 8, no training", "runs/rule=turns 4&steps=0/loss_by_position/4", "nats"),
            Figure("The same, the published β = 32", "at 128 tokens no pair turns 32 times",
                   "runs/rule=turns 32&steps=0/loss_by_position/4", "nats"),
            Figure("The same, β = 32 over the index", "the ramp of YaRN's released code",
                   "runs/rule=index 32&steps=0/loss_by_position/4", "nats"),
            Figure("By parts with β = 1 at 4,096 tokens", "positions 2,048 to 4,096, factor 32, no training",
                   "long/rule=turns 1/loss_by_position/4", "nats"),
            Figure("The same, with YaRN's temperature", "factor 32, no training",
                   "long/rule=yarn turns 1/loss_by_position/4", "nats"),
            Figure("Positions left alone, after 10 steps at 1,024", "batch 2",
                   "runs/rule=none&steps=10/loss_by_position/4", "nats",
                   "usable window 2,560 of 8,192 after 10,000 steps, from 2,048 (Chen et al. 2023); ours "
                   "never needs a far token"),
            Figure("By parts with β = 1, after 10 steps", "batch 2",
                   "runs/rule=turns 1&steps=10/loss_by_position/4", "nats"),
            Figure("Position interpolation, after 100 steps", "batch 2; copying needs exact neighbours, which it blurs",
                   "runs/rule=linear&steps=100/loss_by_position/4", "nats"),
            Figure("NTK-aware, after 100 steps", "batch 2", "runs/rule=ntk&steps=100/loss_by_position/4", "nats"),
            Figure("Recall from 600 tokens back after 150 steps, positions left alone",
                   "lags that the old length did not hold", "far/rule=none/curve/steps=150/recall_by_lag/5", "%"),
            Figure("The same, by parts with β = 1", "three seeds",
                   "far/rule=turns 1/curve/steps=150/recall_by_lag/5", "%"),
            Figure("Training the model", "400 steps, processor time, three seeds", "models/*/cpu_seconds", "s"),
        ]),
        Run("train positions-passkey", "three minutes", shipped("positions-passkey"), [
            Figure("Digits found with a full cache at twice the trained length, key at the start",
                   "512 trained, 100 prompts, positions left alone", "rows/rule=none/digits/0", "%"),
            Figure("The same, by parts with β = 1", "factor 2, no training", "rows/rule=turns 1/digits/0", "%"),
            Figure("The same, YaRN as released", "factor 2, no training", "rows/rule=yarn index 32/digits/0", "%"),
        ]),
        Run("lesson from_2k_to_128k", "two minutes", said("from_2k_to_128k"), [
            Figure("Positions below 131,072 that bfloat16 tells apart", "angles in half precision",
                   "figures/positions that bfloat16 tells apart", "positions"),
            Figure("Bytes that 4 processes send in a ring, forward",
                   "50 rows in uneven parts; outputs and gradients equal the whole's",
                   "figures/bytes sent forward, 4 processes", "B"),
            Figure("What the formula says", "the same ring", "figures/the same by the formula", "B"),
            Figure("Pairs of the slowest of 16 ranks, in order", "against the mean of all ranks, causal",
                   "figures/slowest of 16 ranks, in order", "times"),
            Figure("The same in zig-zag", "the cut that Llama 3 uses",
                   "figures/slowest of 16 ranks, zig-zag", "times"),
            Figure("Error of the scores, keys in 2 bits by token", "of the scores' own spread",
                   "figures/error in 2 bits, by token", "of 1"),
            Figure("The same by channel", "of the scores' own spread",
                   "figures/error in 2 bits, by channel", "of 1",
                   "keys by channel, values by token, 2 bits: 2.6 times less peak memory (Liu et al. 2024; second "
                   "hand)"),
            Figure("Digits found with a full cache at twice the trained length", "512 trained, key in the middle",
                   "figures/digits, full cache, 1,024 tokens", "%"),
            Figure("Digits found of one of two keys", "Infini-attention, 512 tokens, trained on one, unlabelled",
                   "figures/digits of one of two keys, Infini-attention", "%"),
        ]),
    ],
}
# fmt: on


# --- reading ---


@cache
def document(path: Path) -> Any:
    """What a result file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def values(held: Any, path: str) -> list[float]:
    """What stands at the end of a path, one value or several.

    `path`: keys and indices divided by "/", where "*" stands for any letters of a key, and "key=value&inner.key=value"
    for every one of a list that has these. Raises ValueError naming the part that leads nowhere.
    """
    here = [held]
    for part in path.split("/"):
        here = [each for one in here for each in step(one, part)]
        if not here:
            raise ValueError(f"{path!r} leads nowhere at {part!r}; say where the figure stands now")
    return here


def step(held: Any, part: str) -> list:
    """What one part of a path takes."""
    if isinstance(held, dict):
        return [each for key, each in held.items() if fnmatchcase(key, part)]
    if part == "*":
        return held
    if "=" not in part:
        return held[int(part) :][:1]
    wanted = [condition.partition("=")[::2] for condition in part.split("&")]
    return [each for each in held if all(str(inner(each, key)) == value for key, value in wanted)]


def inner(held: dict, dotted: str) -> Any:
    for key in dotted.split("."):
        held = held.get(key, {})
    return held


def files(run: Run) -> list[Path]:
    """The files that a run wrote, as far as they are there."""
    return sorted(ROOT.glob(run.file))


def measured(run: Run, figure: Figure) -> str:
    """A figure as the page shows it: its value, or the least and the largest of several."""
    try:
        found = [value for path in files(run) for value in values(document(path), figure.path)]
    except ValueError:
        if not run.needs_gpu:
            raise
        found = []
    if not found:
        return NOT_YET
    size, form = UNITS[figure.unit]
    least, largest = (form.format(value / size) for value in (min(found), max(found)))
    return largest if least == largest else f"{least.split(' ')[0]} to {largest}"


def circumstances(run: Run) -> str:
    """When a run was, on what and with which version of torch, as its file tells it."""
    if NOT_YET in {measured(run, figure) for figure in run.figures}:
        return NOT_YET
    if run.command.startswith("lesson "):
        return "as the lesson prints it"
    told = document(files(run)[0])
    part = step(told, run.figures[0].path.split("/")[0])[0]
    made = told.get("provenance") or told.get("machine") or part["provenance"]
    date = made.get("date") or part["date"]
    device = made.get("device") or made.get("machine") or f"{made['processor']}, {made['cores']} cores"
    return f"measured {date}, {device}, torch {made.get('torch') or made['versions']['torch']}"


# --- the page, the list, the command ---

INTRODUCTION = f"""# What we measured

Every measured figure of the course, read from the file that its run wrote. Where others have published a figure on the
same question it stands beside ours with its source; the two come from different models and machines, so compare
directions, not digits. Several seeds or places are given as the least and the largest.

`python3 course.py measure` lists the commands, and with one of them measures again. Counts come out the same
everywhere. Times are of one thread of the machine that is named, and the durations given for the commands are about
what it took there. What needs a GPU and has not met one says: {NOT_YET}."""


def page() -> str:
    """The page "What we measured", in Markdown, with references by name."""
    lines = [INTRODUCTION]
    for name, runs in LESSONS.items():
        lines += [f"## {{Lesson}}`{name}`", f"[{{title}}`{name}`](lesson:{name})"]
        for command, group in groupby(runs, lambda run: run.command):
            together = list(group)
            lines.append(f"`python3 course.py measure {command}`: {together[0].takes}; {circumstances(together[0])}.")
            rows = [("what", "setting", "measured", "published"), ("---",) * 4]
            rows += [
                (figure.what, figure.setting, f"**{measured(run, figure).replace(' ', '&nbsp;')}**", figure.published)
                for run in together
                for figure in run.figures
            ]
            columns = 4 if any(row[3] for row in rows[2:]) else 3
            lines.append("\n".join(f"| {' | '.join(row[:columns])} |" for row in rows))
    return "\n\n".join(lines) + "\n"


def listing() -> str:
    """Each command, and a line for each figure that it measures."""
    lines = ["python3 course.py measure COMMAND, where COMMAND is one of:"]
    for run in chain.from_iterable(LESSONS.values()):
        lines.append(f"\n{run.command}   ({run.takes}; {circumstances(run)})")
        lines += [f"    {figure.what}, {figure.setting}: {measured(run, figure)}" for figure in run.figures]
    return "\n".join(lines)


def program(command: str) -> list[str]:
    """What Python runs to measure again: a recipe, a lesson's printing, or a program with its parts."""
    kind, *rest = command.split()
    if kind == "train":
        return ["-m", "solutions.checkpoints", *rest]
    if kind == "lesson":
        return ["book/press.py", "--remeasure", *rest]
    return ["-m", f"widgets.measurements.{kind}", *rest]


def main(arguments: list[str]) -> int:
    if not arguments:
        print(listing())
        return 0
    command = " ".join(arguments)
    takes = {run.command: run.takes for run in chain.from_iterable(LESSONS.values())}
    if command not in takes:
        print(f"There is no measurement {command!r}. There are: {', '.join(takes)}.", file=sys.stderr)
        return 2
    print(f"{command}: {takes[command]}", flush=True)
    return subprocess.run([sys.executable, *program(command)], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
