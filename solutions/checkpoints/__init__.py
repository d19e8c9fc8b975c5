"""Small trained models: NAME.safetensors holds the weights, NAME.json how they were made; and the recipes, NAME.py.

`save` and `load` write and read them. `python -m solutions.checkpoints NAME` runs a recipe again; a new recipe is a new
file in this folder with a function `make(folder)`. A recipe that takes minutes gives `train` a `Draft`, so that a run
that was interrupted can go on.
"""

import datetime
import hashlib
import json
import os
import platform
from dataclasses import asdict
from pathlib import Path

import safetensors.torch
import torch

from solutions.tiny import Config, TinyTransformer
from solutions.whole import write_whole

CHECKPOINTS = Path(__file__).resolve().parent


class NotHere(ValueError):
    """A model that this machine lacks, and how to get it, in a sentence."""


def save(model: TinyTransformer, name: str, folder: Path = CHECKPOINTS, **made) -> None:
    """Write the weights in float16, and a JSON with the config, what `made` says of them, and the provenance."""
    weights = {key: value.to(torch.float16).contiguous() for key, value in model.state_dict().items()}
    content = safetensors.torch.save(weights)
    write_whole(folder / f"{name}.safetensors", content)
    note(name, folder, config=asdict(model.config), sha256=hashlib.sha256(content).hexdigest(), **made)


@torch.no_grad()
def round_weights(model: torch.nn.Module) -> None:
    """Round the weights to float16, as `save` does, so that what is measured is what is kept."""
    for weight in model.parameters():
        weight.copy_(weight.half())


def note(name: str, folder: Path = CHECKPOINTS, **found) -> None:
    """Write NAME.json: what a run found, and the provenance."""
    text = json.dumps({**found, "provenance": provenance()}, indent=1)
    write_whole(folder / f"{name}.json", f"{text}\n".encode())


def load(name: str, folder: Path = CHECKPOINTS) -> TinyTransformer:
    """The model that `save` wrote, in float32, ready to use.

    Raises ValueError for a name that is not there, and NotHere for a file that is not the one its JSON tells of.
    """
    told, path = about(name, folder), folder / f"{name}.safetensors"
    content = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(content).hexdigest() != told.get("sha256"):
        state = "is damaged or comes from elsewhere" if content else "is missing"
        command = f"python3 course.py train {told.get('recipe', name)} --out {folder}"
        raise NotHere(f"{path.name} {state}: its hash is not the one in {name}.json. Make it again: {command}")
    config = ((key, tuple(value) if isinstance(value, list) else value) for key, value in told["config"].items())
    model = TinyTransformer(Config(**dict(config)))
    weights = safetensors.torch.load(content)
    model.load_state_dict({key: value.float() for key, value in weights.items()})
    return model.eval()


def about(name: str, folder: Path = CHECKPOINTS) -> dict:
    """How a checkpoint was made, or what a run found: the content of NAME.json."""
    path = folder / f"{name}.json"
    if not path.exists():
        known = ", ".join(sorted(each.stem for each in folder.glob("*.json"))) or "nothing"
        raise ValueError(f"{folder.name} holds no {name}; it holds {known}.")
    return json.loads(path.read_text(encoding="utf-8"))


def recipes() -> list[str]:
    """The names of all recipes."""
    return sorted(path.stem.replace("_", "-") for path in CHECKPOINTS.glob("[a-z]*.py"))


def recipe_of(name: str) -> str:
    """The recipe that something of this name belongs to: the longest that it begins with, or ""."""
    return max(filter(name.startswith, recipes()), key=len, default="")


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


class Draft:
    """A training run that is not over yet: weights, what the optimiser remembers, and losses, in one file.

    name, folder: the file is NAME.draft, where NAME begins with the recipe's; every: it is written after so many steps
    told: what else the recipe needs in order to go on; it may change between two steps and must be JSON
    """

    def __init__(self, name: str, folder: Path, every: int = 25, told: dict | None = None):
        self.path, self.every, self.told = folder / f"{name}.draft", every, {} if told is None else told
        self.remedy = f"Begin anew: python3 course.py train {recipe_of(name) or name} --anew"

    def put(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, losses: list[float]) -> None:
        """Write the file, if it is time."""
        if len(losses) % self.every:
            return
        tensors = {f"weights {name}": value for name, value in model.state_dict().items()}
        for number, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer {number} {name}": value for name, value in state.items()}
        told = json.dumps({"losses": losses, "told": self.told})
        content = safetensors.torch.save(tensors, {"told": told})
        write_whole(self.path, hashlib.sha256(content).digest() + content)

    def read(self) -> tuple[dict, dict[str, torch.Tensor]] | None:
        """What the file says, and its tensors; None without a file. Raises ValueError if it is damaged."""
        if not self.path.exists():
            return None
        digest, content = (whole := self.path.read_bytes())[:32], whole[32:]
        if hashlib.sha256(content).digest() != digest:
            raise ValueError(f"{self.path} is damaged. {self.remedy}")
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return json.loads(header["__metadata__"]["told"]), safetensors.torch.load(content)

    def take_up(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> list[float]:
        """Put model, optimiser and `told` where the run stopped; return its losses, none when there is no draft."""
        draft = self.read()
        if draft is None:
            return []
        told, tensors = draft
        weights: dict[str, torch.Tensor] = {}
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in tensors.items():
            kind, _, name = key.partition(" ")
            if kind == "weights":
                weights[name] = value
            else:
                number, _, name = name.partition(" ")
                state.setdefault(int(number), {})[name] = value
        try:
            model.load_state_dict(weights)
        except RuntimeError:
            raise ValueError(f"{self.path} belongs to another model. {self.remedy}") from None
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        self.told |= told["told"]
        return told["losses"]

    def done(self) -> None:
        """The run is over: the file goes."""
        self.path.unlink(missing_ok=True)
