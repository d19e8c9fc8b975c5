"""The interview: a bank of questions whose figures are tested, practice, a mock, and the deck of cards."""

from widgets.interview.mock import whiteboard
from widgets.interview.view import Mock, Practice

__all__ = ["Mock", "Practice", "whiteboard"]
