"""Tile Theatre: what a kernel moves between memory and chip, event by event."""

from widgets.theatre.measure import Trace, keep, recording, trace, traced
from widgets.theatre.resources import Resources, resources
from widgets.theatre.roofline import peaks, roofline
from widgets.theatre.runs import attention_traces
from widgets.theatre.view import Theatre

__all__ = [
    "Resources",
    "Theatre",
    "Trace",
    "attention_traces",
    "keep",
    "peaks",
    "recording",
    "resources",
    "roofline",
    "trace",
    "traced",
]
