"""What sparse attention costs at DeepSeek's sizes: operations, bytes, and the cost figure that they published."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from solutions.shapes import counts, shapes

# What it costs at DeepSeek's sizes --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sizes:
    """The sizes of DeepSeek-V3.2-Exp that set what its attention costs (inference demo, config_671B_v3.2.json)."""

    layers: int = 61
    heads: int = 128
    latent: int = 512  # the entry of a token in the cache, shared by all heads
    rope: int = 64  # and its part that knows the position
    nope: int = 128  # of a key that a head has unpacked from the latent
    value: int = 128
    index_heads: int = 64
    index_dim: int = 128
    top_k: int = 2048

    @property
    def absorbed(self) -> int:
        """FLOPs of one (query, key) pair, all heads, one layer, where heads work on the latent itself: decode."""
        return 2 * self.heads * (self.latent + self.rope + self.latent)

    @property
    def expanded(self) -> int:
        """The same where every head has its own key and value: prefill."""
        return 2 * self.heads * (self.nope + self.rope + self.value)

    @property
    def indexer(self) -> int:
        """FLOPs of one pair in the indexer, one layer."""
        return 2 * self.index_heads * self.index_dim

    @property
    def dense(self) -> dict[str, int]:
        """FLOPs of one pair where all are computed, by phase."""
        return {"prefill": self.expanded, "decode": self.absorbed}


V32 = Sizes()
PHASES = ("prefill", "decode")


def phase_is_known(phase: str, **_) -> None:
    """Raise ValueError unless the phase is prefill or decode."""
    if phase not in PHASES:
        raise ValueError(f'phase is {phase!r}; give "prefill" or "decode".')


@counts("position")
@shapes(check=phase_is_known)
def dense_flops(position: int, phase: str, sizes: Sizes = V32) -> int:
    """FLOPs of dense attention for the token at a position, one layer: as many pairs as there are tokens."""
    return position * sizes.dense[phase]


@counts("position")
def core_flops(position: int, sizes: Sizes = V32) -> int:
    """FLOPs of the attention to the chosen keys for the token at a position, one layer; no more from top_k on."""
    return min(position, sizes.top_k) * sizes.absorbed


@counts("position", "index_every")
def indexer_flops(position: int, sizes: Sizes = V32, index_every: int = 1) -> float:
    """FLOPs of the indexer for the token at a position, mean of all layers, where every index_every-th layer has one.

    The others take the choice of the layer before (IndexCache, arXiv 2603.12201, which keeps every fourth).
    """
    return position * sizes.indexer / index_every


@counts("position")
@shapes(check=phase_is_known)
def sparse_flops(position: int, phase: str, sizes: Sizes = V32) -> float:
    """FLOPs of sparse attention for the token at a position, one layer: the chosen keys, and the indexer.

    A short prefill computes all scores in expanded heads and masks them, which is cheaper until `prefill_bend`.
    """
    core = core_flops(position, sizes)
    if phase == "prefill":
        core = min(core, position * sizes.expanded)
    return core + indexer_flops(position, sizes)


@counts("position")
def indexer_share(position: int, sizes: Sizes = V32) -> float:
    """The indexer's share of what sparse attention computes for the token at a position."""
    indexer = indexer_flops(position, sizes)
    return indexer / (core_flops(position, sizes) + indexer)


@counts("position")
@shapes(check=phase_is_known)
def flops_saving(position: int, phase: str, sizes: Sizes = V32) -> float:
    """How many times fewer FLOPs sparse attention takes than dense, at a position, computing on the chosen keys."""
    return dense_flops(position, phase, sizes) / (core_flops(position, sizes) + indexer_flops(position, sizes))


@shapes(check=phase_is_known)
def saving_limit(phase: str, sizes: Sizes = V32) -> float:
    """What `flops_saving` tends to as the context grows: one pair of the attention over one of the indexer."""
    return sizes.dense[phase] / sizes.indexer


@shapes(check=phase_is_known)
def flops_crossover(phase: str, sizes: Sizes = V32) -> float:
    """The position from which sparse attention takes fewer FLOPs than dense, whole or not.

    sizes: of a model whose dense pair costs more than the indexer's (else there is no such position), and at most as
    much as an absorbed pair and the indexer's (else sparse attention takes fewer from the first key on)
    """
    return sizes.top_k * sizes.absorbed / (sizes.dense[phase] - sizes.indexer)


