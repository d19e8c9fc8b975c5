"""DeepSeek sparse attention: a small learned scorer chooses the keys, and attention is paid to these alone.

    I[t, s] = Σ_j  w[t, j] · ReLU(q[t, j] · k[s])       the lightning indexer: j counts its heads, k is one for all
    S[t]    = the k tokens s <= t with the largest I    one set for all heads of the attention
    u[t]    = attention of t over S[t]                  k pairs instead of t + 1

(DeepSeek-V3.2-Exp, technical report of September 2025, equations 1 and 2.) No gradient passes the choice. The indexer
learns from the attention itself: p[t], the attention of all heads added up, is what softmax(I[t]) should be. First with
dense attention and all else frozen (equation 3), then on the chosen set only, beside the task's loss (equation 4).

Shapes: q (batch, heads, n, d), k (batch, kv_heads, m, d), where the queries are the last n of m tokens; the indexer's q
(batch, index_heads, n, index_dim), its k (batch, m, index_dim), its w (batch, n, index_heads); index scores
(batch, n, m); a choice is (batch, n, top_k) positions of keys, and -1 where a query has fewer.

After the mechanism come other ways to choose, which pay attention to as many keys; the module for `tiny.py`; numbers of
few bits; and last what it costs at DeepSeek's sizes, beside the cost figure that they published.
"""

from solutions.sparse.few_bits import (
    E2M1,
    FLOOR,
    LARGEST,
    folded_index_scores,
    hadamard,
    kind_is_known,
    low_precision_scores,
    nearest_e2m1,
    quantise,
)
from solutions.sparse.indexer import (
    causal_probabilities,
    chosen_probabilities,
    dense_loss,
    divergence,
    gathered,
    gathered_attention,
    index_scores,
    index_target,
    masked_attention,
    select_top_k,
    sparse_attention,
    sparse_loss,
)
from solutions.sparse.module import (
    LAYOUTS,
    Indexer,
    Selection,
    SparseAttention,
    SparseCache,
    index_loss,
    indexer_parameters,
    model_parameters,
    rotate_interleaved,
    selections,
)
from solutions.sparse.price import (
    CLAIM,
    FIGURE,
    GPU_HOUR,
    INDEX_KEY_BYTES,
    LAST,
    LATENT_BYTES,
    PARITY,
    PHASES,
    V31,
    V32,
    V32_EXP,
    Sizes,
    calibrated_cost,
    core_flops,
    decode_read_bytes,
    dense_flops,
    figure_cost,
    figure_crossover,
    figure_mean,
    figure_ratio,
    flops_crossover,
    flops_saving,
    implied_flops_per_second,
    implied_rates,
    index_cache_bytes,
    indexer_equals_core,
    indexer_flops,
    indexer_share,
    latent_cache_bytes,
    phase_is_known,
    position_in_figure,
    predicted_cost,
    prefill_bend,
    price_per_flop,
    saving_limit,
    sparse_flops,
    variable_ratio,
)
from solutions.sparse.selectors import (
    EVICTING,
    SELECTORS,
    attended_pairs,
    captured_mass,
    heavy_hitters,
    held_keys,
    indexed_pairs,
    latest,
    mean_blocks,
    most_voted,
    oracle,
    own_and_most_voted,
    page_bound,
    pages,
    quest,
    random,
    random_mass,
    scored_pairs,
    selector_is_known,
    sinks_and_window,
    window,
    window_and_blocks,
)
