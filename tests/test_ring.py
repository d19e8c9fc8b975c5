"""The ring gives what one device gives, sends what the formula says, and never leaves a process behind.

Each rank imports this module for the function it runs, so that what is imported here is kept small.
"""

import os
import signal
import time
from itertools import accumulate

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing import active_children, get_context

from solutions import ring
from solutions.local_global import grouped_attention
from solutions.quadratic import causal_mask
from solutions.ring import (
    RankFailed,
    Ring,
    attend_in_ring,
    causal_pairs,
    contiguous_rows,
    imbalance,
    ring_attention,
    ring_bytes,
    run,
    zigzag_rows,
)

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 2e-2}
PATIENCE = 120.0  # seconds for a start on a busy machine, whose first imports torch


# Rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [contiguous_rows, zigzag_rows])
@pytest.mark.parametrize("n, ranks", [(1, 1), (3, 2), (5, 4), (16, 4), (64, 4), (103, 7)])
def test_every_row_has_one_rank(cut, n, ranks):
    rows = cut(n, ranks)
    assert len(rows) == ranks and all(len(of_rank) for of_rank in rows)
    assert all((of_rank.diff() > 0).all() for of_rank in rows)
    assert torch.cat(rows).sort().values.tolist() == list(range(n))
    assert sum(map(causal_pairs, rows)) == n * (n + 1) // 2


def test_zigzag_by_hand():
    assert [of_rank.tolist() for of_rank in zigzag_rows(8, 2)] == [[0, 1, 6, 7], [2, 3, 4, 5]]


@pytest.mark.parametrize("ranks", [2, 4, 16])
def test_an_early_and_a_late_piece_are_the_same_work_for_every_rank(ranks):
    c = 6
    n = 2 * ranks * c
    assert {int((rows + 1).sum()) for rows in zigzag_rows(n, ranks)} == {c * (n + 1)}
    in_order = [int((rows + 1).sum()) for rows in contiguous_rows(n, ranks)]
    assert in_order[-1] / (sum(in_order) / ranks) == pytest.approx(2 - 1 / ranks, abs=1 / n)


def test_the_last_of_16_ranks_has_nearly_twice_the_work():
    n = 131_072
    assert imbalance(contiguous_rows(n, 16)) == pytest.approx(15.5 / 8, abs=1e-4)
    assert round(imbalance(contiguous_rows(n, 16)), 2) == 1.94
    assert imbalance(zigzag_rows(n, 16)) == 1
    assert imbalance(zigzag_rows(n + 5, 16)) < 1.001, "pieces of unequal length"


def computed(cut, n, ranks):
    """Scores that each rank computes, hidden ones within a tile included, and which pairs they are."""
    rows, seen, counts = cut(n, ranks), torch.zeros(n, n, dtype=torch.bool), []
    for rank in range(ranks):
        place, count = Ring(rank, rows), 0
        for owner in range(ranks):
            for own, theirs, visible in place.pieces(owner, causal=True):
                tile = torch.ones(len(rows[rank][own]), len(rows[owner][theirs]), dtype=torch.bool)
                count += tile.numel()
                block = rows[rank][own, None], rows[owner][theirs]
                assert not seen[block].any(), "no pair is computed twice"
                seen[block] = tile if visible is None else visible
        counts.append(count)
    assert torch.equal(seen, causal_mask(n, n))
    return counts


def test_what_lies_in_the_future_is_not_computed():
    whole, cut = 64 * 64, computed(contiguous_rows, 64, 4)
    assert cut == [256, 512, 768, 1024] and sum(cut) < 0.63 * whole
    assert computed(zigzag_rows, 64, 4) == [576, 576, 576, 640], "the last rank's two pieces touch, and are one tile"
    computed(zigzag_rows, 37, 3)


def test_runs_have_no_gap():
    assert ring.runs(torch.tensor([0, 1, 2, 7, 8, 11])) == [slice(0, 3), slice(3, 5), slice(5, 6)]
    assert ring.runs(torch.tensor([4])) == [slice(0, 1)]


# Bytes -----------------------------------------------------------------------------------------------------------


def test_bytes_of_a_ring_by_hand():
    sent = ring_bytes([3, 1], kv_heads=2, head_dim=8, element_bytes=4)
    assert sent == {"forward": [384, 128], "backward": [384 + 128, 128 + 384]}  # a row of k and v is 128 bytes


def test_bytes_of_all_ranks_are_the_ranks_less_one():
    lengths = [5, 9, 1, 6]
    sent = ring_bytes(lengths, 4, 16, batch=2)
    whole = 2 * 2 * 4 * 16 * sum(lengths) * 2
    assert sum(sent["forward"]) == 3 * whole
    assert sum(sent["backward"]) == 3 * whole + 3 * 2 * whole, "gradients of half precision travel in float32"
    single = ring_bytes(lengths, 4, 16, batch=2, element_bytes=4)
    assert sum(single["forward"]) == 3 * 2 * whole and sum(single["backward"]) == 2 * sum(single["forward"])
    assert ring_bytes([7], 4, 16) == {"forward": [0], "backward": [0]}