def indexer_equals_core(sizes: Sizes = V32) -> float:
    """The position from which the indexer takes more FLOPs than the attention to the chosen keys."""
    return sizes.top_k * sizes.absorbed / sizes.indexer


def prefill_bend(sizes: Sizes = V32) -> float:
    """The position up to which a prefill computes all scores and masks them: to gather top_k keys costs more."""
    return sizes.top_k * sizes.absorbed / sizes.expanded


LATENT_BYTES = {"bf16": (512 + 64) * 2, "fp8": 512 + 4 * 4 + 64 * 2}  # FlashMLA: fp8 has 4 scales, and a bf16 rope part
INDEX_KEY_BYTES = 128 + 4  # e4m3, and a scale in fp32


@counts("tokens", "layers")
def latent_cache_bytes(tokens: int, kind: str = "fp8", layers: int = V32.layers) -> int:
    """Bytes of the attention's own cache, in bf16 or as FlashMLA keeps it in fp8: dense and sparse alike."""
    return tokens * layers * LATENT_BYTES[kind]


@counts("tokens", "layers")
def index_cache_bytes(tokens: int, layers: int = V32.layers) -> int:
    """Bytes that sparse attention adds to the cache: a key of the indexer for every token and layer, no head axis."""
    return tokens * layers * INDEX_KEY_BYTES


@counts("tokens")
def decode_read_bytes(tokens: int, sizes: Sizes = V32) -> tuple[int, int]:
    """Bytes that one decoded token reads from an fp8 cache of that many tokens, one layer: dense, and sparse."""
    dense = tokens * LATENT_BYTES["fp8"]
    return dense, min(tokens, sizes.top_k) * LATENT_BYTES["fp8"] + tokens * INDEX_KEY_BYTES


# The published cost figure ----------------------------------------------------------------------------------------

V31, V32_EXP = "V3.1-Terminus", "V3.2-Exp"
FIGURE = {  # technical report, figure 3: USD per million tokens at a position; corners of the paths in the PDF
    ("prefill", V31): ((0, 0.05287), (131_071, 0.66577)),
    ("prefill", V32_EXP): ((0, 0.06111), (6_747, 0.09992), (131_071, 0.18712)),
    ("decode", V31): ((0, 0.07050), (131_071, 2.15434)),
    ("decode", V32_EXP): ((0, 0.09519), (2_105, 0.14572), (104_046, 0.22744), (131_071, 0.24910)),
}
CLAIM = 2.40, 0.70  # of decoding at 128K, V3.1-Terminus and V3.2, in an article (thinkinleverage.com) on the figure
GPU_HOUR = 2.0  # USD, H800; from the figure's caption
LAST = 131_071


def position_in_figure(position: float, phase: str = "decode", model: str = V31, **_) -> None:
    """Raise ValueError unless the figure has such a curve, and it reaches there."""
    phase_is_known(phase)
    if model not in (V31, V32_EXP):
        raise ValueError(f"model is {model!r}; give {V31!r} or {V32_EXP!r}.")
    if not 0 <= position <= LAST:
        raise ValueError(f"position is {position}; the figure reaches from 0 to {LAST:,}.")


@shapes(check=position_in_figure)
def figure_cost(position: float, phase: str, model: str) -> float:
    """USD per million tokens at a position, on the figure's line."""
    vertices = FIGURE[phase, model]
    (start, low), (stop, high) = next(edge for edge in pairwise(vertices) if position <= edge[1][0])
    return low + (high - low) * (position - start) / (stop - start)


@shapes(check=position_in_figure)
def figure_mean(position: float, phase: str, model: str) -> float:
    """USD per million tokens, the mean from position 0 to that one: what a whole text costs.

    That is the area under the figure's line up to the position, over the position; at position 0 the cost there.
    """
    if position == 0:
        return figure_cost(0, phase, model)
    corners = [at for at, _ in FIGURE[phase, model] if at < position] + [position]
    area = 0.0
    for start, stop in pairwise(corners):
        area += (stop - start) * (figure_cost(start, phase, model) + figure_cost(stop, phase, model)) / 2
    return area / position


