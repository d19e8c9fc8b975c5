"""Infini-attention: exact attention inside a segment, and one matrix that remembers all segments before it.

    read    A_mem = σ(Q) M / (σ(Q) z)                 from what the segments before have written        (eq. 7)
    local   A_dot = softmax(Q Kᵀ / √d) V              inside the segment, causal                        (eq. 6)
    gate    A = sigmoid(β) A_mem + (1 - sigmoid(β)) A_dot                one β for each head            (eq. 10)
    write   M ← M + σ(K)ᵀ V,   z ← z + Σ σ(K)         after the read, for the segments to come          (eq. 8)

with σ(x) = ELU(x) + 1 (Munkhdalai, Faruqui and Gopal, 2024, arXiv 2404.07143 v2; √d is that of a head, where the paper
prints the model's). The read is an average of all values written, weighted by σ(q) · σ(k): order plays no part.

Shapes: q (..., queries, d_key), k (..., n, d_key), v (..., n, d_value), memory (..., d_key, d_value), z (..., d_key);
"..." is any leading dimensions, as a rule (batch, heads).

The state of a stream is an `InfiniState` in each layer:

    memory    (batch, kv_heads, d_key, d_value)   M, float32 (float64 in a float64 model), the sum over whole segments
    z         (batch, kv_heads, d_key)            the sum of σ(k) over the same tokens
    segments  how many segments M and z hold: the number of the segment that is being read, counted from 0
    k, v      (batch, kv_heads, live, d)          the tokens of the segment that is being read, keys not rotated; None
                                                  where a segment is just over
    tokens    how many tokens were read in all

The gates belong to the layer, not to the stream: `attention.beta` (heads,), and sigmoid(beta) is the memory's share.

The second half holds what Infini-attention is compared with, what each of them has to keep, and small experiments with
a matrix as a memory.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solutions.quadratic import attention
from solutions.shapes import counts, in_float32, refuse_not_finite, shapes
from solutions.tiny import Attention, Config, TinyTransformer

STALLS = {torch.bfloat16: 256, torch.float16: 2048}  # adding 1 again and again stops there; float32 at 16,777,216

# The memory --------------------------------------------------------------------------------------------------------


def memory_is_sound(memory: Tensor, **given) -> None:
    """Raise ValueError for what must not be kept; warn of a memory in half precision."""
    refuse_not_finite(**{name: given[name] for name in ("k", "v") if name in given})
    if memory.dtype in STALLS:
        warnings.warn(
            f"the memory is {memory.dtype}: what is added no longer counts once the sum is {STALLS[memory.dtype]:,} "
            f"times as large, after about {STALLS[memory.dtype]:,} equal tokens; keep memory and z in float32.",
            stacklevel=4,
        )


def feature(x: Tensor) -> Tensor:
    """σ(x) = ELU(x) + 1: x + 1 where x is positive, exp(x) elsewhere; positive down to x = -103 in float32.

    Not computed as ELU(x) + 1: exp(x) - 1 + 1 has lost half its digits at -9, and is exactly 0 below -17.33.
    """
    return x.relu() + x.clamp(max=0).exp()


@shapes(q="... queries d_key", memory="... d_key d_value", z="... d_key", check=memory_is_sound)
@in_float32
def retrieve(q: Tensor, memory: Tensor, z: Tensor) -> Tensor:
    """Read the memory (Infini-attention, eq. 7): the average of the values written, by how well the keys fit.

    q: (..., queries, d_key); memory: (..., d_key, d_value); z: (..., d_key)
    Returns (..., queries, d_value). Where nothing is stored yet (z = 0) the read is 0, and neither it nor its
    gradient nan; however little is stored, it is an average.
    """
    weight = feature(q)
    total = weight @ z[..., None]  # (..., queries, 1)
    return weight @ memory / total.where(total > 0, 1)


@shapes(k="... n d_key", v="... n d_value", memory="... d_key d_value", z="... d_key", check=memory_is_sound)
@in_float32
def update_linear(k: Tensor, v: Tensor, memory: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Write a segment: add every pair to what is there (Infini-attention, eq. 8, "Linear").

    k: (..., n, d_key); v: (..., n, d_value); memory: (..., d_key, d_value); z: (..., d_key)
    Returns the new memory and z, of the same shapes. The gradient passes to all four.
    """
    weight = feature(k)
    return memory + weight.mT @ v, z + weight.sum(dim=-2)


