"""The instruments: what the course's notebooks and pages draw with."""

from widgets.atlas import Atlas
from widgets.interview import Mock, Practice, whiteboard
from widgets.ledger import Ledger
from widgets.order import Order
from widgets.predict import predict
from widgets.selector import Eye
from widgets.sketch import Sketch
from widgets.tape import Tape
from widgets.theatre import Theatre

__all__ = [
    "Atlas",
    "Eye",
    "Ledger",
    "Mock",
    "Order",
    "Practice",
    "Sketch",
    "Tape",
    "Theatre",
    "predict",
    "whiteboard",
]
