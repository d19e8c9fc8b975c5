"""Who is ahead, and what turns it."""

from widgets.order.view import Order

__all__ = ["Order"]
