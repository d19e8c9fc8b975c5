"""The CUDA caching allocator's own account of a run, which sees the workspaces that the byte meter can't.

It counts what was handed out, rounded as the allocator rounds (multiples of 512 bytes), so it is never the smaller one.
The snapshot's shape is documented at `torch.cuda.memory._snapshot`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

MOST_ENTRIES = 1_000_000


@dataclass(frozen=True)
class History:
    """live: bytes handed out by the run and not yet given back, after each of the allocator's actions."""

    live: np.ndarray

    @property
    def peak_bytes(self) -> int:
        return int(self.live.max(initial=0))


def history(snapshot: dict, device: int = 0) -> History:
    """Replay one device's trace, without the memory that was handed out before it began."""
    sizes: dict[int, int] = {}
    deltas = []
    for entry in snapshot["device_traces"][device]:
        if entry["action"] == "alloc":
            sizes[entry["addr"]] = entry["size"]
            deltas.append(entry["size"])
        elif entry["action"] == "free_requested" and entry["addr"] in sizes:
            deltas.append(-sizes.pop(entry["addr"]))
    return History(np.cumsum(np.array(deltas, np.int64)))


@contextmanager
def recorded(given: Sequence[Tensor]) -> Iterator[list[History]]:
    """Record the allocator while the run lasts; the list is filled at its end, if the run's tensors lie on a GPU."""
    histories: list[History] = []
    device = next((tensor.device for tensor in given if tensor.is_cuda), None)
    if device is None:
        yield histories
        return
    torch.cuda.memory._record_memory_history(max_entries=MOST_ENTRIES, stacks="python")
    try:
        yield histories
        histories.append(history(torch.cuda.memory._snapshot(), device.index))
    finally:
        torch.cuda.memory._record_memory_history(enabled=None)
