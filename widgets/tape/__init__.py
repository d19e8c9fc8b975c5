"""What a fixed state remembers and what it loses, segment after segment."""

from widgets.tape.view import Tape

__all__ = ["Tape"]
