"""Run a recipe again: `python -m solutions.checkpoints window`. What it makes goes to work/checkpoints, or to --out.

A recipe with drafts may be interrupted: it keeps what it has, and the next start offers to go on.
"""

import argparse
import importlib
import sys
from pathlib import Path

import torch

from solutions.checkpoints import CHECKPOINTS, recipe_of, recipes


def main() -> int:
    parser = argparse.ArgumentParser(prog="train", description="Train a model of the course again.")
    parser.add_argument("name", choices=recipes())
    parser.add_argument("--out", type=Path, default=CHECKPOINTS.parents[1] / "work" / "checkpoints")
    parser.add_argument("--anew", action="store_true", help="begin anew, where a run was interrupted")
    chosen = parser.parse_args()
    torch.set_num_threads(1)  # as the shipped ones were made: on another number the sums round differently
    recipe = importlib.import_module(f"solutions.checkpoints.{chosen.name.replace('-', '_')}")
    drafts = of_recipe(chosen.name, chosen.out)
    if drafts and not (chosen.anew or goes_on(chosen.name)):
        chosen.anew = True
    if chosen.anew:
        for draft in drafts:
            draft.unlink()
    try:
        recipe.make(chosen.out)
    except KeyboardInterrupt:
        kept = of_recipe(chosen.name, chosen.out)
        print("\nInterrupted." + (" What was learnt is kept: the same command goes on from there." if kept else ""))
        return 130
    except ValueError as error:
        print(error)
        return 1
    print(f"Written to {chosen.out}")
    return 0


def of_recipe(name: str, folder: Path) -> list[Path]:
    """Its drafts in a folder."""
    return [path for path in folder.glob("*.draft") if recipe_of(path.stem) == name]


def goes_on(name: str) -> bool:
    """Whether to go on with an interrupted run: asked where someone can answer, else yes."""
    said = f"A run of {name} was interrupted."
    if not sys.stdin.isatty():
        print(f"{said} Going on with it; --anew begins again.")
        return True
    return input(f"{said} Go on with it? [Y/n] ").strip().lower() not in ("n", "no")


if __name__ == "__main__":
    sys.exit(main())
