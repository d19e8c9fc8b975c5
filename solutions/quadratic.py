"""Quadratic attention: every query scores every key, softmax turns scores into weights, weights average the values.

    S = Q Kᵀ / √d        P = softmax(S + M)        O = P V          (Vaswani et al., 2017, equation 1)

Shapes: q (..., queries, d), k (..., keys, d), v (..., keys, d_value); "..." is any leading dimensions, as a rule
(batch, heads). Rows of a score matrix are queries, columns are keys. A mask is boolean and True means "may look".
With fewer queries than keys, the queries are the last tokens: query i stands at position keys - queries + i. In half
precision (float16, bfloat16) scores and sums are made in float32, and the result is rounded once.

The second half counts what all this costs: multiplications, bytes, and the exponent with which they grow.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from solutions.accepts import (
    chunk_fits,
    continues,
    finite_scale,
    groups_fit,
    heads_fit,
    mask_fits,
    not_more_queries,
    one_pair,
    queries_are_last,
    two_positive_points,
    whole_heads,
)
from solutions.shapes import counts, in_float32, on_method, shapes

# The mechanism ---------------------------------------------------------------------------------------------------


@shapes(values="n d")
def uniform_attention(values: Tensor) -> Tensor:
    """Attend to every token equally: the mean of the rows.

    values: (n, d), float32 or float64
    Returns (d,), in the dtype of values.
    """
    return values.mean(dim=0)


@shapes(pair="two", check=one_pair)
@in_float32
def turn_pair(pair: Tensor, position: float, theta: float) -> Tensor:
    """Turn a pair of numbers by the angle position · theta, counterclockwise (RoPE; Su et al., 2021, equation 13).

    pair: (2,), a point (a, b) of the plane; position: of its token in the text, whole or not; theta: radians a token
    Returns (2,), in the dtype of pair. The angle is kept in double precision: at position 131,071 float32 has lost its
    third digit.
    """
    cos, sin = math.cos(position * theta), math.sin(position * theta)
    return torch.stack([pair[0] * cos - pair[1] * sin, pair[0] * sin + pair[1] * cos])


@shapes(scores="... keys")
def softmax(scores: Tensor) -> Tensor:
    """Turn each row of scores into weights that are positive and sum to 1.

    scores: (..., keys); -inf means "not this key"
    Returns the weights, (..., keys). A row of nothing but -inf has nobody to look at: its weights are all 0, and so is
    its gradient.
    Large scores do not overflow, because each row is measured from its own maximum. The weights have the dtype of
    scores. Of half precision differences, exponentials and sum are float32, and the weights are rounded once.
    """
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
    row_max = wide.amax(dim=-1, keepdim=True).clamp(min=torch.finfo(wide.dtype).min)  # -inf - (-inf) would be nan
    weights = torch.exp(wide - row_max)
    row_sum = weights.sum(dim=-1, keepdim=True)  # at least 1, the maximum's own weight; 0 in an empty row
    return (weights / row_sum.clamp(min=1)).to(scores.dtype)


@shapes(scores="... keys")
def log_sum_exp(scores: Tensor) -> Tensor:
    """The one number a row must remember: any weight of it is exp(score - log_sum_exp).

    scores: (..., keys)
    Returns (...), the logarithm of the sum of exp(score) over each row; -inf for a row of nothing but -inf. It is
    float32 also of half precision: near ln 131,072 = 11.78 bfloat16 has 11.75 and 11.8125, and nothing between.
    """
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    row_max = scores.amax(dim=-1, keepdim=True).clamp(min=torch.finfo(scores.dtype).min)
    row_sum = torch.exp(scores - row_max).sum(dim=-1)
    return row_max.squeeze(-1) + torch.log(row_sum)


@shapes(q="... queries d", k="... keys d", check=finite_scale)
@in_float32
def attention_scores(q: Tensor, k: Tensor, scale: float | None = None) -> Tensor:
    """How well each query fits each key: their dot product, times the scale.

    q: (..., queries, d); k: (..., keys, d); scale: any number, 1 / √d when it is None
    Returns (..., queries, keys), in the dtype of q and k: finite also where the dot product alone is beyond 65,504, the
    last number of float16.
    """
    if scale is None:
        scale = 1 / math.sqrt(q.shape[-1])
    return (q * scale) @ k.transpose(-2, -1)  # scaled before the product, which could be too large for float16


@counts("queries", "keys")
@shapes(check=not_more_queries)
def causal_mask(queries: int, keys: int, device: torch.device | None = None) -> Tensor:
    """Who may look at whom when nobody may look ahead.

    The queries, as many as the keys or fewer, are their last tokens: query i stands at position keys - queries + i.
    Returns a boolean (queries, keys) on `device`, True where the key does not come after the query.
    """
    query_position = torch.arange(queries, device=device) + (keys - queries)
    key_position = torch.arange(keys, device=device)
    return key_position <= query_position[:, None]


@shapes(q="... queries d", k="... keys d", v="... keys d_value", check=mask_fits)
@in_float32
def attention(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False, mask: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Every query averages the values, weighted by how well it fits their keys (Vaswani et al., 2017, equation 1).

    q: (..., queries, d); k: (..., keys, d); v: (..., keys, d_value), with the same "..."
    causal: hide the keys after each query, where the queries are the last tokens
    mask: boolean, broadcasts to (..., queries, keys), True where a query may look
    scale: as in `attention_scores`, which stays finite in float16; 1 / √d where none is given
    Returns (..., queries, d_value), in the dtype of q. A query that may look at no key gets 0, and its gradients are 0.
    """
    scores = attention_scores(q, k, scale)
    if causal:
        scores = scores.masked_fill(~causal_mask(*scores.shape[-2:], device=q.device), -math.inf)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = softmax(scores)
    return weights @ v


