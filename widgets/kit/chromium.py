"""The Chromium that pages are looked at with, and what it may ask for."""

import os
import re
import shutil

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")  # the first without windows
LOCAL = r"(?:file:|data:|blob:|about:|(?:https?|wss?)://(?:127\.0\.0\.1|localhost)(?::\d+)?(?:/|$))"
OUTSIDE = re.compile(f"^(?!{LOCAL})")


def chromium() -> str | None:
    """The one to drive, COURSE_CHROMIUM before others; None for the one that Playwright installs itself."""
    return os.environ.get("COURSE_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def flags() -> list[str]:
    """What it has to be started with: root may not use its sandbox."""
    return ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
