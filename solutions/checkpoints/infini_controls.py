"""What the passkey model is compared with: the same recipe with one thing changed. Writes infini-NAME.*

    plain    Infini-attention that never met the memory of a long stream: no simulated repetition
    window   a window of 64 with 4 sinks           xl     Transformer-XL's cache of one segment
    knn      Transformer-XL, and in the second layer a kNN memory of all keys
    full     the whole KV cache, in both layers

Steps, learning rate and data are the recipe's. Simulated repetition writes into a sum; the last four have none. A model
that can't see the key of a longer prompt doesn't get longer ones: the recipe lengthens them when they are answered.
The four that are shipped beside plain were trained for 300 to 600 steps: infini-NAME.json says for how many.
"""

from pathlib import Path

from solutions.checkpoints import save
from solutions.checkpoints.infini import config, fresh, train_one

CONTROLS = {
    "plain": (("infini",) * 2, {}),
    "window": (("window",) * 2, {"window": {"window": 64, "sinks": 4}}),
    "xl": (("xl",) * 2, {}),
    "knn": (("xl", "knn"), {}),
    "full": (("full",) * 2, {}),
}


def make(folder: Path) -> None:
    """Train all of them, one after the other: about 20 minutes on one thread."""
    for name, (layers, options) in CONTROLS.items():
        model = fresh(config(0, layers, **options))
        label = f"infini-controls-{name}"
        result = train_one(model, simulate=False, label=label, folder=folder)
        save(model, f"infini-{name}", folder, recipe="infini-controls", result=result)
        print(f"{name}: {result['right'][-1]:.0%} of the digits in prompts of up to {result['segments']} segments")
