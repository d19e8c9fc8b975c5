"""Our attention kernels on a GPU, beside what else there is: `python -m widgets.measurements.kernels [part ...]`.

    peaks        what this GPU copies (GB/s) and multiplies (TFLOP/s, random numbers): every result is a share of these
    correctness  outputs and gradients against float64, before anything is timed
    forward      d 64 and 128, causal and full, N 512 to 131,072: TFLOP/s beside each backend of torch's
                 scaled_dot_product_attention, FlexAttention, flash-attn (FlashAttention-2) and flash_attn_interface
                 (FlashAttention-3) where installed, and naive attention
    backward     the same to 16,384
    window       windows and sinks, beside FlexAttention and flash-attn: torch's own has no window
    decode       one query against up to 131,072 keys, for several numbers of splits: GB/s
    tune         other blocks for the forward kernel and the two of the backward, as a ground to choose from

What is aimed at stands in LINES: 80 % of FlashAttention-2's kernel forward and 60 % backward. cuDNN and
FlashAttention-3, which are written for one chip, stand beside and decide nothing.

All parts when none is named; each replaces its own rows in results/kernels.json, so that a long run may be done in
pieces. --ncu also asks Nsight Compute what the kernels moved, for comparison with the closed forms: it needs `ncu` and
the right to read counters. Without CUDA it says so and ends. Times are medians of `triton.testing.do_bench`, which
clears the L2 cache before each run; clocks are left as they are.
"""

import argparse
import csv
import importlib
import io
import itertools
import json
import math
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from solutions import flash
from solutions.flash_kernels import (
    FORWARD,
    KEY_VALUE_GRADIENT,
    QUERY_GRADIENT,
    Blocks,
    attention_backward,
    attention_forward,
    flash_attention,
    flash_decode,
    multiprocessors,
    splits_for,
    standard_attention_kernels,
    target_of,
)
from solutions.interpreter import triton
from widgets.measurements import RESULTS

FILE = RESULTS / "kernels.json"
TOKENS, WIDTH = 16_384, 2048  # batch x N and heads x d of the training-like cases, as in FlashAttention's benchmarks
LENGTHS = (512, 1024, 2048, 4096, 8192, 16_384)
LONG = (32_768, 65_536, 131_072)
WINDOWS = (128, 1024, 4096)
SPLITS = (1, 2, 4, 8, 16, 32, 64)
NAIVE_LIMIT = 16 * 2**30  # bytes of scores above which naive attention isn't tried
FLASH_2 = ("flash-attn", "SDPA flash")  # the package and torch's copy of FlashAttention-2: the faster of the two
LINES = {  # the share that we aim at, and of which peers' speed; of that of copying where no peer is named
    "forward": (0.8, FLASH_2),
    "backward": (0.6, FLASH_2),
    "window": (1.0, ("FlexAttention",)),
    "decode": (0.7, ()),
}


@dataclass(frozen=True)
class Case:
    """One workload. window 0 stands for none, splits 0 for the function's own choice."""

    part: str
    batch: int
    heads: int
    kv_heads: int
    queries: int
    keys: int
    head_dim: int
    causal: bool = False
    window: int = 0
    sinks: int = 0
    splits: int = 0
    dtype: str = "float16"


# What is run, and what it should cost ----------------------------------------------------------------------------


