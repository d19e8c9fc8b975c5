"""Small trained models: NAME.safetensors holds the weights, NAME.json how they were made; and the recipes, NAME.py.

`save` and `load` write and read them. `python -m solutions.checkpoints NAME` runs a recipe again; a new recipe is a new
file in this folder with a function `make(folder)`.
"""

import datetime
import json
import os
import platform
from dataclasses import asdict
from pathlib import Path

import safetensors.torch
import torch

from solutions.tiny import Config, TinyTransformer

CHECKPOINTS = Path(__file__).resolve().parent


def save(model: TinyTransformer, name: str, folder: Path = CHECKPOINTS, **made) -> None:
    """Write the weights in float16, and a JSON with the config, what `made` says of them, and the provenance."""
    weights = {key: value.to(torch.float16).contiguous() for key, value in model.state_dict().items()}
    write(folder / f"{name}.safetensors", safetensors.torch.save(weights))
    note(name, folder, config=asdict(model.config), **made)


@torch.no_grad()
def round_weights(model: torch.nn.Module) -> None:
    """Round the weights to float16, as `save` does, so that what is measured is what is kept."""
    for weight in model.parameters():
        weight.copy_(weight.half())


def note(name: str, folder: Path = CHECKPOINTS, **found) -> None:
    """Write NAME.json: what a run found, and the provenance."""
    text = json.dumps({**found, "provenance": provenance()}, indent=1)
    write(folder / f"{name}.json", f"{text}\n".encode())


def load(name: str, folder: Path = CHECKPOINTS) -> TinyTransformer:
    """The model that `save` wrote, in float32, ready to use.

    Raises ValueError for a name that is not there. An attention of a later lesson must be imported before.
    """
    config = about(name, folder)["config"]
    config = {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
    model = TinyTransformer(Config(**config))
    weights = safetensors.torch.load_file(folder / f"{name}.safetensors")
    model.load_state_dict({key: value.float() for key, value in weights.items()})
    return model.eval()


def about(name: str, folder: Path = CHECKPOINTS) -> dict:
    """How a checkpoint was made, or what a run found: the content of NAME.json."""
    path = folder / f"{name}.json"
    if not path.exists():
        known = ", ".join(sorted(each.stem for each in folder.glob("*.json"))) or "nothing"
        raise ValueError(f"{folder.name} holds no {name}; it holds {known}.")
    return json.loads(path.read_text(encoding="utf-8"))


def provenance() -> dict[str, str | int]:
    """When, where and with what something is made: it stands beside every number that is kept."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
    }


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    draft.write_bytes(content)
    os.replace(draft, path)
