"""The lessons' pages, the heaviest of the site: in a file of their own, so that another core can look at the others."""

import pytest
from bound import LESSONS

from .test_site import ask_of, site  # noqa: F401  the fixture


@pytest.mark.parametrize("name", LESSONS)
def test_a_page_is_whole_quiet_told_in_words_and_fits_a_telephone(page, site, name):  # noqa: F811
    ask_of(page, site, name)
