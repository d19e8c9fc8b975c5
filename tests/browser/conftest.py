"""A real browser, shut off from the world: pages may speak to this machine and to nothing else."""

import os

import pytest

from widgets.kit.chromium import OUTSIDE, chromium, flags

QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]


# One browser for this package, not for the session: while Playwright runs, its event loop occupies the main thread,
# and the notebooks that are tested later want one of their own.
@pytest.fixture(scope="package")
def browser():
    """Headless Chromium. Without one the tests skip; with COURSE_BROWSER=required they fail."""
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        try:
            browser, reason = playwright.chromium.launch(executable_path=chromium(), args=[*QUIET, *flags()]), None
        except Error as error:
            browser, reason = None, error.message.splitlines()[0]
        if browser is None:
            missing = f"No Chromium could be started. Install chromium, or name one in COURSE_CHROMIUM. ({reason})"
            if os.environ.get("COURSE_BROWSER") == "required":
                pytest.fail(missing, pytrace=False)
            pytest.skip(missing)
        yield browser
        browser.close()


@pytest.fixture
def context(browser):
    """A fresh profile. Requests that would leave this machine are aborted and kept in `context.outside_requests`."""
    context = browser.new_context()
    context.outside_requests = []

    def block(route):
        context.outside_requests.append(route.request.url)
        route.abort()

    def hang_up(socket):
        context.outside_requests.append(socket.url)
        socket.close()

    context.route(OUTSIDE, block)
    context.route_web_socket(OUTSIDE, hang_up)
    yield context
    context.close()


@pytest.fixture
def page(context):
    """A page of that profile: `page.outside_requests` (addresses), `page.errors` (console errors and exceptions)."""
    page = context.new_page()
    page.outside_requests = context.outside_requests
    page.errors = []
    page.on("console", lambda message: message.type == "error" and page.errors.append(message.text))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    return page
