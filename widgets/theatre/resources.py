"""What a kernel needs on a GPU, asked of the compiler itself, on a machine that has none.

Triton compiles for a target it isn't running on. The compiled kernel's metadata has the shared memory of a program;
cuobjdump, which Triton's Linux wheels bring, reads registers and spills from the binary.
"""

import inspect
import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from solutions import interpreter
from solutions.interpreter import python_function, triton


class Processor(NamedTuple):
    """One streaming multiprocessor (CUDA C++ Programming Guide, table of technical specifications)."""

    shared_bytes: int  # in all
    limit_bytes: int  # that one program may ask for
    registers: int = 65_536
    warps: int = 64
    programs: int = 32


TARGETS = {
    "sm_80": Processor(shared_bytes=167_936, limit_bytes=166_912),  # A100
    "sm_90": Processor(shared_bytes=233_472, limit_bytes=232_448),  # H100, H200
    "sm_100": Processor(shared_bytes=233_472, limit_bytes=232_448),  # B200
}
TYPE = r"\*?(fp8\w+|fp16|bf16|fp32|fp64|[iu](1|8|16|32|64))"
RESERVED = 1024  # bytes of shared memory that the system takes for each program


@dataclass(frozen=True)
class Resources:
    """What one program of a compiled kernel takes, and how many fit on one processor (SM) at once.

    shared_bytes: shared memory; registers: of each thread; spill_bytes: that each thread keeps in slow local memory
    because registers ran out; limit_bytes: the most shared memory a program may have on the target.
    """

    shared_bytes: int
    registers: int
    spill_bytes: int
    ptx: str = field(repr=False)
    target: str
    limit_bytes: int
    num_warps: int
    num_stages: int

    @property
    def fits(self) -> bool:
        """False when the launch would fail for want of shared memory: the compiler itself doesn't check."""
        return self.shared_bytes <= self.limit_bytes

    @property
    def reason(self) -> str:
        """One sentence: how it fits, or why it doesn't."""
        if not self.fits:
            return (
                f"does not fit: a program needs {self.shared_bytes:,} bytes of shared memory, and {self.target} gives "
                f"it at most {self.limit_bytes:,}. Take smaller blocks or fewer stages."
            )
        spilt = f", but each thread spills {self.spill_bytes:,} bytes" if self.spill_bytes else ""
        return (
            f"fits: {self.shared_bytes:,} of {self.limit_bytes:,} bytes of shared memory, {self.registers} registers a "
            f"thread, {self.programs_per_sm} at a time on one processor of {self.target}{spilt}."
        )

    @property
    def programs_per_sm(self) -> int:
        """How many programs one processor holds at once; 0 when not even one fits."""
        if not self.fits:
            return 0
        sm = TARGETS[self.target]
        registers = -(-self.registers // 8) * 8  # handed out to a warp in steps of 256
        return min(
            sm.shared_bytes // (self.shared_bytes + RESERVED),
            sm.registers // (32 * self.num_warps * registers),
            sm.warps // self.num_warps,
            sm.programs,
        )


def resources(
    kernel,
    signature: dict[str, str],
    constants: dict[str, Any],
    target: str = "sm_90",
    num_warps: int = 4,
    num_stages: int = 2,
) -> Resources:
    """Compile a @triton.jit kernel for a target, without a GPU, and read what a program needs.

    signature: the type of every argument that is no constant, "*fp16", "*fp32", "i32", "fp32", ...; constants: the
    values of the others, defaults may be left out. Pointers and whole numbers are taken to be divisible by 16, as
    Triton finds them at a launch with aligned tensors and such lengths; otherwise loads are not asynchronous copies.
    target: one of TARGETS. Takes seconds the first time; Triton keeps what it compiled.
    Raises ValueError for arguments or a target that don't fit, RuntimeError without Triton.
    """
    function = python_function(kernel)
    if target not in TARGETS:
        raise ValueError(f"target is {target!r}; give one of {', '.join(TARGETS)}.")
    if not isinstance(kernel, triton.JITFunction):
        raise RuntimeError("TRITON_INTERPRET is set, so nothing compiles. Unset it: counting doesn't need it.")
    constants = _complete(function, signature, constants)
    names = [name for name in inspect.signature(function).parameters]
    types = {name: signature.get(name, "constexpr") for name in names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if types[name][0] in "*iu"}
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    source = ASTSource(kernel, types, constants, aligned)
    options = {"num_warps": num_warps, "num_stages": num_stages}
    with interpreter.lock:  # an interpreted kernel patches triton.language while it runs
        compiled = triton.compile(source, target=GPUTarget("cuda", int(target[3:]), 32), options=options)
    registers, spilt = _usage(compiled.asm["cubin"])
    limit = TARGETS[target].limit_bytes
    ptx = compiled.asm["ptx"]
    return Resources(compiled.metadata.shared, registers, spilt, ptx, target, limit, num_warps, num_stages)


def _complete(function, signature: dict[str, str], constants: dict[str, Any]) -> dict[str, Any]:
    """The constants, with defaults for those left out. Raises ValueError unless every argument is given, once."""
    parameters = inspect.signature(function).parameters
    for name in [*signature, *constants]:
        if name not in parameters:
            raise ValueError(f"{function.__name__} has no argument {name}; it takes {', '.join(parameters)}.")
    both = signature.keys() & constants.keys()
    if both:
        raise ValueError(f"{sorted(both)[0]} is in the signature and in the constants; give it in one of them.")
    defaults = {name: p.default for name, p in parameters.items() if p.default is not p.empty and name not in signature}
    constants = defaults | constants
    missing = [name for name in parameters if name not in signature and name not in constants]
    if missing:
        raise ValueError(
            f"nothing says what {', '.join(missing)} of {function.__name__} is; give a type in the signature "
            '("*fp16", "i32", "fp32"), or a value in the constants.'
        )
    wrong = [f"{name}: {kind!r}" for name, kind in signature.items() if not re.fullmatch(TYPE, str(kind))]
    if wrong:
        raise ValueError(
            f'{wrong[0]} is no type; give one such as "*fp16" (a pointer), "i32" (a whole number) or "fp32".'
        )
    return constants


def _usage(cubin: bytes) -> tuple[int, int]:
    """Registers of a thread, and the bytes of its stack, which in a Triton kernel holds what was spilled."""
    cuobjdump = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        said = subprocess.run([cuobjdump, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", said).groups()
    return int(registers), int(stack)
