"""The drawings of the lessons that move, each a small instrument: `scenes.two_hands()`."""

from widgets.scenes.local_and_global import forgetting_cache
from widgets.scenes.quadratic_attention import two_hands
from widgets.scenes.scene import SCENES, Dial, Scene

__all__ = ["SCENES", "Dial", "Scene", "forgetting_cache", "two_hands"]
