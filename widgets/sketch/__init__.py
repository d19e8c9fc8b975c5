"""What do you think? The reader draws a curve, then sees what was measured."""

from widgets.sketch.measure import found_by_distance
from widgets.sketch.view import Sketch

__all__ = ["Sketch", "found_by_distance"]
