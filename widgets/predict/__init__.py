"""A question the reader answers before the run."""

from widgets.predict.view import Predict, predict

__all__ = ["Predict", "predict"]
