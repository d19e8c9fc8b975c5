"""The lessons' pages, the heaviest of the site: in a file of their own, so that another core can look at the others."""

import pytest
from bound import LESSONS

from solutions.lessons import lessons

from .test_site import ask_of, site  # noqa: F401  the fixture


@pytest.mark.parametrize("name, row", zip(LESSONS, lessons(), strict=True), ids=LESSONS)
def test_a_page_is_whole_quiet_told_in_words_and_fits_a_telephone(page, site, name, row):  # noqa: F811
    ask_of(page, site, name)
    assert page.locator("article img, article svg.drawing").count() > 0 or not row.checks
    for kind in row.instruments:
        assert page.locator(f"[data-instrument='{kind}']").count() > 0, kind
