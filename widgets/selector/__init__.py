"""Selector's Eye: which tokens a sparse attention chooses, and what of the attention they hold."""

from widgets.selector.view import Eye

__all__ = ["Eye"]