def grid(part: str) -> list[Case]:
    """The cases of a part."""
    if part in ("forward", "backward"):
        training = [
            Case(part, TOKENS // n, WIDTH // d, WIDTH // d, n, n, d, causal)
            for d, causal, n in itertools.product((64, 128), (False, True), LENGTHS)
        ]
        long = [
            Case(part, 1, WIDTH // d, WIDTH // d, n, n, d, causal)
            for d, causal, n in itertools.product((64, 128), (False, True), LONG)
        ]
        return training + long if part == "forward" else training
    if part == "window":
        return [
            Case(part, 1, 16, 16, n, n, 128, True, window, sinks)
            for window, sinks, n in itertools.product(WINDOWS, (0, 4), (8192, 32_768, 131_072))
        ]
    if part == "decode":
        return [
            Case(part, batch, 32, 8, 1, n, 128, splits=splits)
            for batch, n, splits in itertools.product((1, 8, 64), (8192, 32_768, 131_072), (0, *SPLITS))
            if batch * n <= 2**20  # keys and values of 4 GiB at most
        ]
    raise ValueError(f"part is {part!r}; give forward, backward, window or decode.")


def pairs(case: Case) -> float:
    """Scores of one head that count. Causal is half of all, as the papers count it; a window is counted exactly."""
    if case.window:
        n, window, sinks = case.keys, min(case.window, case.keys), case.sinks
        beyond = n - window  # queries that do not see everything before them
        past_window = sum(min(sinks, i + 1) for i in range(min(beyond, sinks))) + sinks * max(0, beyond - sinks)
        return window * (window + 1) // 2 + beyond * window + past_window
    return case.queries * case.keys / (2 if case.causal else 1)


def flops(case: Case) -> float:
    """Two products forward, five backward, as the papers count them."""
    products = 5 if case.part == "backward" else 2
    return 2 * products * case.batch * case.heads * pairs(case) * case.head_dim


def moved(case: Case) -> int:
    """Bytes of keys and values: what decoding cannot do without."""
    return 2 * case.batch * case.kv_heads * case.keys * case.head_dim * 2


def predicted(case: Case, blocks: Blocks) -> dict[str, int]:
    """Bytes that the forward kernel issues, loads and stores, and the least that must move, by the closed forms."""
    of_head = flash.forward_bytes(
        case.queries,
        case.keys,
        case.head_dim,
        blocks.block_m,
        blocks.block_n,
        causal=case.causal,
        window=case.window or None,
        sinks=case.sinks,
    )
    heads, row = case.batch * case.heads, 2 * case.head_dim
    q = heads * case.queries * row
    return {
        "issued_loads": heads * sum(of_head[name] for name in "qkv"),
        "issued_stores": heads * (of_head["out"] + of_head["lse"]),
        "compulsory_loads": q + 2 * case.batch * case.kv_heads * case.keys * row,
    }


def ratios(row: dict) -> dict[str, float]:
    """Our speed as a part of each peer's that ran."""
    return {name: peer["ms"] / row["ms"] for name, peer in row["peers"].items() if "ms" in peer}


def share(row: dict, peaks: dict) -> tuple[str, float] | None:
    """Whom the line of the row's part is drawn by, and our speed as a part of theirs; None where they didn't run."""
    _, drawn_by = LINES[row["case"]["part"]]
    if not drawn_by:
        return "copying", row["gb_per_s"] / peaks["copy_gb_per_s"]
    found = {name: ratio for name, ratio in ratios(row).items() if name in drawn_by}
    name = min(found, key=found.__getitem__, default=None)
    return (name, found[name]) if name else None


def missed(row: dict, peaks: dict) -> bool:
    """True where a case that the line is meant for (4,096 tokens or more) falls short of it."""
    reached, case = share(row, peaks), case_of(row)
    if reached is None or case.keys < 4096 or (case.part == "decode" and case.splits):
        return False
    return reached[1] < LINES[case.part][0]


def case_of(row: dict) -> Case:
    return Case(**row["case"])


def table(rows: list[dict], peaks: dict) -> str:
    """One line a case, for a terminal or a README: our speed, its part of the line's peer's, and of the others'."""
    lines = ["| part | d | N | pattern | ms | TFLOP/s | of matmul | GB/s | part of | and of |", "|" + "---|" * 10]
    for row in rows:
        case, reached = case_of(row), share(row, peaks)
        pattern = "causal" if case.causal else "full"
        if case.window:
            pattern = f"window {case.window}" + (f" + {case.sinks}" if case.sinks else "")
        if case.part == "decode":
            pattern = f"batch {case.batch}, splits {case.splits or 'ours'}"
        of_peak = f"{row['tflop_per_s'] / peaks['matmul_tflop_per_s']:.2f}"
        read = f"{row['gb_per_s']:.0f}" if case.part == "decode" else "-"
        line = f"{reached[0]} {reached[1]:.2f}" if reached else "-"
        others = [f"{name} {ratio:.2f}" for name, ratio in ratios(row).items() if not reached or name != reached[0]]
        lines.append(
            f"| {case.part} | {case.head_dim} | {case.keys:,} | {pattern} | {row['ms']:.3f} | "
            f"{row['tflop_per_s']:.0f} | {of_peak} | {read} | {line} | {', '.join(others) or '-'} |"
        )
    return "\n".join(lines)


# Counters --------------------------------------------------------------------------------------------------------

METRICS = {
    "dram_read_bytes": "dram__bytes_read.sum",
    "dram_write_bytes": "dram__bytes_write.sum",
    "l2_read_sectors": "lts__t_sectors_srcunit_tex_op_read.sum",
    "l2_write_sectors": "lts__t_sectors_srcunit_tex_op_write.sum",
    "shared_bytes": "launch__shared_mem_per_block_dynamic",
    "registers": "launch__registers_per_thread",
}


def parse_ncu(text: str) -> list[dict]:
    """What `ncu --csv` printed: [{"kernel": ..., "dram__bytes_read.sum": ..., ...}], a launch each, in order.

    Other programs' lines and ncu's own (==PROF==) may stand before the table. Raises ValueError where there is none.
    """
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), None)
    if start is None:
        told = next((line for line in lines if "ERR_" in line or "==ERROR==" in line), "no table in its output")
        raise ValueError(f"ncu measured nothing: {told.strip()}")
    launches: dict[str, dict] = {}
    for row in csv.DictReader(io.StringIO("\n".join(lines[start:]))):
        launch = launches.setdefault(row["ID"], {"kernel": row["Kernel Name"]})
        with suppress(ValueError):  # "n/a" where a counter does not exist on this GPU
            launch[row["Metric Name"]] = float(row["Metric Value"].replace(",", ""))
    return list(launches.values())


