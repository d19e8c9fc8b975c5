"""FlashAttention's figure 2 (Dao et al., 2022), counted again."""

import math

from solutions.shapes import counts


@counts("queries", "keys", "head_dim")
def forward_flops(queries: int, keys: int, head_dim: int) -> int:
    """FLOPs of the two products of a forward, Q Kᵀ and P V, one head; a multiplication and an addition are two."""
    return 4 * queries * keys * head_dim


@counts("n", "head_dim")
def standard_training_flops(n: int, head_dim: int) -> int:
    """FLOPs of the products in forward and backward, one head: 2 forward, 4 backward (dV, dP, dQ, dK)."""
    return 3 * forward_flops(n, n, head_dim)


@counts("n", "head_dim")
def flash_training_flops(n: int, head_dim: int) -> int:
    """FLOPs of the products in forward and backward, one head: 2 forward, 5 backward, since Q Kᵀ is made again."""
    return 7 * forward_flops(n, n, head_dim) // 2


@counts("sram_elements", "head_dim")
def paper_blocks(sram_elements: int, head_dim: int) -> tuple[int, int]:
    """(block_m, block_n) by the rule of Dao et al. (2022), algorithm 1, line 1, for a SRAM of so many elements."""
    block_n = math.ceil(sram_elements / (4 * head_dim))
    return min(block_n, head_dim), block_n


@counts("n", "head_dim", "element_bytes")
def standard_training_bytes(n: int, head_dim: int, element_bytes: int = 2) -> int:
    """Bytes of forward and backward by algorithms 0 and 3 of Dao et al. (2022), each tensor read once, one head."""
    forward = 4 * n * n + 4 * n * head_dim
    backward = 7 * n * n + 8 * n * head_dim
    return (forward + backward) * element_bytes


@counts("n", "head_dim", "block_n", "element_bytes")
def flash1_training_bytes(
    n: int, head_dim: int, block_n: int, element_bytes: int = 2, *, zeros_written: bool = False
) -> int:
    """Bytes of forward and backward by algorithms 1 and 4 of Dao et al. (2022), one head.

    zeros_written: count also the zeros that out and the three gradients are set to before
    """
    passes = math.ceil(n / block_n)
    forward = (3 * passes + 2) * n * head_dim  # each pass: q and out in, out back; once: k and v
    backward = (5 * passes + 4) * n * head_dim  # each pass: q, out, grad_out, grad_q in, grad_q back; once the rest
    statistics = 6 * passes * n * 4  # m and l in and out, and in again for the backward, in float32
    zeros = 4 * n * head_dim if zeros_written else 0
    return (forward + backward + zeros) * element_bytes + statistics
