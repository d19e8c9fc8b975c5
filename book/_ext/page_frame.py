"""What stands around a page: where it can be opened (launch and download links), and only the scripts that it needs."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import translate
from sphinx.application import Sphinx
from sphinx.config import Config

# Scripts of the theme and of Sphinx that serve buttons and a search which are not on these pages.
UNUSED_SCRIPTS = ("sphinx-book-theme.js", "doctools.js", "sphinx_highlight.js")
# Files that no page asks for: 8 MB of icons, source maps, translations and Sphinx's search.
UNUSED_FILES = (
    "**/*.map", "scripts/fontawesome.*", "scripts/bootstrap.*", "vendor", "locales", "*-macros.html",
    "searchtools.js", "language_data.js", *UNUSED_SCRIPTS, "scripts/sphinx-book-theme.js",
)  # fmt: skip


LANGUAGES = {"en": "English", **translate.LANGUAGES}


def set_address(app: Sphinx, config: Config) -> None:
    """One setting decides on the launch links: the project's public address. Without it there are none."""
    options = config.html_theme_options
    address = os.environ.get("COURSE_ADDRESS", options.get("repository_url", "")).strip().rstrip("/")
    options["repository_url"] = address
    if not address:
        options["launch_buttons"] = {}
    elif "github.com" not in address:  # Colab opens from there alone
        options["launch_buttons"].pop("colab_url", None)


def named_folds(toctree: str) -> str:
    """A list of pages in which each fold says, to a screen reader, whose pages it holds."""
    return re.sub(r'(>([^<]*)</a><details[^>]*><summary)>', r'\1 aria-label="pages of: \2">', toctree)


def frame(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Give the template `launch_links` [(text, address)]; for a lesson `notebook`, the learner's file; and `languages`
    [(code, name, address)] where it is in more than one. What surrounds a translation, and its code, is English.
    """
    groups = [button["buttons"] for button in context.get("header_buttons", []) if button["type"] == "group"]
    folder, _, name = pagename.rpartition("/")
    context["launch_links"] = [(link["text"], link["url"]) for group in groups for link in group if folder == "lessons"]
    language = folder.removeprefix("translations/") if folder.startswith("translations/") else "en"
    context["language"] = language
    learners = {"lessons": "notebooks", f"translations/{language}": f"notebooks/{language}"}.get(folder)
    context["notebook"] = context["pathto"](f"{learners}/{name}.ipynb", 1) if learners else None
    pages = {code: f"translations/{code}/{name}" for code in LANGUAGES} | {"en": f"lessons/{name}"}
    there = [code for code in LANGUAGES if learners and pages[code] in app.env.found_docs]
    context["languages"] = [(code, LANGUAGES[code], context["pathto"](pages[code])) for code in there if len(there) > 1]
    if language != "en":
        context["prev"] = context["next"] = None  # the lessons around it are in English
        context["body"] = context["body"].replace('<div class="cell ', '<div lang="en" class="cell ')
    # docutils makes references a list whose entries have a role that WAI-ARIA has since withdrawn
    context["body"] = context.get("body", "").replace(' role="doc-biblioentry"', ' role="listitem"')
    if "generate_toctree_html" in context:
        listed = context["generate_toctree_html"]
        context["generate_toctree_html"] = lambda *given, **options: named_folds(str(listed(*given, **options)))
    context["script_files"] = [
        script for script in context["script_files"] if not str(script.filename or "").endswith(UNUSED_SCRIPTS)
    ]


def prune(app: Sphinx, exception: Exception | None) -> None:
    for pattern in UNUSED_FILES if exception is None else ():
        for path in list(Path(app.outdir, "_static").glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def setup(app: Sphinx) -> dict:
    app.add_config_value("comments_config", {}, "html")  # Jupyter Book sets it though sphinx-comments is not loaded
    app.connect("config-inited", set_address, priority=100)
    app.connect("html-page-context", frame, priority=900)  # after the theme has gathered its buttons
    app.connect("build-finished", prune)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
