"""The drawings of the lessons that move, each a small instrument: `scenes.two_hands()`."""

from widgets.scenes.deepseek_sparse_attention import choose_four, signed_votes
from widgets.scenes.flash_attention import change_of_unit, one_fetch, room_for_v, two_workers, waves
from widgets.scenes.flash_in_triton import one_program
from widgets.scenes.from_2k_to_128k import four_rules, ring_of_keys, sixteen_dials
from widgets.scenes.infini_attention import one_segment, outer_products
from widgets.scenes.local_and_global import forgetting_cache
from widgets.scenes.quadratic_attention import plane_of_words, token_by_token, two_hands
from widgets.scenes.scene import SCENES, Dial, Scene
from widgets.scenes.start_here import needle_strip

__all__ = [
    "SCENES",
    "Dial",
    "Scene",
    "change_of_unit",
    "choose_four",
    "forgetting_cache",
    "four_rules",
    "needle_strip",
    "one_fetch",
    "one_program",
    "one_segment",
    "outer_products",
    "plane_of_words",
    "ring_of_keys",
    "room_for_v",
    "signed_votes",
    "sixteen_dials",
    "token_by_token",
    "two_hands",
    "two_workers",
    "waves",
]
