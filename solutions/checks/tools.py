"""What the checkers of several lessons use."""

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from solutions.checks.running import Rejected
from solutions.watch import Watch

# What an answer returned ------------------------------------------------------------------------------------------


def tensors(result, **expected: torch.Size) -> list[Tensor]:
    """The tensors that an answer returned, by name and shape; rejects anything else."""
    what = f"{len(expected)} tensors, {' and '.join(expected)}"
    if not isinstance(result, list | tuple) or len(result) != len(expected):
        given = f"{len(result)} values" if isinstance(result, list | tuple) else f"one {type(result).__name__}"
        raise Rejected(f"your function returned {given}, expected {what}")
    for value, (name, shape) in zip(result, expected.items(), strict=True):
        if not isinstance(value, Tensor):
            raise Rejected(f"the {name} you return is of type {type(value).__name__}, expected {what}")
        if value.shape != shape:
            raise Rejected(f"the {name} you return has shape {tuple(value.shape)}, expected {tuple(shape)}")
    return list(result)


def wider(*parts):
    """Parts in float32 at least."""
    return [part.to(torch.promote_types(part.dtype, torch.float32)) for part in parts]


# Inputs on which a slip shows --------------------------------------------------------------------------------------


def far_below(normal, queries, keys, d_value):
    """q, k and v of heads of 1 whose scores are all -2,500,000,000: below what anybody takes for minus infinity."""
    return 0 * normal(queries, 1) - 5e4, 0 * normal(keys, 1) + 5e4, normal(keys, d_value)


def large_products(normal, *shape):
    """Queries or keys of half precision whose products are some 100,000: more than float16 holds."""
    return (normal(*shape, 64) + 40).half()


def felt(*names: str, **options):
    """An outcome: the gradients that reach the first inputs of numbers, by name, from what every output moves."""

    def outcome(function, *inputs):
        given = list(inputs)
        for index in [index for index, each in enumerate(given) if learns(each)][: len(names)]:
            given[index] = given[index].detach().requires_grad_()
        with torch.enable_grad():
            result = function(*given, **options)
            outputs = [each for each in tree_leaves(result) if isinstance(each, Tensor) and each.requires_grad]
            if not outputs:
                raise Rejected("your output has lost its gradient; compute it with torch operations only")
            total = sum((each.flatten() * unlike(each)).sum() for each in outputs)
            learning = [each for each in given if learns(each) and each.requires_grad]
            moved = torch.autograd.grad(total, learning, allow_unused=True)
        found = (torch.zeros_like(each) if grad is None else grad for each, grad in zip(learning, moved, strict=True))
        return {f"the gradient by {name}": each for name, each in zip(names, found, strict=True)}

    return outcome


def unlike(output: Tensor) -> Tensor:
    """A weight for each number of an output, no two the same."""
    return torch.arange(1, 1 + output.numel(), dtype=output.dtype).cos()


def learns(value) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


# What an answer did -----------------------------------------------------------------------------------------------


def storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class LargestTensor(Watch):
    """Remember the largest tensor that passes, in entries of memory: a view counts as what it looks at."""

    def __init__(self):
        super().__init__()
        self.entries = 0
        self.what = ""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                entries = tensor.untyped_storage().nbytes() // tensor.element_size()
                if entries > self.entries:
                    shape = " × ".join(str(size) for size in tensor.shape)
                    self.entries, self.what = entries, f"{shape} of {str(tensor.dtype).removeprefix('torch.')}"
        return result


class LargestMade(Watch):
    """Remember the most entries of a tensor that an operation made.

    Views of what was there do not count, nor does what has one of the shapes in `but`.
    """

    def __init__(self, *but: torch.Size):
        super().__init__()
        self.entries, self.what, self.but = 0, "", but

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        given = {storage(tensor) for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)}
        for tensor in tree_leaves(result):
            if not isinstance(tensor, Tensor) or storage(tensor) in given or tensor.shape in self.but:
                continue
            if tensor.numel() > self.entries:
                self.entries, self.what = tensor.numel(), " × ".join(map(str, tensor.shape))
        return result

    def refuse_above(self, budget: int, why: str) -> None:
        if self.entries > budget:
            raise Rejected(
                f"the largest tensor made has {self.entries:,} entries ({self.what}), "
                f"and the budget is {budget:,}, {why}"
            )
