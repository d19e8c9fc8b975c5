"""The instruments: what the course's notebooks and pages draw with."""

from widgets.predict import predict

__all__ = ["predict"]
