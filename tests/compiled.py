"""What Triton's compiler and ptxas made of the kernels as they are: kept by their source, for it takes seconds each.

A kernel, an argument or a Triton that the record doesn't know is compiled, as ever. After a change of kernels:

    COURSE_COMPILED=anew python -m pytest tests/test_*_kernels.py
"""

import atexit
import hashlib
import json
import os
import re
from dataclasses import asdict
from functools import cache
from pathlib import Path

from solutions.interpreter import tl, triton
from widgets.theatre import resources
from widgets.theatre.resources import Resources

RECORD = Path(__file__).with_suffix(".json")
ANEW = os.environ.get("COURSE_COMPILED") == "anew"


def source(kernel) -> str:
    """The text of a kernel, of all kernels that it calls, and the constants of the module that they use."""
    used = {name: kernel.__globals__.get(name) for name in sorted(kernel.fn.__code__.co_names)}
    called = [source(each) for each in used.values() if isinstance(each, triton.JITFunction)]
    constants = [f"{name} = {each.value}" for name, each in used.items() if isinstance(each, tl.constexpr)]
    return "\n".join([kernel.src, *called, *constants])


def key(kernel, *asked) -> str:
    told = json.dumps([triton.__version__, source(kernel), *asked], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


@cache
def record() -> dict:
    return {} if ANEW or not RECORD.exists() else json.loads(RECORD.read_text(encoding="utf-8"))


def compiled(kernel, signature, constants, target="sm_90", num_warps=4, num_stages=2) -> Resources:
    """`resources`, from the record where it knows them; `ptx` names its asynchronous copies and products, no more."""
    asked = key(kernel, signature, constants, target, num_warps, num_stages)
    if asked not in record():
        found = asdict(resources(kernel, signature, constants, target, num_warps, num_stages))
        named = {*re.findall(r"\b(?:cp\.async|wgmma|mma)\.[\w.]+", found["ptx"])}
        record()[asked] = {**found, "ptx": " ".join(sorted(named))}
    found = record()[asked]
    return Resources(**{**found, "warnings": tuple(found["warnings"])})


@atexit.register
def write() -> None:
    if ANEW and record():
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(each)}" for name, each in sorted(record().items()))
        RECORD.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
