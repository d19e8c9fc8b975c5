"""Imported before jsonschema, spares each process the seconds in which it makes the grammar of an address (RFC 3987).

No notebook has such a field. pytest imports this first of all (pyproject.toml), and the press does.
"""

import sys

sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
