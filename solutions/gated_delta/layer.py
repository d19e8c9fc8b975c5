"""The rule as a layer of `solutions.tiny`: short convolutions, unit keys, two gates, and a state of fixed size."""

import math
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solutions.accepts import GATES, accepted_is_sound, layer_is_sound
from solutions.gated_delta.chunk import chunked
from solutions.gated_delta.rule import unit
from solutions.gated_delta.undo import accept, factors
from solutions.infini import wide_arithmetic
from solutions.shapes import wide
from solutions.tiny import Attention, Config, TinyTransformer


class DeltaState:
    """What one layer keeps of a stream: as many bytes after a million tokens as after one.

    S       (batch, heads, d, d), float32 (float64 in a float64 model); None before the first token
    last    (batch, conv - 1, 3 · width), the last inputs of the convolution, zeros where no token was; None before the
            first token, and without a convolution
    tokens  how many were read

    `nbytes` is all of it, `memory_bytes` S alone. `forget()` empties both, since the inputs of a higher layer's
    convolution were made with what a lower one remembered. `reset()` makes it new, for another stream of the layer.
    `draft()` makes the tokens after it such as can be taken back: the state then also keeps what it was, and for each
    token its factors and its inputs, `receipt_bytes`. `accept(accepted)` ends that, with the first of them read.
    """

    S: Any
    last: Any
    of: tuple | None  # batch, device and dtype of what it reads
    before: tuple | None  # S, last and tokens when the draft began
    receipts: list[tuple[Tensor, ...]]

    def __init__(self, layer: "GatedDelta"):
        self.layer = weakref.ref(layer)
        self.reset()

    def reset(self) -> None:
        self.S = self.last = self.of = self.before = None
        self.tokens, self.receipts = 0, []

    def forget(self) -> None:
        self.S, self.last = (each if each is None else torch.zeros_like(each) for each in (self.S, self.last))

    def draft(self) -> None:
        if not self.tokens:
            raise ValueError("nothing was read yet; read the prompt before a draft.")
        self.before, self.receipts = (self.S, self.last, self.tokens), []

    def accept(self, accepted: int) -> None:
        if self.before is None:
            raise ValueError("nothing was drafted; call draft() before the tokens that may be refused.")
        S, last, tokens = self.before
        accepted_is_sound(accepted, self.tokens - tokens)
        if accepted:
            *pairs, inputs = zip(*self.receipts, strict=True)
            k, u, a = (torch.cat(each, dim=2) for each in pairs)
            S = accept(S, (k, u, a), accepted)
            if last is not None:
                last = torch.cat([last, *inputs], dim=1)[:, accepted : accepted + last.shape[1]].clone()
        self.S, self.last, self.tokens = S, last, tokens + accepted
        self.before, self.receipts = None, []

    @property
    def memory_bytes(self) -> int:
        return 0 if self.S is None else self.S.nbytes

    @property
    def nbytes(self) -> int:
        return self.memory_bytes + (0 if self.last is None else self.last.nbytes)

    @property
    def receipt_bytes(self) -> int:
        return sum(each.nbytes for receipt in self.receipts for each in receipt)

    def __repr__(self) -> str:
        return f"DeltaState: {self.tokens} tokens read, {self.nbytes:,} bytes"


