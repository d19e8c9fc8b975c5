"""To write a file whole or not at all, and to touch one that others touch."""

import os
import threading
import time
from pathlib import Path

TRIES = 50 if os.name == "nt" else 0


def write_whole(path: Path, content: bytes | str) -> None:
    """Replace a file as a whole: a reader of it sees the old or the new, never half. Text is written in UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)
        patiently(os.replace, draft, path)
    finally:
        draft.unlink(missing_ok=True)


def patiently(action, *arguments, **options):
    """On Windows a file can't be replaced while another process reads it, nor read while it is replaced: try again."""
    for _ in range(TRIES):
        try:
            return action(*arguments, **options)
        except PermissionError:
            time.sleep(0.01)
    return action(*arguments, **options)
