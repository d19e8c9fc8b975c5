"""The instruments: what the course's notebooks and pages draw with."""

from widgets.atlas import Atlas
from widgets.ledger import Ledger
from widgets.predict import predict
from widgets.tape import Tape
from widgets.theatre import Theatre

__all__ = ["Atlas", "Ledger", "Tape", "Theatre", "predict"]
