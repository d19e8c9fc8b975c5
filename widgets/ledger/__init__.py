"""What grows? Bytes that running code allocates, by the variable they are for."""

from widgets.ledger.view import Ledger

__all__ = ["Ledger"]