@counts("heads")
@shapes(x="batch n width", check=whole_heads)
def split_heads(x: Tensor, heads: int) -> Tensor:
    """Cut the width of each token into heads, and lay the tokens of a head together.

    x: (batch, n, heads * head_dim); head h is the columns h * head_dim to (h + 1) * head_dim - 1 of every token
    Returns (batch, heads, n, head_dim): the same numbers, none computed.
    """
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


@counts("heads", "kv_heads")
@shapes(
    x="batch n d_model",
    w_q="d_model q_width",
    w_k="d_model kv_width",
    w_v="d_model kv_width",
    w_o="q_width d_model",
    check=heads_fit,
)
def multi_head_attention(
    x: Tensor,
    w_q: Tensor,
    w_k: Tensor,
    w_v: Tensor,
    w_o: Tensor,
    heads: int,
    kv_heads: int | None = None,
    *,
    causal: bool = False,
) -> Tensor:
    """Several attentions side by side, each in its own slice of the width (Vaswani et al., 2017, section 3.2.2).

    x: (batch, n, d_model); w_q: (d_model, heads * head_dim); w_k, w_v: (d_model, kv_heads * head_dim)
    w_o: (heads * head_dim, d_model); kv_heads: None for one key and value head per query head; fewer is grouped-query
    attention, where head h reads key head h // (heads // kv_heads) (Ainslie et al., 2023)
    Returns (batch, n, d_model).
    """
    if kv_heads is None:
        kv_heads = heads
    q, k, v = split_heads(x @ w_q, heads), split_heads(x @ w_k, kv_heads), split_heads(x @ w_v, kv_heads)
    k = k.repeat_interleave(heads // kv_heads, dim=1)
    v = v.repeat_interleave(heads // kv_heads, dim=1)
    out = attention(q, k, v, causal=causal)
    return out.transpose(1, 2).flatten(-2) @ w_o


@shapes(k="... n d", v="... n d_value", check=groups_fit)
def grouped_attention(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False, mask: Tensor | None = None) -> Tensor:
    """`attention` where each head of k and v may serve a group of query heads (Ainslie et al., 2023).

    q: (..., heads, queries, d); k: (..., kv_heads, keys, d); v: (..., kv_heads, keys, d_value); kv_heads divides heads,
    and head h reads key head h // (heads // kv_heads)
    causal: as in `attention`; mask: boolean, broadcasts to (..., heads, queries, keys), True where a query may look
    Returns (..., heads, queries, d_value).
    """
    if q.dim() > 2 and q.shape[-3] != k.shape[-3]:
        group = q.shape[-3] // k.shape[-3]
        k, v = k.repeat_interleave(group, dim=-3), v.repeat_interleave(group, dim=-3)
    return attention(q, k, v, causal=causal, mask=mask)


@on_method("append", shapes(k="... chunk d", v="... chunk d_value", check=continues))
class KVCache:
    """The keys and values of all tokens so far, so that a new token computes only its own.

    `cache.k` holds the keys and `cache.v` the values, of the key heads only, which may be fewer than the query heads;
    `len(cache)` is the number of tokens, `cache.nbytes` what their keys and values occupy.
    Each append copies what is there into one longer tensor, which keeps nbytes exact and lets gradients through. But it
    takes several times as long as the attention that follows (3 to 8 times on a CPU core, 8 heads, 16,384 and 65,536
    keys). A serving engine reserves room ahead, and writes the new tokens only.
    """

    def __init__(self):
        self.k = self.v = None

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add a chunk, k (..., kv_heads, chunk, d) and v (..., kv_heads, chunk, d_value); return all of both so far."""
        self.k = k.clone() if self.k is None else torch.cat([self.k, k], dim=-2)
        self.v = v.clone() if self.v is None else torch.cat([self.v, v], dim=-2)
        return self.k, self.v

    @property
    def nbytes(self) -> int:
        return 0 if self.k is None else self.k.nbytes + self.v.nbytes

    def __len__(self) -> int:
        return 0 if self.k is None else self.k.shape[-2]

    def __repr__(self) -> str:
        return f"KVCache: {len(self)} tokens, {self.nbytes:,} bytes"


@shapes(k="... chunk d", v="... chunk d_value", check=chunk_fits)
def cached_attention(q: Tensor, k: Tensor, v: Tensor, cache: KVCache) -> Tensor:
    """Causal attention for the next tokens of a sequence whose earlier tokens are in the cache.

    q: (..., heads, chunk, d); k: (..., kv_heads, chunk, d); v: (..., kv_heads, chunk, d_value): the new tokens only,
    one or many; kv_heads divides heads, as in `grouped_attention`
    Returns (..., heads, chunk, d_value), the same rows as causal attention over the whole sequence, with the same
    gradients. The cache then holds the chunk too, its keys in `cache.k` and its values in `cache.v`, as they came.
    """
    all_k, all_v = cache.append(k, v)
    return grouped_attention(q, all_k, all_v, causal=True)


@counts("block")
@shapes(q="... queries d", k="... keys d", v="... keys d_value", check=queries_are_last)
@in_float32
def blocked_attention(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False, block: int = 64) -> Tensor:
    """Exact attention that never holds the whole score matrix: one block of queries at a time.

    q: (..., queries, d); k: (..., keys, d); v: (..., keys, d_value)
    causal: hide the keys after each query; the queries are the last tokens, fewer than the keys or as many
    block: queries taken at a time
    Returns (..., queries, d_value), in the dtype of q. No tensor it makes is larger than (..., block, keys), the output
    aside. (In half precision it is as exact as `attention`; q, k and v in float32 may be larger.)
    """
    queries, keys = q.shape[-2], k.shape[-2]
    out = []
    for start in range(0, queries, block):
        stop = min(start + block, queries)
        visible = keys - queries + stop if causal else keys  # keys after the block's last query are not read at all
        out.append(attention(q[..., start:stop, :], k[..., :visible, :], v[..., :visible, :], causal=causal))
    return torch.cat(out, dim=-2)


# The cost --------------------------------------------------------------------------------------------------------


@counts("n", "head_dim", "heads")
def attention_multiplications(n: int, head_dim: int, heads: int = 1, *, causal: bool = False) -> int:
    """Multiplications (each with its addition) in Q Kᵀ and P V together, over n tokens, in closed form: no loop.

    causal: count only the pairs that may look, n (n + 1) / 2 of the n²
    """
    pairs = n * (n + 1) // 2 if causal else n * n
    return 2 * heads * pairs * head_dim


@counts("n", "d_model", "head_dim", "heads", "kv_heads")
def projection_multiplications(n: int, d_model: int, head_dim: int, heads: int, kv_heads: int | None = None) -> int:
    """Multiplications (each with its addition) in the projections to q, k, v and out, over n tokens."""
    kv_heads = heads if kv_heads is None else kv_heads
    return 2 * n * d_model * head_dim * (heads + kv_heads)


@counts("n", "heads", "element_bytes")
def score_bytes(n: int, heads: int = 1, element_bytes: int = 4) -> int:
    """Bytes of the score matrices of n tokens, if they are stored whole."""
    return heads * n * n * element_bytes


@counts("n", "layers", "kv_heads", "head_dim", "element_bytes")
def kv_cache_bytes(n: int, layers: int, kv_heads: int, head_dim: int, element_bytes: int = 2) -> int:
    """Bytes of the keys and values of n tokens in all layers."""
    return 2 * n * layers * kv_heads * head_dim * element_bytes


@counts("n", "head_dim", "heads", "element_bytes")
def naive_peak_bytes(n: int, head_dim: int, heads: int = 1, element_bytes: int = 4) -> int:
    """Most bytes alive at once that `attention` itself allocates, over n >= 4 tokens; q, k and v are not counted.

    element_bytes: of q, k and v; of 2 all is computed in float32, from float32 copies of the three, which are counted
    The peak is the division in `softmax`: the scores, the weights before and after it, and three columns (the maximum,
    the sum, the sum made safe). Where d is larger than n it is the product with the values: scores, weights, output.
    """
    matrix, column, output = heads * n * n, heads * n, heads * n * head_dim
    copies = 3 * output if element_bytes < 4 else 0
    return max(element_bytes, 4) * (copies + max(3 * matrix + 3 * column, 2 * matrix + output))


@shapes(check=two_positive_points)
def growth_exponent(lengths: Sequence[float], values: Sequence[float]) -> float:
    """The p in "grows as nᵖ": the least-squares slope of log(value) over log(length).

    lengths, values: two or more positive numbers each, in any unit
    """
    x = torch.tensor([math.log(length) for length in lengths], dtype=torch.float64)
    y = torch.tensor([math.log(value) for value in values], dtype=torch.float64)
    x, y = x - x.mean(), y - y.mean()
    return (x @ y / (x @ x)).item()
