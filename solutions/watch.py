"""To see every operation that runs: those within torch's own functions too, and those of the backward pass."""

from torch.utils._python_dispatch import TorchDispatchMode


class Watch(TorchDispatchMode):
    """A `TorchDispatchMode` that costs nothing to begin: torch would import its compiler first, two seconds of it."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