class GatedDelta(Attention):
    """The layer of Gated DeltaNet (arXiv 2412.06464): a memory that is corrected and forgets, in place of attention.

    rule: a key of GATES; conv: tokens that the convolution sees, 1 for none; chunk: tokens read at a time, which
    changes nothing but the time and what a doubling repeats
    half_lives: between which numbers of tokens the decays begin, evenly in the logarithm: the heads', or with
    "channel" those of each head's channels
    norm, gate: whether what is read passes an RMSNorm, and whether it is multiplied by SiLU(W x). The norm makes as
    much of what a nearly empty memory says as of any other read.

    q, k and v pass a causal convolution of each channel and a SiLU (without a convolution only q and k do), then q and
    k get length 1; b = sigmoid(W x), g = -softplus(W x), per head or channel, in float32. The released code also
    divides q by √d, which the norm undoes. No positions: the order is in the state.
    `doublings` (batch, chunks), if it is set, says of each chunk of a whole sequence that the state is left as after
    2^doublings readings of it: see `powers`.
    """

    def __init__(
        self,
        config: Config,
        layer: int,
        rule: str = "gated",
        conv: int = 4,
        chunk: int = 64,
        half_lives: tuple[float, float] = (100.0, 10_000.0),
        norm: bool = True,
        gate: bool = True,
    ):
        super().__init__(config, layer)
        layer_is_sound(config, rule, conv, chunk, half_lives)
        self.rule, self.conv, self.chunk = rule, conv, chunk
        width, d = config.width, config.width // config.heads
        self.mix = nn.Conv1d(3 * width, 3 * width, conv, groups=3 * width, bias=False) if conv > 1 else None
        self.to_b = nn.Linear(width, self.heads)
        self.to_g = None
        if GATES[rule]:
            rates = math.log(2) / torch.logspace(*map(math.log10, half_lives), d if rule == "channel" else self.heads)
            self.to_g = nn.Linear(width, self.heads * d if rule == "channel" else self.heads)
            nn.init.normal_(self.to_g.weight, std=0.02)
            with torch.no_grad():  # softplus of the bias is the rate
                self.to_g.bias.copy_(rates.expm1().log().repeat(self.to_g.out_features // len(rates)))
        self.out_norm = nn.RMSNorm(d) if norm else None
        self.to_gate = nn.Linear(width, self.heads * d, bias=False) if gate else None
        self.doublings: Tensor | None = None

    def forward(self, x: Tensor, position: Tensor, cache=None) -> Tensor:
        state = self.new_cache() if cache is None else cache
        self.continues(state, x, position)
        inputs = self.inputs(x)
        q, k, v, last = self.convolved(inputs, state.last)
        g, b = self.gates(x)
        with wide_arithmetic(q):
            out, S = chunked(q, k, v, g, b, state.S, rule=self.rule, chunk=self.chunk, doublings=self.doublings)
            if state.before is not None:
                state.receipts.append((*factors(k, v, g, b, state.S, rule=self.rule), inputs))
        state.S, state.last, state.tokens, state.of = S, last, state.tokens + x.shape[1], self.kind(x)
        return self.join(self.finished(out, x))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v of a whole sequence, (batch, heads, n, d), as the rule gets them."""
        q, k, v, _ = self.convolved(self.inputs(x))
        return q, k, v

    def turn(self, heads: Tensor, position: Tensor) -> Tensor:
        return heads

    def inputs(self, x: Tensor) -> Tensor:
        """What the convolution reads, (batch, n, 3 · width): q, k and v beside each other."""
        return torch.cat([self.to_q(x), self.to_k(x), self.to_v(x)], dim=-1)

    def convolved(self, inputs: Tensor, last: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """q, k and v (batch, heads, n, d) from their inputs and those before them; and which come before the next."""
        mixed = inputs
        if self.mix is not None:
            before = inputs.new_zeros(len(inputs), self.conv - 1, inputs.shape[-1]) if last is None else last
            seen = torch.cat([before, inputs], dim=1)
            last = seen[:, -(self.conv - 1) :].clone()  # a view would hold the whole chunk
            mixed = self.mix(seen.mT).mT
        q, k, v = (each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in mixed.chunk(3, dim=-1))
        return unit(F.silu(q)), unit(F.silu(k)), v if self.mix is None else F.silu(v), last

    def gates(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """Log decay (batch, heads, n), or (batch, heads, n, d), or None; and write strength (batch, heads, n)."""
        b = wide(self.to_b(x)).sigmoid().mT
        if self.to_g is None:
            return None, b
        g = -F.softplus(wide(self.to_g(x)))
        return (g.unflatten(-1, (self.heads, -1)).transpose(1, 2) if self.rule == "channel" else g.mT), b

    def finished(self, out: Tensor, x: Tensor) -> Tensor:
        """What was read, (batch, heads, n, d), after norm and gate."""
        if self.out_norm is not None:
            out = self.out_norm(out)
        if self.to_gate is not None:
            out = out * F.silu(self.to_gate(x)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return out

    def new_cache(self) -> DeltaState:
        return DeltaState(self)

    def continues(self, state, x: Tensor, position: Tensor) -> None:
        """Raise ValueError unless the state is one of this layer's, and ends where the tokens begin."""
        if not isinstance(state, DeltaState):
            raise ValueError(f"the state is of type {type(state).__name__}; give a DeltaState, from new_cache().")
        if state.layer() is not self:
            raise ValueError("the state is that of another layer; give each model streams of its own, new_stream().")
        if not len(position):
            raise ValueError("there are no tokens; give one or more.")
        if int(position[0]) != state.tokens:
            raise ValueError(
                f"the tokens begin at {int(position[0])}, but the state has read {state.tokens}: it is that of another "
                "stream. Take model.new_stream(), or call reset() first."
            )
        if self.doublings is not None and state.tokens:
            raise ValueError("doublings count the chunks of a whole sequence; give it at once, or set them to None.")
        if state.of is not None and state.of != self.kind(x):
            given, held = (f"batch {batch}, {device}, {dtype}" for batch, device, dtype in (self.kind(x), state.of))
            raise ValueError(f"the tokens are of {given}, the state is of {held}; a stream keeps what it began with.")

    def kind(self, x: Tensor) -> tuple:
        """What a stream keeps from its first token on: batch, device and dtype."""
        return len(x), x.device, x.dtype


def delta_layers(model: TinyTransformer) -> list[GatedDelta]:
    """The layers of a model that follow a rule of this module. Raises ValueError when there are none."""
    layers = [layer.attention for layer in model.layers if isinstance(layer.attention, GatedDelta)]
    if not layers:
        raise ValueError(f"the layers are {model.config.layers}; give a model with gated_delta among them.")
    return layers


@contextmanager
def powers(model: TinyTransformer, times: Tensor | None) -> Iterator[TinyTransformer]:
    """Leave each chunk of a whole sequence as if it had come several times, for as long as the block lasts.

    times: (batch, chunks), 1 or more, rounded down to a power of 2; None changes nothing. In the first layer it is
    exactly what reading the chunk's keys and values so often leaves; above it is close, since what a layer reads there
    depends on what the one below found.
    """
    layers = delta_layers(model)
    if times is not None and not (times >= 1).all():
        raise ValueError(f"times reach down to {times.min()}; give 1 or more.")
    try:
        for layer in layers:
            layer.doublings = None if times is None else times.log2().floor().long()
        yield model
    finally:
        for layer in layers:
            layer.doublings = None