# The ring against one device -------------------------------------------------------------------------------------


def whole(q, k, v, grad_out, causal):
    """Attention on one device, and its gradients."""
    q, k, v = (tensor.clone().requires_grad_() for tensor in (q, k, v))
    out = grouped_attention(q, k, v, mask=causal_mask(q.shape[-2], k.shape[-2]) if causal else None)
    out.backward(grad_out)
    return out.detach(), q.grad, k.grad, v.grad


def cut_at(*lengths):
    """Contiguous rows of unequal lengths."""
    stops = list(accumulate(lengths))
    return [torch.arange(stop - length, stop) for stop, length in zip(stops, lengths, strict=True)]


def case(rows, causal, heads=4, kv_heads=2, batch=2, d=8, dtype=torch.float64):
    generator = torch.Generator().manual_seed(len(rows) + heads)
    n = sum(map(len, rows))
    shapes = ((heads, n), (kv_heads, n), (kv_heads, n), (heads, n))
    tensors = (torch.randn(batch, *shape, d, generator=generator, dtype=torch.float64) for shape in shapes)
    return *(tensor.to(dtype) for tensor in tensors), rows, causal


def cases(ranks):
    ragged = cut_at(*[3, 1, 7, 2][:ranks])
    yield case(contiguous_rows(8 * ranks, ranks), causal=False)
    yield case(contiguous_rows(8 * ranks, ranks), causal=True)
    yield case(ragged, causal=False, heads=3, kv_heads=3)
    yield case(ragged, causal=True, heads=6, kv_heads=2, batch=1)
    yield case(zigzag_rows(8 * ranks, ranks), causal=True, heads=4, kv_heads=1)
    yield case(zigzag_rows(8 * ranks + 3, ranks), causal=True)
    yield case(zigzag_rows(8 * ranks + 3, ranks), causal=False)
    yield case([torch.arange(rank, 5 * ranks, ranks) for rank in range(ranks)], causal=True)  # every run is one row
    yield case(ragged, causal=True, dtype=torch.float32)
    yield case(ragged, causal=True, dtype=torch.bfloat16)


def attend_without_rows(q, k, v, grad_out, rows, causal):
    """As `ring.attend`, but the ring finds out by itself which rows follow which."""
    own = rows[dist.get_rank()]
    q, k, v = (tensor[..., own, :].clone().requires_grad_() for tensor in (q, k, v))
    out = ring_attention(q, k, v, causal=causal)
    out.backward(grad_out[..., own, :])
    return out.detach(), q.grad, k.grad, v.grad, None


def attend_all(given):
    """Every case in one group, and the ragged one without rows at the end."""
    return [*(ring.attend(*one) for one in given), attend_without_rows(*given[3])]


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.seconds
def test_a_ring_equals_one_device_and_sends_what_the_formula_says(ranks):
    given = list(cases(ranks))
    by_rank = run(ranks, attend_all, given, seconds=PATIENCE)
    for index, one in enumerate([*given, given[3]]):
        q, k, _, _, rows, _ = one
        *parts, sent = zip(*(results[index] for results in by_rank), strict=True)
        for name, part, expected in zip("oqkv", parts, whole(*one[:4], one[5]), strict=True):
            got, tolerance = torch.cat(part, dim=-2)[..., torch.cat(rows).argsort(), :], TOLERANCE[q.dtype]
            assert got.dtype == q.dtype
            assert torch.allclose(got, expected, rtol=tolerance, atol=tolerance), (index, name)
        if index < len(given):
            sizes = {"kv_heads": k.shape[1], "head_dim": 8, "batch": k.shape[0], "element_bytes": k.element_size()}
            expected = ring_bytes([len(of_rank) for of_rank in rows], **sizes)
            assert expected == {phase: [of_rank.get(phase, 0) for of_rank in sent] for phase in expected}, index


@pytest.mark.seconds
def test_a_whole_sequence_is_cut_and_put_together():
    one = case(zigzag_rows(13, 3), causal=True)
    found = attend_in_ring(*one[:5], causal=True, seconds=PATIENCE)
    for got, expected in zip((found.out, found.grad_q, found.grad_k, found.grad_v), whole(*one[:4], True), strict=True):
        assert torch.allclose(got, expected, rtol=1e-10, atol=1e-10)
    assert found.sent == ring_bytes([len(rows) for rows in one[4]], 2, 8, batch=2, element_bytes=8)


# Ranks that fail -------------------------------------------------------------------------------------------------


def sign(folder):
    """Leave word of who runs here."""
    (folder / str(os.getpid())).write_text(str(dist.get_rank()))


def gone(folder):
    """True once none of those who signed is alive."""
    for _ in range(100):
        alive = [path.name for path in folder.iterdir() if os.path.exists(f"/proc/{path.name}")]
        if not alive and not active_children():
            return True
        time.sleep(0.1)
    return False


only_linux = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")


def some(heads=2, n=3):
    return torch.ones(1, heads, n, 4, requires_grad=True)


