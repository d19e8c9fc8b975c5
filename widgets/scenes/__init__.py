"""The drawings of the lessons that move, each a small instrument: `scenes.two_hands()`."""

from widgets.scenes.deepseek_sparse_attention import choose_four
from widgets.scenes.quadratic_attention import two_hands
from widgets.scenes.scene import SCENES, Dial, Scene

__all__ = ["SCENES", "Dial", "Scene", "choose_four", "two_hands"]