@shapes(k="... n d_key", v="... n d_value", memory="... d_key d_value", z="... d_key", check=memory_is_sound)
@in_float32
def update_delta(k: Tensor, v: Tensor, memory: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Write of each value only what the memory does not say already (Infini-attention, eq. 9, "Linear + Delta").

    Arguments and result as in `update_linear`. z counts every write all the same; an empty memory knows nothing yet.
    The gradient passes through what is read, too.
    """
    # so a pair that comes in every segment is read back as v / 2; update_gamma and update_unit mend that in two ways
    return update_linear(k, v - retrieve(k, memory, z), memory, z)


@shapes(k="... n d_key", v="... n d_value", memory="... d_key d_value", z="... d_key", check=memory_is_sound)
@in_float32
def update_gamma(k: Tensor, v: Tensor, memory: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """`update_delta` with a z that counts only what is new (Rodkin et al., 2024, arXiv 2407.04841).

    γ = 1 - σ(k) · z / |σ(k)|², cut to 0 ... 1 and outside the gradient: 1 for a key that overlaps with nothing stored,
    0 for one that is there. Arguments and result as in `update_linear`.
    """
    weight = feature(k)
    length = weight.square().sum(dim=-1, keepdim=True)  # squared; 0 below about k = -52 in float32
    stored = weight @ z[..., None] / length.where(length > 0, 1)
    new = (1 - stored).clamp(0, 1).detach()  # γ, (..., n, 1)
    memory, _ = update_delta(k, v, memory, z)
    return memory, z + (new * weight).sum(dim=-2)


def unit_feature(x: Tensor) -> Tensor:
    """SiLU, cut to length 1: the features of a memory that does without z. Shorter where all x < -28."""
    return F.normalize(F.silu(x), dim=-1)


@shapes(q="... queries d_key", memory="... d_key d_value", z="... d_key", check=memory_is_sound)
@in_float32
def retrieve_unit(q: Tensor, memory: Tensor, z: Tensor) -> Tensor:
    """Read a memory without normaliser: a product, and no average. z is not looked at. As `retrieve` otherwise."""
    return unit_feature(q) @ memory


@shapes(k="... n d_key", v="... n d_value", memory="... d_key d_value", z="... d_key", check=memory_is_sound)
@in_float32
def update_unit(k: Tensor, v: Tensor, memory: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """The delta rule without z: token after token, M ← M + φ (v - φᵀ M)ᵀ, |φ| = 1 (Schlag et al., 2021, 2102.11174).

    Whoever comes later in the segment sees the earlier writes. All at once that is a triangular system, whose solution
    is what each token really writes (Yang et al., 2024, 2406.06484). Arguments and result as in `update_linear`.
    """
    weight = unit_feature(k)
    overlap = (weight @ weight.mT).tril(-1)
    written = torch.linalg.solve_triangular(overlap, v - weight @ memory, upper=False, unitriangular=True)
    return memory + weight.mT @ written, z


RULES: dict[str, tuple[Callable, Callable]] = {
    "linear": (retrieve, update_linear),
    "delta": (retrieve, update_delta),
    "gamma": (retrieve, update_gamma),
    "unit": (retrieve_unit, update_unit),
}
"""How a memory is read and how it is written, by the name that `InfiniAttention` takes."""


@shapes(from_memory="... heads n d", local="... heads n d", beta="heads")
@in_float32
def gate(beta: Tensor, from_memory: Tensor, local: Tensor) -> Tensor:
    """Mix what the memory says with what the segment says (Infini-attention, eq. 10).

    beta: (heads,), one number for each head; from_memory, local: (..., heads, n, d)
    Returns (..., heads, n, d): the memory's share is sigmoid(beta), and 1/2 at 0.
    """
    share = torch.sigmoid(beta)[:, None, None]
    return share * from_memory + (1 - share) * local


@shapes(
    q="... heads n d",
    k="... heads n d",
    v="... heads n d_value",
    memory="... heads d d_value",
    z="... heads d",
    beta="heads",
    check=memory_is_sound,
)
@in_float32
def segment_step(
    q: Tensor, k: Tensor, v: Tensor, memory: Tensor, z: Tensor, beta: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One segment through one layer: read, attend, gate, and only then write (eq. 6 to 10, without positions).

    q, k: (..., heads, n, d); v: (..., heads, n, d_value); memory: (..., heads, d, d_value); z: (..., heads, d);
    beta: (heads,)
    Returns the output (..., heads, n, d_value), and the memory and z that the next segment finds.
    """
    from_memory = retrieve(q, memory, z)
    local = attention(q, k, v, causal=True)
    memory, z = update_linear(k, v, memory, z)
    return gate(beta, from_memory, local), memory, z


@counts("segment")
@shapes(q="... n d_key", k="... n d_key", v="... n d_value")
@in_float32
def dual_form(q: Tensor, k: Tensor, v: Tensor, segment: int) -> Tensor:
    """What `retrieve` reads in every segment, without any memory: linear attention to all earlier segments.

    q, k: (..., n, d_key); v: (..., n, d_value); segment: tokens of a segment, the last one may be shorter
    Returns (..., n, d_value); 0 in the first segment, which has nothing before it, and no nan in the gradient there. It
    makes all n² weights.
    """
    weight = feature(q) @ feature(k).mT
    number = torch.arange(q.shape[-2], device=q.device) // segment
    weight = weight * (number < number[:, None])  # a key of an earlier segment
    total = weight.sum(dim=-1, keepdim=True)
    return weight @ v / total.where(total > 0, 1)


# The layer ---------------------------------------------------------------------------------------------------------


class SegmentState:
    """What a layer keeps of a stream that goes segment by segment: k and v of the tokens that may still be looked at.

    `nbytes` is what it holds, `live` how many tokens the segment has that is being read, `segments` how many are over.
    `reset()` makes it new, for another stream.
    """

    k: Any  # both None while nothing is held
    v: Any
    of: tuple | None  # batch, device and dtype of what it reads

    def __init__(self, segment: int):
        self.segment = segment
        self.reset()

    def reset(self) -> None:
        self.k = self.v = None
        self.tokens = 0
        self.of = None

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values held, and these after them. They stay as they are here; keep what shall be kept."""
        if self.k is None:
            return k, v
        return torch.cat([self.k, k], dim=-2), torch.cat([self.v, v], dim=-2)

    def keep(self, k: Tensor | None, v: Tensor | None) -> None:
        """Hold these keys and values and no others; copied, since a view would hold the whole chunk."""
        self.k, self.v = (k, v) if k is None or v is None else (k.clone(), v.clone())

    @property
    def live(self) -> int:
        return self.tokens % self.segment

    @property
    def segments(self) -> int:
        return self.tokens // self.segment

    @property
    def nbytes(self) -> int:
        return 0 if self.k is None else self.k.nbytes + self.v.nbytes

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self.segments} segments and {self.live} tokens read, {self.nbytes:,} bytes"


class InfiniState(SegmentState):
    """What one layer of Infini-attention keeps of a stream; the shapes stand at the head of this file.

    `nbytes` is all of it, `memory_bytes` M and z alone, which never grow. `forget()` empties M and z and keeps the live
    segment: whatever is answered after it, the memory did not help.
    """

    memory: Any  # both None before the first token
    z: Any

    def reset(self) -> None:
        super().reset()
        self.memory = self.z = None

    def forget(self) -> None:
        if self.memory is not None:
            self.memory, self.z = torch.zeros_like(self.memory), torch.zeros_like(self.z)

    @property
    def memory_bytes(self) -> int:
        return 0 if self.memory is None else self.memory.nbytes + self.z.nbytes

    @property
    def nbytes(self) -> int:
        return self.memory_bytes + super().nbytes


class SegmentAttention(Attention):
    """Attention that goes segment by segment: it cuts what comes where segments end, whatever the chunks.

    Subclasses answer for a part that lies in one segment, or for several whole ones, in `look(q, k, v, state)`; there
    is always a state (so mypy is told to let `look` ask for one).
    """

    State = SegmentState

    def __init__(self, config: Config, layer: int, segment: int = 64):
        super().__init__(config, layer)
        if not config.causal:
            raise ValueError("segments are read one after the other, so causal must be True.")
        if not isinstance(segment, int) or segment < 1:
            raise ValueError(f"segment is {segment!r}; give a whole number of tokens, 1 or more.")
        self.segment = segment

    def forward(self, x: Tensor, position: Tensor, cache=None) -> Tensor:
        state = self.new_cache() if cache is None else cache
        q, k, v = self.project(x)
        self.continues(state, k, position)
        parts = zip(*(each.split(self.cuts(state, x.shape[1]), dim=-2) for each in (q, k, v)), strict=True)
        return self.join(torch.cat([self.look(q, k, v, state) for q, k, v in parts], dim=-2))

    def cuts(self, state, n: int) -> list[int]:
        """Lengths: what ends the live segment, the whole segments after it, and what begins the next."""
        first = min(n, self.segment - state.live) if state.live else 0
        rest = (n - first) % self.segment
        return [length for length in (first, n - first - rest, rest) if length]

    def continues(self, state, k: Tensor, position: Tensor) -> None:
        """Raise ValueError unless the state is one of this layer's, and ends where the new keys begin."""
        if not isinstance(state, self.State):
            raise ValueError(f"the state is of type {type(state).__name__}; give a {self.State.__name__}.")
        if state.segment != self.segment:
            raise ValueError(
                f"the state has segments of {state.segment} tokens, this layer's have {self.segment}; "
                "give each model a stream of its own."
            )
        if not len(position):
            raise ValueError("the segment is empty; give one token or more.")
        if int(position[0]) != state.tokens:
            raise ValueError(
                f"the tokens begin at {int(position[0])}, but the state has read {state.tokens}: it is that of another "
                "stream, or of another layer. Take model.new_stream(), or call reset() first."
            )
        here = len(k), k.device, k.dtype
        if state.of is not None and state.of != here:
            given, held = (f"batch {batch}, {device}, {dtype}" for batch, device, dtype in (here, state.of))
            raise ValueError(f"the keys are of {given}, but the state is of {held}; a stream keeps what it began with.")
        state.of = here

    def turn(self, heads: Tensor, position: Tensor) -> Tensor:
        """Positions begin anew in each segment: a million tokens on, an angle still has all its digits."""
        return super().turn(heads, position % self.segment)

    def new_cache(self):
        return self.State(self.segment)

    def grouped(self, each: Tensor) -> Tensor:
        """One for each key head -> one for each query head; those of a group stand side by side."""
        return each.repeat_interleave(self.heads // self.kv_heads, dim=1)


class InfiniAttention(SegmentAttention):
    """Attention inside a segment, a memory of all before it, a gate between them: one number more for each head.

    segment: tokens of a segment; rule: how the memory is written and read, a key of RULES
    `beta` (heads,) are the gates, the memory's share before the sigmoid; they begin at 0, a share of 1/2.
    `times` (batch, segments), if it is set, says how many times each segment of a whole sequence is written: see
    `repeated`. Queries and keys meet the memory as they are projected, without rotation.
    """

    State = InfiniState

    def __init__(self, config: Config, layer: int, segment: int = 64, rule: str = "linear"):
        super().__init__(config, layer, segment)
        if rule not in RULES:
            raise ValueError(f"rule is {rule!r}; give one of {', '.join(RULES)}.")
        self.rule = rule
        self.read, self.write = RULES[rule]
        self.beta = nn.Parameter(torch.zeros(self.heads))
        self.times: Tensor | None = None

    def look(self, q: Tensor, k: Tensor, v: Tensor, state: InfiniState) -> Tensor:  # type: ignore[override]
        if state.memory is None:
            wide = torch.promote_types(k.dtype, torch.float32)
            shape = (*k.shape[:2], k.shape[-1], v.shape[-1])
            state.memory, state.z = k.new_zeros(shape, dtype=wide), k.new_zeros(shape[:-1], dtype=wide)
        look = self.part_of_a_segment if q.shape[-2] % self.segment or state.live else self.whole_segments
        from_memory, local = look(q, k, v, state)
        return gate(self.beta.to(local.dtype), from_memory.to(local.dtype), local)

    def whole_segments(self, q: Tensor, k: Tensor, v: Tensor, state: InfiniState) -> tuple[Tensor, Tensor]:
        """All whole segments at once: local attention side by side, then what each found when its turn came.

        Local attention is torch's fused one here, which takes a third of the time of ours.
        """
        q, k, v = (each.unflatten(-2, (-1, self.segment)) for each in (q, k, v))  # (batch, heads, segments, segment, d)
        position = torch.arange(self.segment, device=q.device)
        turned = self.turn(q, position), self.grouped(self.turn(k, position)), self.grouped(v)
        local = F.scaled_dot_product_attention(*(each.flatten(0, 1) for each in turned), is_causal=True)
        with wide_arithmetic(q):
            memory, z = self.written(k.to(state.memory.dtype), v.to(state.memory.dtype), state)
            from_memory = self.read(q.to(memory.dtype), self.grouped(memory), self.grouped(z))
        state.tokens += k.shape[2] * self.segment
        return from_memory.flatten(2, 3), local.unflatten(0, q.shape[:2]).flatten(2, 3)

    def part_of_a_segment(self, q: Tensor, k: Tensor, v: Tensor, state: InfiniState) -> tuple[Tensor, Tensor]:
        """Tokens that do not fill their segment: they wait in the state, and are written when it is full."""
        k, v = state.append(k, v)
        state.tokens += q.shape[-2]
        position = torch.arange(k.shape[-2], device=q.device)
        turned_q, turned_k = self.turn(q, position[-q.shape[-2] :]), self.turn(k, position)
        local = attention(turned_q, self.grouped(turned_k), self.grouped(v), causal=True)
        with wide_arithmetic(q):
            from_memory = self.read(q.to(state.memory.dtype), self.grouped(state.memory), self.grouped(state.z))
            if not state.live:
                whole_k, whole_v = (each.to(state.memory.dtype)[:, :, None] for each in (k, v))
                self.written(whole_k, whole_v, state, number=state.segments - 1)
        state.keep(*(k, v) if state.live else (None, None))
        return from_memory, local

    def written(self, k: Tensor, v: Tensor, state: InfiniState, number: int | None = None) -> tuple[Tensor, Tensor]:
        """Write whole segments, k and v (batch, kv_heads, segments, segment, d), the first of them that `number`.

        Returns what each of them found before it was written: memory and z with a dimension `segments` after the heads.
        """
        batch, heads, segments = k.shape[:3]
        times = k.new_ones(1, 1, segments, 1, 1)
        if self.times is not None:
            first = state.segments if number is None else number
            times = self.times[:, first : first + segments].to(k).view(batch, 1, segments, 1, 1)
        if self.rule == "linear":  # a sum, so that no segment waits for another
            empty = state.memory.new_zeros(batch, heads, segments, k.shape[-1], v.shape[-1])
            added, counted = self.write(k, v, empty, empty[..., 0])
            memory = torch.cat([state.memory[:, :, None], times * added], dim=2).cumsum(dim=2)
            z = torch.cat([state.z[:, :, None], times[..., 0] * counted], dim=2).cumsum(dim=2)
        else:
            held = [(state.memory, state.z)]
            for k_s, v_s, often in zip(k.unbind(2), v.unbind(2), times.unbind(2), strict=True):
                new = self.write(k_s, v_s, *held[-1])
                held.append((held[-1][0].lerp(new[0], often), held[-1][1].lerp(new[1], often[..., 0])))
            memory, z = (torch.stack(each, dim=2) for each in zip(*held, strict=True))
        state.memory, state.z = memory[:, :, -1].clone(), z[:, :, -1].clone()  # a view would hold all of them
        return memory[:, :, :-1], z[:, :, :-1]


@contextmanager
def wide_arithmetic(like: Tensor) -> Iterator[None]:
    """Sums over a million tokens stay in float32, whatever autocast makes of the rest."""
    with torch.autocast(like.device.type, enabled=False):
        yield


def infini_layers(model: TinyTransformer) -> list[InfiniAttention]:
    """The layers of a model that have a memory. Raises ValueError when there are none."""
    layers = [layer.attention for layer in model.layers if isinstance(layer.attention, InfiniAttention)]
    if not layers:
        raise ValueError(f"the layers are {model.config.layers}; give a model with infini among them.")
    return layers


def gates(model: TinyTransformer) -> Tensor:
    """The memory's share in each head, (layers, heads), from 0 to 1."""
    return torch.stack([torch.sigmoid(layer.beta.detach()) for layer in infini_layers(model)])


@contextmanager
def forced_gates(model: TinyTransformer, share: float) -> Iterator[TinyTransformer]:
    """The same model with every gate at this share, for as long as the block lasts: 0 shuts the memory off."""
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; give 0 (no memory) to 1 (nothing else).")
    layers = infini_layers(model)
    kept = [layer.beta.detach().clone() for layer in layers]
    try:
        with torch.no_grad():
            for layer in layers:
                layer.beta.copy_(torch.logit(torch.full_like(layer.beta, share)))
        yield model
    finally:
        with torch.no_grad():
            for layer, beta in zip(layers, kept, strict=True):
                layer.beta.copy_(beta)


@contextmanager
def repeated(model: TinyTransformer, times: Tensor | None) -> Iterator[TinyTransformer]:
    """Write each segment of a whole sequence as if it came several times, for as long as the block lasts.

    times: (batch, segments), how many times; None changes nothing. With the linear rule it is what the first layer's
    memory would hold if the segment stood there so often; above it is close, since what a segment writes there
    depends on what it read.
    """
    layers = infini_layers(model)
    try:
        for layer in layers:
            layer.times = times
        yield model
    finally:
        for layer in layers:
            layer.times = None


# What it is compared with ------------------------------------------------------------------------------------------
# Beside these: a window with sinks (WindowAttention) and the whole KV cache (Attention), both in solutions.tiny.


class XLAttention(SegmentAttention):
    """Transformer-XL: a segment looks at itself and at the whole segment before it (Dai et al., 2019, 1901.02860).

    No gradient goes into the cached segment. Each layer reaches one segment further back: layers * segment in all.
    Positions are rotated, counted from the start of the cached segment, where the paper has relative ones of its own.
    """

    def look(self, q: Tensor, k: Tensor, v: Tensor, state: SegmentState) -> Tensor:  # type: ignore[override]
        parts = zip(*(each.split(self.segment, dim=-2) for each in (q, k, v)), strict=True)
        return torch.cat([self.part_of_a_segment(q, k, v, state) for q, k, v in parts], dim=-2)

    def part_of_a_segment(self, q: Tensor, k: Tensor, v: Tensor, state: SegmentState) -> Tensor:
        if not state.live and state.k is not None:
            state.keep(*(each[..., -self.segment :, :].detach() for each in (state.k, state.v)))
        k, v = state.append(k, v)
        state.tokens += q.shape[-2]
        state.keep(k, v)
        position = torch.arange(k.shape[-2], device=k.device)
        q, k = self.turn(q, position[-q.shape[-2] :]), self.turn(k, position)
        return attention(q, self.grouped(k), self.grouped(v), causal=True)

    def turn(self, heads: Tensor, position: Tensor) -> Tensor:
        return Attention.turn(self, heads, position % (2 * self.segment))


class KNNState(SegmentState):
    """Keys and values of every token: of the live segment, and in `far` those of the segments before, which grow."""

    def reset(self) -> None:
        super().reset()
        self.far: list[tuple[Tensor, Tensor]] = []

    def everything(self) -> tuple[Tensor, Tensor]:
        """All far keys and values, (batch, kv_heads, tokens, d) each."""
        if len(self.far) > 1:
            self.far = [tuple(torch.cat(each, dim=-2) for each in zip(*self.far, strict=True))]
        return self.far[0]

    @property
    def nbytes(self) -> int:
        return super().nbytes + sum(k.nbytes + v.nbytes for k, v in self.far)


class KNNAttention(SegmentAttention):
    """Memorizing Transformers: beside the segment, the `top_k` best keys of all earlier ones (Wu et al., 2022).

    arXiv 2203.08913. Found by exact search, not rotated, mixed by the same `gate`. The paper does this in one layer,
    with an approximate search, normalised keys and no gradient into the memory; here the gradient goes through, since
    what is remembered was made by the weights that read it.
    `look_up`: False writes only, and reads nothing. In a last layer that changes no output but its own, so it spares
    the search where nothing is asked.
    """

    State = KNNState

    def __init__(self, config: Config, layer: int, segment: int = 64, top_k: int = 32):
        super().__init__(config, layer, segment)
        if not isinstance(top_k, int) or top_k < 1:
            raise ValueError(f"top_k is {top_k!r}; give a whole number of keys, 1 or more.")
        self.top_k = top_k
        self.beta = nn.Parameter(torch.zeros(self.heads))
        self.look_up = True

    def look(self, q: Tensor, k: Tensor, v: Tensor, state: KNNState) -> Tensor:  # type: ignore[override]
        parts = zip(*(each.split(self.segment, dim=-2) for each in (q, k, v)), strict=True)
        return torch.cat([self.part_of_a_segment(q, k, v, state) for q, k, v in parts], dim=-2)

    def part_of_a_segment(self, q: Tensor, k: Tensor, v: Tensor, state: KNNState) -> Tensor:
        from_memory = self.nearest(q, *state.everything()) if state.far and self.look_up else torch.zeros_like(q)
        k, v = state.append(k, v)
        state.tokens += q.shape[-2]
        if state.live:
            state.keep(k, v)
        else:
            state.far.append((k.clone(), v.clone()))
            state.keep(None, None)
        position = torch.arange(k.shape[-2], device=k.device)
        q, k = self.turn(q, position[-q.shape[-2] :]), self.turn(k, position)
        return gate(self.beta, from_memory, attention(q, self.grouped(k), self.grouped(v), causal=True))

    @in_float32
    def nearest(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention to the top_k keys of each query: (batch, heads, n, d)."""
        k, v = self.grouped(k), self.grouped(v)
        scores = q @ k.mT / k.shape[-1] ** 0.5
        score, place = scores.topk(min(self.top_k, k.shape[-2]), dim=-1)
        return torch.zeros_like(scores).scatter(-1, place, score.softmax(dim=-1)) @ v


# What each has to keep: table 1 of the paper, in numbers, not bytes ---------------------------------------------------


@counts("layers", "heads", "d_key", "d_value")
def infini_floats(layers: int, heads: int, d_key: int, d_value: int) -> int:
    """Infini-attention: M and z for each head of each layer, however long the text. With grouped heads, the key heads.

    The paper's model, 12 layers of 8 heads of 128, holds 1,585,152: its "1.6M" are numbers of state, not weights.
    """
    return layers * heads * d_key * (d_value + 1)


@counts("segment", "layers", "heads", "d_key", "d_value")
def transformer_xl_floats(segment: int, layers: int, heads: int, d_key: int, d_value: int) -> int:
    """Transformer-XL: keys and values of the last segment, in every layer. It reaches segment * layers tokens back."""
    return layers * heads * segment * (d_key + d_value)


@counts("segment", "compressive", "layers", "width")
def compressive_floats(segment: int, compressive: int, layers: int, width: int) -> int:
    """Compressive Transformer: the last segment and `compressive` squeezed states, each as wide as the model."""
    return layers * width * (compressive + segment)


@counts("segment", "segments", "heads", "d_key", "d_value")
def memorizing_floats(segment: int, segments: int, heads: int, d_key: int, d_value: int) -> int:
    """Memorizing Transformers: keys and values of everything, in one layer."""
    return heads * segment * segments * (d_key + d_value)


@counts("layers", "width", "prompts")
def rmt_floats(layers: int, width: int, prompts: int) -> int:
    """RMT: `prompts` summary vectors in and out of every layer."""
    return 2 * layers * width * prompts


@counts("layers", "width", "prompts", "steps")
def autocompressor_floats(layers: int, width: int, prompts: int, steps: int) -> int:
    """AutoCompressors: the summary vectors of `steps` segments and those of this one."""
    return layers * width * prompts * (steps + 1)


@counts("tokens", "layers", "heads", "d_key", "d_value")
def kv_cache_floats(tokens: int, layers: int, heads: int, d_key: int, d_value: int) -> int:
    """The whole KV cache; with tokens = sinks + window, that of StreamingLLM. Not in the paper's table."""
    return layers * heads * tokens * (d_key + d_value)


@counts("d_key", "d_value")
def break_even_tokens(d_key: int, d_value: int) -> float:
    """How many tokens of a KV cache are as large as M and z: beyond, the memory is the smaller. 64.5 at 128."""
    return d_key * (d_value + 1) / (d_key + d_value)


# Experiments with a matrix as a memory -----------------------------------------------------------------------------


@shapes(q="d_key", needle="d_key", filler="n d_key")
@in_float32
def needle_share(q: Tensor, needle: Tensor, filler: Tensor, tokens: int) -> Tensor:
    """How much of a read is the needle's value, when the memory holds it once and `tokens` tokens of filler.

    q: (d_key,), the query; needle: (d_key,), its key; filler: (n, d_key), the keys that the rest repeats in equal parts
    Returns a number from 0 to 1, as a tensor or a float: a / (a + tokens * b), where a and b are σ(q) · σ(key) of the
    needle and, on average, of the filler. Half is left after a / b tokens.
    """
    a = feature(q) @ feature(needle)
    b = (feature(filler) @ feature(q)).mean()
    return a / (a + tokens * b)


@counts("steps")
def gate_range(steps: int, learning_rate: float) -> tuple[float, float]:
    """Between which shares a gate that begins at 1/2 can be after so many steps of Adam.

    Adam moves a number by at most about its learning rate a step, however large the gradient.
    Returns (lowest, highest).
    """
    farthest = torch.tensor(steps * learning_rate, dtype=torch.float64)
    return torch.sigmoid(-farthest).item(), torch.sigmoid(farthest).item()


def dpfp(x: Tensor, shifts: int = 3) -> Tensor:
    """Products of neighbours among the positive and negative parts, 2 d shifts of them (Schlag et al., 2021)."""
    parts = torch.cat([x.relu(), (-x).relu()], dim=-1)
    return torch.cat([parts * parts.roll(shift, dims=-1) for shift in range(1, shifts + 1)], dim=-1)


FEATURES: dict[str, Callable[[Tensor], Tensor]] = {
    "unit keys": lambda x: F.normalize(x, dim=-1),
    "ELU + 1": feature,
    "ReLU": F.relu,
    "SiLU, length 1": unit_feature,
    "DPFP-3": dpfp,
}


@counts("pairs", "d", "candidates", "trials")
def capacity(
    pairs: int, d: int = 64, features: str = "unit keys", *, delta: bool = False, candidates: int = 100,
    trials: int = 12, seed: int = 0,
) -> float:  # fmt: skip
    """The share of `pairs` random pairs that one (features, d) matrix gives back, told among `candidates` values.

    Keys and values are normal; a read counts as right when the value that fits it best is the one written with its key.
    features: a key of FEATURES; delta: write pair after pair what is not there yet, instead of adding all up
    """
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(trials, pairs, d, generator=generator)
    values = F.normalize(torch.randn(trials, candidates, d, generator=generator), dim=-1)
    chosen = torch.randint(candidates, (trials, pairs), generator=generator)
    weight = F.normalize(FEATURES[features](keys), dim=-1)  # a length, which no best fit depends on
    written = values.gather(1, chosen[..., None].expand(-1, -1, d))
    if delta:
        overlap = (weight @ weight.mT).tril(-1)
        written = torch.linalg.solve_triangular(overlap, written, upper=False, unitriangular=True)
    told = weight @ (weight.mT @ written) @ values.mT
    return (told.argmax(dim=-1) == chosen).float().mean().item()


@counts("segments")
def read_backs(rule: str, segments: int) -> list[tuple[float, float]]:
    """The same pair once in each segment: after each, what is read back as a share of v, and |M| against the first.

    rule: a key of RULES. Exact in float64: a share of 1 is what was written.
    """
    read, write = RULES[rule]
    generator = torch.Generator().manual_seed(0)
    k, v = torch.randn(2, 1, 8, generator=generator, dtype=torch.float64)
    memory, z = torch.zeros(8, 8, dtype=torch.float64), torch.zeros(8, dtype=torch.float64)
    found = []
    for _ in range(segments):
        memory, z = write(k, v, memory, z)
        found.append(((read(k, memory, z) @ v.mT / (v @ v.mT)).item(), memory.norm().item()))
    return [(share, norm / found[0][1]) for share, norm in found]


def additions_until_stall(dtype: torch.dtype) -> int:
    """How often 1 can be added, one at a time, before a sum in this dtype stands still: 256 in bfloat16.

    Raises ValueError for a dtype in which that takes too long to try: float32 stops at 2²⁴ = 16,777,216.
    """
    if dtype not in STALLS:
        raise ValueError(f"dtype is {dtype}; give torch.bfloat16 or torch.float16.")
    total, added = torch.zeros((), dtype=dtype), 0
    while total + 1 != total:
        total, added = total + 1, added + 1
    return added
