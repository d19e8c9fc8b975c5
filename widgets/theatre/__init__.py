"""Tile Theatre: what a kernel moves between memory and chip, event by event."""

from widgets.theatre.measure import Trace, keep, recording, trace, traced
from widgets.theatre.resources import Resources, resources

__all__ = ["Resources", "Trace", "keep", "recording", "resources", "trace", "traced"]