def figure_ratio(position: float, phase: str, cost: Callable = figure_cost) -> float:
    """How many times cheaper V3.2-Exp is than V3.1-Terminus: at a position, or by `figure_mean` up to it."""
    return cost(position, phase, V31) / cost(position, phase, V32_EXP)


def figure_crossover(phase: str, cost: Callable = figure_cost) -> float:
    """The position from which V3.2-Exp is cheaper in the figure: there, or by `figure_mean` up to there."""
    low, high = 1.0, float(LAST)
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if figure_ratio(middle, phase, cost) < 1 else (low, middle)
    return high


def price_per_flop(phase: str, sizes: Sizes = V32) -> float:
    """USD per million tokens that one FLOP a layer costs, from the slope of V3.1-Terminus, which is a straight line."""
    slope = (figure_cost(LAST, phase, V31) - figure_cost(0, phase, V31)) / LAST
    return slope / sizes.dense[phase]


@counts("position")
def predicted_cost(position: int, phase: str, sizes: Sizes = V32) -> float:
    """USD per million tokens of V3.2-Exp from FLOPs alone, at V3.1's price, on top of V3.2's own value at 0."""
    return figure_cost(0, phase, V32_EXP) + price_per_flop(phase, sizes) * sparse_flops(position, phase, sizes)


def variable_ratio(position: float, phase: str) -> float:
    """`figure_ratio` of what depends on the position: each curve without its own value at 0."""
    dense, sparse = (figure_cost(position, phase, model) - figure_cost(0, phase, model) for model in (V31, V32_EXP))
    return dense / sparse


def implied_rates(phase: str, sizes: Sizes = V32) -> dict[str, float]:
    """How many times dearer than a dense FLOP the figure has a FLOP of the indexer, and one on the chosen keys.

    The slope of V3.2-Exp's tail is the indexer's alone; what the tail starts from is the chosen keys'.
    """
    (start, low), (stop, high) = FIGURE[phase, V32_EXP][-2:]
    tail = (high - low) / (stop - start)
    price = price_per_flop(phase, sizes)
    core = low - tail * start - figure_cost(0, phase, V32_EXP)
    return {"indexer": tail / sizes.indexer / price, "core": core / (sizes.top_k * sizes.absorbed) / price}


def calibrated_cost(position: float, phase: str, sizes: Sizes = V32) -> float:
    """V3.2-Exp's curve from FLOPs, each kind at its own `implied_rates`: the figure again, to its last digits."""
    rates, price = implied_rates(phase, sizes), price_per_flop(phase, sizes)
    core = rates["core"] * min(position, sizes.top_k) * sizes.absorbed
    value = core + rates["indexer"] * position * sizes.indexer
    if phase == "prefill":
        (_, low), (stop, high) = FIGURE[phase, V32_EXP][:2]
        chosen = rates["core"] * sizes.top_k * sizes.absorbed + rates["indexer"] * position * sizes.indexer
        value = min((high - low) / stop * position / price, chosen)
    return figure_cost(0, phase, V32_EXP) + price * value


def implied_flops_per_second(phase: str, sizes: Sizes = V32) -> float:
    """FLOPs per second of one GPU that the slope of V3.1-Terminus stands for, at GPU_HOUR: 60 % of an H800's peak."""
    dollars_per_flop = price_per_flop(phase, sizes) / 1e6 / sizes.layers
    return GPU_HOUR / 3600 / dollars_per_flop


PARITY = (  # benchmark, V3.1-Terminus, V3.2-Exp: technical report, table 1
    ("MMLU-Pro", 85.0, 85.0), ("GPQA-Diamond", 80.7, 79.9), ("Humanity's Last Exam", 21.7, 19.8),
    ("LiveCodeBench", 74.9, 74.1), ("Codeforces-Div1", 2046, 2121), ("Aider-Polyglot", 76.1, 74.5),
    ("AIME 2025", 88.4, 89.3), ("HMMT 2025", 86.1, 83.6), ("BrowseComp", 38.5, 40.1), ("BrowseComp-zh", 45.0, 47.9),
    ("SimpleQA", 96.8, 97.1), ("SWE Verified", 68.4, 67.8), ("SWE-bench Multilingual", 57.8, 57.9),
    ("Terminal-bench", 36.7, 37.7),
)  # fmt: skip
