"""Where the mass of attention goes, at any length, and how much of it a mask keeps."""

from widgets.atlas.mask import Allowed, Mask
from widgets.atlas.view import Atlas

__all__ = ["Allowed", "Atlas", "Mask"]
