"""The drawings of the lessons that move, each a small instrument: `scenes.two_hands()`."""

from widgets.scenes.flash_attention import change_of_unit, one_fetch, room_for_v, two_workers, waves
from widgets.scenes.flash_in_triton import one_program
from widgets.scenes.quadratic_attention import two_hands
from widgets.scenes.scene import SCENES, Dial, Scene

__all__ = [
    "SCENES", "Dial", "Scene", "change_of_unit", "one_fetch", "one_program", "room_for_v", "two_hands", "two_workers",
    "waves",
]  # fmt: skip
