"""The drawings of the lessons that move, each a small instrument: `scenes.two_hands()`."""

from widgets.scenes.deepseek_sparse_attention import choose_four, signed_votes
from widgets.scenes.infini_attention import one_segment, outer_products
from widgets.scenes.local_and_global import forgetting_cache
from widgets.scenes.quadratic_attention import two_hands
from widgets.scenes.scene import SCENES, Dial, Scene

__all__ = [
    "SCENES",
    "Dial",
    "Scene",
    "choose_four",
    "forgetting_cache",
    "one_segment",
    "outer_products",
    "signed_votes",
    "two_hands",
]
