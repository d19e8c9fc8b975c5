"""The drawings of the lessons that move, each a small instrument: `scenes.two_hands()`."""

from widgets.scenes.from_2k_to_128k import four_rules, ring_of_keys, sixteen_dials
from widgets.scenes.quadratic_attention import two_hands
from widgets.scenes.scene import SCENES, Dial, Scene

__all__ = ["SCENES", "Dial", "Scene", "four_rules", "ring_of_keys", "sixteen_dials", "two_hands"]