def compared(counted: dict, expected: dict[str, int]) -> dict:
    """Counters beside the closed forms: issued loads against L2 sectors, and DRAM between compulsory and issued."""
    found = {name: counted[metric] for name, metric in METRICS.items() if metric in counted}
    if "l2_read_sectors" in found:
        found["l2_read_over_issued"] = 32 * found["l2_read_sectors"] / expected["issued_loads"]
    if "l2_write_sectors" in found:
        found["l2_write_over_issued"] = 32 * found["l2_write_sectors"] / expected["issued_stores"]
    if "dram_read_bytes" in found:
        found["dram_in_bounds"] = expected["compulsory_loads"] <= found["dram_read_bytes"] <= expected["issued_loads"]
    return found | expected


COUNTED = [
    Case("forward", 1, 64, 64, n, n, d, causal)
    for d, causal, n in itertools.product((64, 128), (False, True), (1024, 4096, 8192))
]


def counters() -> list[dict]:
    """Each case in a process of its own under ncu."""
    if not shutil.which("ncu"):
        print("ncu is not on the path: no counters.")
        return []
    rows: list[dict] = []
    for case in COUNTED:
        command = ["ncu", "--kernel-name", "regex:forward_kernel", "--launch-skip", "3", "--launch-count", "1"]
        command += ["--clock-control", "none", "--cache-control", "all", "--csv", "--print-units", "base"]
        command += [
            "--metrics",
            ",".join(METRICS.values()),
            sys.executable,
            __file__,
            "--once",
            json.dumps(asdict(case)),
        ]
        told = subprocess.run(command, capture_output=True, text=True)
        try:
            counted = parse_ncu(told.stdout + told.stderr)[0]
        except ValueError as refused:
            print(refused)
            return rows
        expected = predicted(case, shipped_blocks(FORWARD, case))
        rows.append({"case": asdict(case), **compared(counted, expected)})
        print(rows[-1])
    return rows


# On the GPU ------------------------------------------------------------------------------------------------------


