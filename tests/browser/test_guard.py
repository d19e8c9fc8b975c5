"""The guard on the pages proves that it can fail: what reaches outside, or breaks, is seen."""

import pytest


def test_outside_requests_are_stopped_and_told(page):
    page.set_content(
        """<img src="https://example.org/picture.png"><link rel="stylesheet" href="https://example.org/style.css">
        <script>new WebSocket("wss://example.org/socket").onclose = () => document.title = "closed"</script>"""
    )
    page.wait_for_function("document.title == 'closed'")
    assert {url.split("/")[-1] for url in page.outside_requests} == {"picture.png", "style.css", "socket"}


def test_local_pages_are_let_through(page, tmp_path):
    (tmp_path / "style.css").write_text("body { color: rgb(1, 2, 3) }")
    (tmp_path / "page.html").write_text('<link rel="stylesheet" href="style.css"><img src="data:image/svg+xml,<svg/>">')
    page.goto((tmp_path / "page.html").as_uri())
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(1, 2, 3)"
    assert page.outside_requests == []
    assert page.errors == []


@pytest.mark.parametrize("script", ["console.error('broken')", "setTimeout(() => { throw new Error('broken') })"])
def test_errors_of_a_page_are_told(page, script):
    page.set_content(f"<script>{script}</script>")
    page.wait_for_timeout(50)
    assert any("broken" in error for error in page.errors)
