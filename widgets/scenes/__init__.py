"""The drawings of the lessons that move, each a small instrument: `scenes.two_hands()`."""

from widgets.scenes.quadratic_attention import plane_of_words, token_by_token, two_hands
from widgets.scenes.scene import SCENES, Dial, Scene
from widgets.scenes.start_here import needle_strip

__all__ = ["SCENES", "Dial", "Scene", "needle_strip", "plane_of_words", "token_by_token", "two_hands"]