def inputs(case: Case, grad: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator("cuda").manual_seed(case.keys + case.head_dim)
    dtype = getattr(torch, case.dtype)
    kv = case.batch, case.kv_heads, case.keys, case.head_dim
    shapes = (case.batch, case.heads, case.queries, case.head_dim), kv, kv
    drawn = (torch.randn(shape, generator=generator, device="cuda", dtype=dtype) for shape in shapes)
    return tuple(tensor.requires_grad_(grad) for tensor in drawn)


def shipped_blocks(table: dict, case: Case) -> Blocks:
    """The blocks that this GPU gets for a case."""
    return table[target_of(torch.device("cuda"))][2][case.head_dim]


def milliseconds(function: Callable) -> dict[str, float]:
    """Median, and the 20th and 80th percentile."""
    middle, low, high = triton.testing.do_bench(function, warmup=25, rep=100, quantiles=[0.5, 0.2, 0.8])
    return {"ms": middle, "ms_p20": low, "ms_p80": high}


def ours(case: Case) -> Callable:
    if case.part == "decode":
        return partial(flash_decode, splits=case.splits or None)
    return partial(flash_attention, causal=case.causal, window=case.window or None, sinks=case.sinks)


def naive(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    scores = (q @ k.mT) * q.shape[-1] ** -0.5
    if causal:
        future = torch.ones(scores.shape[-2:], device=q.device, dtype=torch.bool).triu(1)
        scores = scores.masked_fill(future, -math.inf)
    return scores.softmax(-1) @ v


def flex(case: Case) -> Callable:
    """FlexAttention, compiled, with a block mask made outside of what is timed."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    torch.compiler.reset()  # or the eighth shape would run uncompiled
    compiled = torch.compile(flex_attention, dynamic=False)
    mask = None
    if case.causal:

        def visible(batch, head, query, key):
            seen = key <= query
            return seen & ((key > query - case.window) | (key < case.sinks)) if case.window else seen

        mask = create_block_mask(visible, None, None, case.queries, case.keys, device="cuda")
    return lambda q, k, v: compiled(q, k, v, block_mask=mask, enable_gqa=case.heads != case.kv_heads)


def peers(case: Case) -> dict[str, Callable[[], Callable]]:
    """Name -> what makes the function (q, k, v) -> out; making it may fail, and then says why."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    def backend(which):
        def run(q, k, v):
            with sdpa_kernel(which):
                return scaled_dot_product_attention(
                    q, k, v, is_causal=case.causal, enable_gqa=case.heads != case.kv_heads
                )

        return lambda: run

    def package(module):
        flash_attn_func = importlib.import_module(module).flash_attn_func
        window = (case.window - 1, 0) if case.window else (-1, -1)

        def run(q, k, v):
            out = flash_attn_func(*(t.transpose(1, 2) for t in (q, k, v)), causal=case.causal, window_size=window)
            out = out[0] if isinstance(out, tuple) else out  # FlashAttention-3 may give its log-sum-exp too
            return out.transpose(1, 2)

        return run

    found: dict[str, Callable] = {"FlexAttention": lambda: flex(case)}
    if not case.sinks:
        found["flash-attn"] = lambda: package("flash_attn")
        found["FlashAttention-3"] = lambda: package("flash_attn_interface")
    if not case.window:
        for which in ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION"):
            found[f"SDPA {which.removesuffix('_ATTENTION').lower()}"] = backend(getattr(SDPBackend, which))
        if case.batch * case.heads * case.queries * case.keys * 2 <= NAIVE_LIMIT and case.heads == case.kv_heads:
            found["SDPA math"] = backend(SDPBackend.MATH)
            found["naive"] = lambda: partial(naive, causal=case.causal)
            if case.part == "forward":
                found["three kernels"] = lambda: partial(standard_attention_kernels, causal=case.causal)
    return found


def timed(case: Case, function: Callable) -> dict:
    """Milliseconds of a function on a case, and the names of the GPU's kernels that it ran."""
    grad = case.part == "backward"
    q, k, v = inputs(case, grad)
    if grad:
        out = function(q, k, v)
        grad_out = torch.randn_like(out)
        run = partial(torch.autograd.grad, out, (q, k, v), grad_out, retain_graph=True)
    else:
        run = partial(function, q, k, v)
    run()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        run()
        torch.cuda.synchronize()
    names = sorted({event.key[:120] for event in profile.key_averages()})
    extra = torch.cuda.max_memory_allocated() - before
    return {**milliseconds(run), "extra_bytes": extra, "kernels": names}


def measure(case: Case) -> dict:
    """Ours and every peer on one case; a peer that cannot do it is kept with its reason."""
    row = {"case": asdict(case), **timed(case, ours(case)), "peers": {}}
    row["tflop_per_s"] = flops(case) / row["ms"] / 1e9
    row["gb_per_s"] = moved(case) / row["ms"] / 1e6
    if case.part in ("forward", "window"):
        row["predicted"] = predicted(case, shipped_blocks(FORWARD, case))
    if case.part == "decode":
        row["splits"] = case.splits or splits_for(
            case.batch * case.kv_heads, case.keys, multiprocessors(torch.device("cuda"))
        )
    for name, make in peers(case).items() if not case.splits else ():
        try:
            row["peers"][name] = timed(case, make())
        except Exception as refused:  # another's limits, whatever they are, are a result here
            row["peers"][name] = {"not run": f"{type(refused).__name__}: {str(refused).splitlines()[0][:200]}"}
        torch.cuda.empty_cache()
    return row


def peaks() -> dict[str, float]:
    """What this GPU copies and multiplies, with random numbers: the ceilings."""
    x = torch.randn(2**29, device="cuda", dtype=torch.float16)  # 1 GiB
    y = torch.empty_like(x)
    copy = 2 * x.nbytes / milliseconds(lambda: y.copy_(x))["ms"] / 1e6
    a, b = torch.randn(2, 8192, 8192, device="cuda", dtype=torch.float16)
    matmul = 2 * 8192**3 / milliseconds(lambda: a @ b)["ms"] / 1e9
    return {"copy_gb_per_s": copy, "matmul_tflop_per_s": matmul}


def correctness() -> list[dict]:
    """The norm of the error of outputs and gradients, as a part of float64's. Raises AssertionError when too large."""
    rows: list[dict[str, Any]] = []
    windows: tuple[dict[str, Any], ...] = ({}, {"window": 100}, {"window": 100, "sinks": 4})
    patterns: list[dict[str, Any]] = [{}, *({"causal": True, **window} for window in windows)]
    shapes = ((1000, 1000, 64), (777, 1024, 128), (1, 500, 64), (300, 300, 256), (333, 333, 16))
    for dtype, limit in (("float16", 2e-3), ("bfloat16", 2e-2), ("float32", 1e-5)):
        for (queries, keys, d), pattern in itertools.product(shapes, patterns):
            case = Case("correctness", 2, 4, 2, queries, keys, d, dtype=dtype)
            q, k, v = inputs(case, grad=True)
            out = flash_attention(q, k, v, **pattern)
            grad_out = torch.randn_like(out)
            got = (out, *torch.autograd.grad(out, (q, k, v), grad_out))
            doubles = [tensor.detach().double().requires_grad_() for tensor in (q, k, v)]
            expected_out = masked(*doubles, **pattern)
            expected = (expected_out, *torch.autograd.grad(expected_out, doubles, grad_out.double()))
            errors = [((a - b).norm() / b.norm()).item() for a, b in zip(got, expected, strict=True)]
            rows.append({"case": asdict(replace(case, **pattern)), "errors": errors, "limit": limit})
            assert max(errors) < limit, rows[-1]
    print(f"correct on {len(rows)} cases, largest error {max(max(row['errors']) for row in rows):.1e}")
    return rows


def masked(q: Tensor, k: Tensor, v: Tensor, causal: bool = False, window: int = 0, sinks: int = 0) -> Tensor:
    """Attention by a mask in the dtype given, queries at the end of the keys."""
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    queries, keys = q.shape[2], k.shape[2]
    position = torch.arange(keys - queries, keys, device=q.device)[:, None]
    key = torch.arange(keys, device=q.device)
    seen = key <= position if causal else key >= 0
    if window:
        seen = seen & ((key > position - window) | (key < sinks))
    return ((q @ k.mT) * q.shape[-1] ** -0.5).masked_fill(~seen, -math.inf).softmax(-1) @ v


def tune() -> list[dict]:
    """Other blocks for each kernel, on one long case for each head dim, the other kernels' blocks as we ship them."""
    from triton.runtime.errors import OutOfResources

    rows = []
    tried = [Blocks(m, n, w, s) for m, n, w, s in itertools.product((64, 128), (32, 64, 128), (4, 8), (2, 3))]
    for kernel, d, causal in itertools.product(("forward", "key_value", "query"), (64, 128), (False, True)):
        case = Case("forward" if kernel == "forward" else "backward", 2, WIDTH // d, WIDTH // d, 8192, 8192, d, causal)
        given, pattern = inputs(case), (d**-0.5, causal, 0, 0)
        forward, *backward = (shipped_blocks(each, case) for each in (FORWARD, KEY_VALUE_GRADIENT, QUERY_GRADIENT))
        out, lse = attention_forward(*given, *pattern, forward)
        for blocks in tried:
            row: dict[str, Any] = {"kernel": kernel, "case": asdict(case), "blocks": asdict(blocks)}
            if kernel == "forward":
                run: Callable[[], object] = partial(attention_forward, *given, *pattern, blocks)
            else:
                both = (blocks, backward[1]) if kernel == "key_value" else (backward[0], blocks)
                run = partial(attention_backward, *given, out, lse, torch.ones_like(out), *pattern, *both)
            try:
                row |= milliseconds(run)
            except OutOfResources as refused:
                row["not run"] = str(refused).splitlines()[0]
            rows.append(row)
        timed = [row for row in rows if "ms" in row and (row["kernel"], row["case"]) == (kernel, asdict(case))]
        fastest = min(timed, key=lambda row: row["ms"])
        rate = flops(case) / fastest["ms"] / 1e9
        print(f"{kernel}, d {d}, {'causal' if causal else 'full'}: {fastest['blocks']}, {rate:.0f} TFLOP/s")
    return rows


def machine() -> dict:
    """Device, versions, date."""
    about = torch.cuda.get_device_properties(0)
    driver = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True
    ).stdout.strip()
    versions = {}
    for name in ("torch", "triton", "numpy", "flash-attn"):
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "device": about.name,
        "processors": about.multi_processor_count,
        "l2_bytes": getattr(about, "L2_cache_size", None),
        "memory_bytes": about.total_memory,
        "driver": driver,
        "versions": versions,
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def main() -> None:
    """Run the parts named, or all, and write what was found after each case."""
    parts = ("correctness", "forward", "backward", "window", "decode", "tune")
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(parts)}; all when none is named")
    arguments.add_argument("--ncu", action="store_true", help="also read Nsight Compute's counters")
    arguments.add_argument("--out", type=Path, default=FILE, help="where to write (%(default)s)")
    arguments.add_argument("--once", help=argparse.SUPPRESS)  # a case, for ncu: ours, four times
    given = arguments.parse_args()
    unknown = [part for part in given.parts if part not in parts]
    if unknown:
        arguments.error(f"no part {unknown[0]!r}; give {', '.join(parts)}.")
    if not torch.cuda.is_available():
        print("There is no CUDA device here, so nothing is measured: run this on a machine with an NVIDIA GPU.")
        return
    if given.once:
        case = Case(**json.loads(given.once))
        for _ in range(4):
            ours(case)(*inputs(case))
        return
    found = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    if found.get("machine", {}).get("device") not in (None, torch.cuda.get_device_name()):
        found = {}  # rows of another GPU do not stand beside these
    found |= {"machine": machine(), "peaks": peaks()}
    print(found["peaks"])

    def write() -> None:
        timed = [row for part in ("forward", "backward", "window", "decode") for row in found.get(part, [])]
        found["table"] = table(timed, found["peaks"])  # for the lesson
        given.out.parent.mkdir(exist_ok=True, parents=True)
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    for part in given.parts or parts:
        if part in ("correctness", "tune"):
            found[part] = {"correctness": correctness, "tune": tune}[part]()
        else:
            found[part] = []
            for case in grid(part):
                found[part].append(measure(case))
                print(table(found[part][-1:], found["peaks"]).splitlines()[-1], flush=True)
                write()
            short = [row for row in found[part] if missed(row, found["peaks"])]
            wanted, drawn_by = LINES[part]
            of = " or ".join(drawn_by) or "copying"
            print(f"{part}: {len(short)} of {len(found[part])} cases below {wanted} of {of}")
        write()
    if given.ncu:
        found["counters"] = counters()
        write()
    print(f"Written to {given.out}")


if __name__ == "__main__":
    main()
