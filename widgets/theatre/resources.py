"""What a kernel needs on a GPU, asked of the compiler itself, on a machine that has none.

Triton compiles for a target it isn't running on. The compiled kernel's metadata has the shared memory of a program;
cuobjdump and nvdisasm, which Triton's Linux wheels bring, read registers, spills and tensor-core instructions from the
binary, and ptxas, run once more on the kernel's PTX, says what it warns of.
"""

import functools
import inspect
import re
import subprocess
import tempfile
from collections import Counter
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
SERIALIZED = "C7511"  # ptxas: wgmma.mma_async instructions are serialized


@dataclass(frozen=True)
class Resources:
    """What one program of a compiled kernel takes, and how many fit on one processor (SM) at once.

    shared_bytes: shared memory; registers: of each thread; spill_bytes: that each thread keeps in slow local memory
    because registers ran out; limit_bytes: the most shared memory a program may have on the target
    instructions: the tensor-core instructions of the machine code by shape, and how many: "m64n128k16 ss" is a wgmma
    that reads both tiles from shared memory, "m64n128k16 rs" has the first in registers, "m16n8k16" is an mma.sync
    warnings: what ptxas warns of
    """

    shared_bytes: int
    registers: int
    spill_bytes: int
    ptx: str = field(repr=False)
    target: str
    limit_bytes: int
    num_warps: int
    num_stages: int
    instructions: dict[str, int]
    warnings: tuple[str, ...]

    @property
    def serialized(self) -> bool:
        """Whether each wgmma waits for the one before: ptxas's C7511, for want of registers as a rule."""
        return any(SERIALIZED in warning for warning in self.warnings)

    @property
    def wgmma_bytes_a_cycle(self) -> float:
        """Shared memory that the thirstiest wgmma reads in a cycle of the tensor cores; 0 without any.

        An m64nNk16 takes N / 2 cycles of an H100's 4,096 operations each, and reads 32 N bytes of one tile and, if that
        isn't in registers, 2,048 of the other. A processor's shared memory gives 128 bytes a cycle: more can't be had.
        """
        wgmmas = [re.fullmatch(r"m64n(\d+)k\d+ (ss|rs)", shape) for shape in self.instructions]
        return max((64 + 4096 / int(m[1]) * (m[2] == "ss") for m in wgmmas if m), default=0.0)

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
        spilt += ", and each wgmma waits for the one before (ptxas C7511)" if self.serialized else ""
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
    registers, spilt, instructions = _usage(compiled.asm["cubin"])
    limit = TARGETS[target].limit_bytes
    ptx = compiled.asm["ptx"]
    warnings = _warnings(ptx) if "wgmma" in ptx else ()
    shared = compiled.metadata.shared
    return Resources(shared, registers, spilt, ptx, target, limit, num_warps, num_stages, dict(instructions), warnings)


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


@functools.lru_cache(maxsize=256)
def _usage(cubin: bytes) -> tuple[int, int, tuple[tuple[str, int], ...]]:
    """Registers of a thread; the bytes of its stack, which in a Triton kernel holds what was spilled; instructions."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage, code = _said("cuobjdump", "-res-usage", file.name), _said("nvdisasm", "-c", file.name)
    counts = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert counts is not None  # cuobjdump says both of every kernel
    registers, stack = counts.groups()
    shapes: Counter[str] = Counter()
    for m, n, k, operand in re.findall(r"\bHGMMA\.(\d+)x(\d+)x(\d+)\S*\s+\S+\s+(\w+)", code):
        shapes[f"m{m}n{n}k{k} {'ss' if operand == 'gdesc' else 'rs'}"] += 1
    for m, n, k in re.findall(r"\b[HI]MMA\.(16)(8)(4|8|16|32)\b", code):
        shapes[f"m{m}n{n}k{k}"] += 1
    return int(registers), int(stack), tuple(shapes.items())


@functools.lru_cache(maxsize=256)
def _warnings(ptx: str) -> tuple[str, ...]:
    """What ptxas says beside its counts, with the options that Triton gives it."""
    named = re.search(r"^\.target\s+(\w+)", ptx, re.MULTILINE)
    assert named is not None  # every PTX does
    target = named[1]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        options = "-lineinfo", "-v", "--regAllocOptLevel=2", f"--gpu-name={target}", "-o", f"{source}.cubin"
        said = _said("ptxas", *options, source)
    found = re.findall(r"\((C\d+)\)\s*(.*)", said)
    return tuple(f"{code} {text.strip()}" for code, text in found)


def _said(tool: str, *arguments) -> str:
    """What one of the tools of Triton's wheel prints. Raises CalledProcessError when it fails."""
    path = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / tool
    done = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr
