"""Run a recipe again: `python -m solutions.checkpoints window`. What it makes goes to work/checkpoints, or to --out."""

import argparse
import importlib
from pathlib import Path

import torch

from solutions.checkpoints import CHECKPOINTS


def main() -> None:
    names = sorted(path.stem for path in CHECKPOINTS.glob("[a-z]*.py"))
    parser = argparse.ArgumentParser(prog="train", description="Train a model of the course again.")
    parser.add_argument("name", choices=names)
    parser.add_argument("--out", type=Path, default=CHECKPOINTS.parents[1] / "work" / "checkpoints")
    chosen = parser.parse_args()
    torch.set_num_threads(1)  # as the shipped ones were made: on another number the sums round differently
    importlib.import_module(f"solutions.checkpoints.{chosen.name}").make(chosen.out)
    print(f"Written to {chosen.out}")


if __name__ == "__main__":
    main()
