"""The gated delta rule: a memory of one matrix that is corrected where it errs, and forgets.

    forget    S ← a S                       a = exp(g), one number for each head, or one for each channel of the keys
    read      told = kᵀ S                   what the memory says for this key
    write     S ← S + k (b (v - told))ᵀ     the difference, as far as the write strength b goes
    look up   out = qᵀ S                    in the new state

(Yang, Kautz and Hatamizadeh, 2024, arXiv 2412.06464, eq. 10, in the order of the released code.) It is one step down
the gradient of ½ |Sᵀ k - v|², of size b. What the parts do alone has names of its own, the rules:

    "linear"   a = 1, and b v is written whatever is told      linear attention
    "decay"    a for each head, the same                       as in Mamba-2, arXiv 2405.21060
    "delta"    a = 1                                           DeltaNet, arXiv 2102.11174 and 2406.06484
    "gated"    a for each head                                 Gated DeltaNet
    "channel"  a for each channel of the keys                  KDA, of Kimi Linear, arXiv 2510.26692

b reaches from 0 to 2: above 1 a write overshoots, so that an old value comes back with its sign turned (arXiv
2411.12537).

Shapes: q, k (batch, heads, n, d_key), v (batch, heads, n, d_value), the log decay g (batch, heads, n), or (batch,
heads, n, d_key) by channel, or None, b (batch, heads, n), S (batch, heads, d_key, d_value); any leading dimensions do.

`rule` has it token by token, which is the definition, `chunk` in chunks, `layer` as a layer of `solutions.tiny`, `undo`
and `serving` what it takes to go back in a text that a state has read.
"""

from solutions.accepts import GATES
from solutions.gated_delta.chunk import (
    WRITES,
    chunk_adds,
    chunk_ends,
    chunk_map,
    chunk_reads,
    chunk_step,
    chunk_writes,
    chunked,
    decay_matrix,
    overlaps,
    repeat_chunk,
)
from solutions.gated_delta.layer import DeltaState, GatedDelta, delta_layers, powers
from solutions.gated_delta.rule import (
    STEPS,
    add_step,
    by_channel,
    delta_step,
    empty_state,
    left_over,
    left_over_among_new,
    recurrent,
    unit,
)
from solutions.gated_delta.serving import HYBRIDS, Draft, Hybrid, Snapshots, break_even_tokens, hybrid_bytes
from solutions.gated_delta.undo import accept, factors
