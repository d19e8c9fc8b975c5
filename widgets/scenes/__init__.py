"""The drawings of the lessons that move, each a small instrument: `scenes.two_hands()`."""

from widgets.scenes.flash_in_triton import one_program
from widgets.scenes.quadratic_attention import two_hands
from widgets.scenes.scene import SCENES, Dial, Scene

__all__ = ["SCENES", "Dial", "Scene", "one_program", "two_hands"]