def dies_on_the_way(folder):
    """All attend; then rank 1 is killed before the backward pass, for which the others wait."""
    sign(folder)
    out = ring_attention(some(), some(), some(), causal=True)
    if dist.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    out.sum().backward()
    return "never"


@only_linux
@pytest.mark.seconds
def test_a_rank_that_is_killed_is_named_and_nobody_is_left(tmp_path):
    with pytest.raises(
        RankFailed, match=r"^rank 1 of 3 was killed by SIGKILL, .* the other ranks were stopped\.$"
    ) as told:
        run(3, dies_on_the_way, tmp_path)
    assert told.value.rank == 1
    assert time.time() - max(path.stat().st_mtime for path in tmp_path.iterdir()) < 30
    assert len(list(tmp_path.iterdir())) == 3 and gone(tmp_path)


def stumbles(folder):
    sign(folder)
    dist.barrier()
    if dist.get_rank() == 2:
        raise KeyError("no such layer")
    ring_attention(some(), some(), some())


@only_linux
@pytest.mark.seconds
def test_a_rank_that_raises_is_named_with_its_error(tmp_path):
    with pytest.raises(
        RankFailed, match=r"^rank 2 of 3 stopped with KeyError: 'no such layer' \(test_ring.py, line \d+\), "
    ):
        run(3, stumbles, tmp_path, seconds=PATIENCE)
    assert gone(tmp_path)


def leaves():
    if dist.get_rank() == 0:
        os._exit(7)
    dist.barrier()


@pytest.mark.seconds
def test_a_rank_that_leaves_is_named():
    with pytest.raises(RankFailed, match=r"^rank 0 of 2 ended with exit code 7, "):
        run(2, leaves, seconds=PATIENCE)


def waits(folder):
    sign(folder)
    time.sleep(300)


@only_linux
@pytest.mark.seconds
def test_ranks_that_do_not_end_are_stopped(tmp_path):
    with pytest.raises(TimeoutError, match=r"^rank 0, 1 of 2 did not end within 3 s; all were stopped\.$"):
        run(2, waits, tmp_path, seconds=3)
    assert gone(tmp_path)


@only_linux
@pytest.mark.seconds
def test_ranks_end_when_their_caller_is_killed(tmp_path):
    caller = get_context(ring.START).Process(target=run, args=(2, waits, tmp_path), kwargs={"seconds": 300})
    caller.start()
    until = time.monotonic() + PATIENCE
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    caller.kill()
    caller.join()
    assert len(list(tmp_path.iterdir())) == 2, "both ranks had started"
    assert gone(tmp_path)


def differ(what):
    rank = dist.get_rank()
    if what == "heads":
        ring_attention(some(2 + 2 * rank), some(2), some(2))
    if what == "rows":
        ring_attention(some(), some(), some(), rows=torch.arange(3))
    if what == "one without rows":
        ring_attention(some(), some(), some(), rows=torch.arange(3) if rank else None)


def all_tell(whats):
    told = []
    for what in whats:
        try:
            differ(what)
        except ValueError as error:
            told.append(str(error))
    return told


@pytest.mark.seconds
def test_ranks_that_do_not_fit_are_told_alike():
    first, second = run(2, all_tell, ["heads", "rows", "one without rows"], seconds=PATIENCE)
    assert first == second and len(first) == 3
    assert "rank 1 holds" in first[0] and first[0].endswith("make them equal.")
    assert first[1] == "the rows of all ranks are not each row once; cut them with zigzag_rows."
    assert "without rows" in first[2]


# Bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: run(0, attend_all), "ranks is 0; give a whole number of 1 or more"),
        (lambda: run(2, lambda: 1), "which another process cannot import; give one that stands in a module"),
        (lambda: run(2, attend_all, seconds=0), "seconds is 0; give a number above 0"),
        (lambda: zigzag_rows(3, 4), "there are 3 rows for 4 ranks; give at least one row for each"),
        (lambda: contiguous_rows(0, 1), "n is 0"),
        (lambda: ring_bytes([4, 0], 1, 8), "a length is 0; give a whole number of 1 or more for each rank"),
        (lambda: ring_attention(some(), some(), some()), "there is no process group; call this in a function that run"),
        (lambda: ring_attention(some(3), some(2), some(2)), "q has 3 heads and k has 2; give kv heads that divide"),
        (lambda: ring_attention(some(), some(), some(), rows=torch.tensor([0, 2, 1])), "their positions, ascending"),
        (lambda: ring_attention(some(), some(), some(n=4)), "v has shape (1, 2, 4, 4), so n = 4, but q has 3"),
    ],
)
def test_bad_input_is_answered(call, words):
    with pytest.raises(ValueError) as told:
        call()
    assert words in str(told.value)


def test_a_function_of_a_notebook_is_refused(monkeypatch):
    monkeypatch.setattr(leaves, "__module__", "__main__")
    with pytest.raises(ValueError, match=r"^run: function is leaves of __main__, which another process cannot import"):
        run(2, leaves)
