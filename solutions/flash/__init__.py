"""Flash attention: exact attention that never writes the score matrix, and the bytes it moves instead.

A softmax can be read in pieces (Milakov & Gimelshein, 2018), with a running maximum m and a running sum ℓ:

    m' = max(m, max x)        ℓ' = e^(m - m') ℓ + Σ e^(x - m')        acc' = e^(m - m') acc + e^(x - m') V

So scores are made tile by tile in a small fast memory (SRAM) and thrown away; the large slow memory (HBM) sees only
q, k, v, the output, and one number a row, the log-sum-exp (Dao et al., 2022; loop order of Dao, 2023).

Statistics (maxima, sums, log-sum-exps), and sums that go on from part to part, are float32 also of half precision, and
float64 of float64: at a log-sum-exp of 9.7 the next bfloat16 is 0.0625 away. Outputs are rounded once, to q's dtype.

Shapes: one head, q (queries, d), k and v (keys, d); a program owns block_m queries and steps over block_n keys. With
fewer queries than keys, the queries are the last tokens. All bytes are issued element bytes, between HBM and SRAM: what
loads and stores ask for, before any cache. `TileMachine` counts them as they happen, the formulas at the end predict
them, and the Triton kernels of solutions/flash_kernels.py move the same.
"""

from solutions.flash.figure_2 import (
    flash1_training_bytes,
    flash_training_flops,
    forward_flops,
    paper_blocks,
    standard_training_bytes,
    standard_training_flops,
)
from solutions.flash.machine import Event, SRAMOverflow, TileMachine
from solutions.flash.online import chunks_fit, merge, online_attention, online_softmax, split_attention
from solutions.flash.tiled import (
    attend_in_tiles,
    backward_fits,
    backward_tile,
    flash1_attention,
    hidden,
    key_value_gradients,
    machine_fits,
    make_scores,
    on_machine,
    query_gradients,
    remake,
    row_deltas,
    softmax_backward,
    softmax_rows,
    standard_attention,
    tiled_attention,
    tiled_backward,
    weigh_values,
)
from solutions.flash.traffic import (
    SHARED_MEMORY_LIMITS,
    atomic_backward_bytes,
    backward_bytes,
    chosen,
    decode_bytes,
    delta_bytes,
    flash1_bytes,
    flash1_issued_bytes,
    flash_issued_bytes,
    forward_bytes,
    key_value_gradient_bytes,
    largest_tile,
    peak_tile_bytes,
    query_gradient_bytes,
    shared_memory_bytes,
    sizes,
    standard_bytes,
    summed,
    target_is_known,
)
from solutions.flash.visited import key_range, query_range, rows_loaded, window_is_sound
