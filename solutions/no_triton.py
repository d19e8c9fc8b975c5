"""What stands in for Triton where there is none, so that a file or a cell that *defines* kernels still imports.

`jit` keeps the function and refuses to launch it; `cdiv` and `next_power_of_2` are the arithmetic that grids are
written with; `language` has what a signature or a constant beside a kernel mentions. Kernel bodies never run here.
"""

WHY = (
    "Triton has wheels for Linux only, and this Python has none. Kernels can be written and read here, not run; "
    "the tile machine of solutions/flash counts the same bytes on every system."
)


class Kernel:
    """What `@triton.jit` makes of a function here: its `fn`, its name, and a launch that says why it can't run."""

    def __init__(self, fn):
        self.fn = fn
        self.__name__ = fn.__name__
        self.__doc__ = fn.__doc__

    def __getitem__(self, grid):
        raise RuntimeError(f"{self.__name__} can't be launched: {WHY}")

    def __call__(self, *args, **kwargs):
        raise RuntimeError(f"{self.__name__} can't be called: {WHY}")

    def __repr__(self):
        return f"<kernel {self.__name__}, not runnable without Triton>"


def jit(fn=None, **options):
    """`@triton.jit` or `@triton.jit(...)`."""
    return Kernel(fn) if fn is not None else Kernel


def autotune(*_, **__):
    """`@triton.autotune(...)`: no timing, the kernel as it is."""
    return lambda kernel: kernel


heuristics = autotune


class Config:
    """`triton.Config(...)`: kept, never used."""

    def __init__(self, kwargs, num_warps=4, num_stages=3, **options):
        self.kwargs, self.num_warps, self.num_stages = kwargs, num_warps, num_stages


def cdiv(x: int, y: int) -> int:
    """Ceiling of x / y."""
    return -(-x // y)


def next_power_of_2(n: int) -> int:
    """The smallest power of two of n or more."""
    return 1 << (n - 1).bit_length()


class constexpr:
    """`tl.constexpr`, as an annotation and around a constant."""

    def __init__(self, value):
        self.value = value

    def __repr__(self):
        return f"constexpr[{self.value}]"


class _Language:
    """`triton.language`: `constexpr`, and a placeholder for every other name, which refuses to be called."""

    constexpr = constexpr

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Placeholder(name)


class _Placeholder:
    def __init__(self, name):
        self.name = name

    def __call__(self, *args, **kwargs):
        raise RuntimeError(f"tl.{self.name} can't run: {WHY}")

    def __repr__(self):
        return f"tl.{self.name}"


language = _Language()
