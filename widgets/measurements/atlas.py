"""What the Atlas costs, measured: building and drawing 131,072 tokens, and the same attention in bertviz's head view.

    python -m widgets.measurements.atlas [length] [frames] [lab] [bertviz]      all when none is named

`length` builds one head in a process of its own, for its peak memory. `frames` zooms through that page in headless
Chromium, `lab` does the same in JupyterLab, with its kernel. `bertviz` needs bertviz (1.4.1 was used) and transformers
on the path, and is left out, saying so, without. Its pages fetch their scripts from the network, which these tests do
not: each is opened once without them, and once with those in the folder that BERTVIZ_SCRIPTS names (require.min.js
2.3.6, d3.min.js 5.7.0, jquery.min.js 2.1.4).
"""

import datetime
import json
import os
import pickle
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from widgets import Atlas
from widgets.atlas import Allowed, headmap, measure
from widgets.atlas.view import Head
from widgets.kit.chromium import OUTSIDE, chromium
from widgets.measurements import RESULTS

FILE = RESULTS / "atlas.json"
TOKENS, HEAD_DIM = 131_072, 64
HEADS = 12  # bertviz draws every head of a layer at once
LENGTHS = (256, 512, 1024)
PATIENCE = 300_000  # ms
LEFT_FREE = 6_000_000_000  # bytes of memory that a page may not take from the machine


def structured(tokens: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """q and k of a head with a sink, a band and a few verticals, beside noise: nothing in them is easier than it is."""
    generator = torch.Generator().manual_seed(seed)
    q, k = (1.2 * torch.randn(tokens, HEAD_DIM, generator=generator) for _ in range(2))
    angle = torch.arange(tokens)[:, None] * (torch.pi / (3 * 1.6 ** torch.arange(8)))
    q[:, :16] = k[:, :16] = 1.2 * torch.cat([angle.cos(), angle.sin()], dim=1)
    q[:, 16:18], k[:, 16:18] = 6.0, 0.0
    k[0, 16] = 14.0
    k[torch.randint(tokens, (6,), generator=generator), 17] = 13.0
    return q, k


def length(folder: Path) -> dict:
    """Build the map of one head of 131,072 tokens, on one thread, in a process of its own."""
    path = folder / "map.pickle"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    told = subprocess.run([sys.executable, __file__, "--build", path], env=environment, check=True, capture_output=True)
    return json.loads(told.stdout)


def build(path: Path) -> None:
    torch.set_num_threads(1)
    q, k = structured(TOKENS)
    before, begun, busy = peak_bytes(), time.perf_counter(), time.process_time()
    cell, block = headmap.cell_size(TOKENS, 1), headmap.block_size(TOKENS, 1)
    head = measure.map_head(q, k, Allowed(), scale=HEAD_DIM**-0.5, cell=cell, block=block, far=64)
    seconds, processor = time.perf_counter() - begun, time.process_time() - busy
    peak = peak_bytes()
    worst = 0.0
    for query in range(0, TOKENS, TOKENS // 64):
        scores = (q[query].double() @ k[: query + 1].double().T) * HEAD_DIM**-0.5
        exact = torch.softmax(scores, dim=0).numpy()
        worst = max(worst, float(np.abs(head.tile([query], np.arange(query + 1))[0] / exact - 1).max()))
    path.write_bytes(pickle.dumps(head))
    told: dict[str, Any] = {"tokens": TOKENS, "head_dim": HEAD_DIM, "seconds": seconds, "processor_seconds": processor}
    told |= {"peak_bytes": peak, "peak_bytes_before": before, "bytes_needed_said": None}
    told["bytes_needed_said"] = measure.bytes_needed(TOKENS, HEAD_DIM, 1, cell)
    told |= {"worst_relative_error_of_a_cell": worst, "cells_compared": sum(range(1, TOKENS + 1, TOKENS // 64))}
    print(json.dumps(told))


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def frames(folder: Path) -> dict:
    """Zoom from the whole map to its cells and back, hover, and drag the window, in headless Chromium."""
    head = pickle.loads((folder / "map.pickle").read_bytes())
    atlas = Atlas([Head(head, None, 0, "structured noise")])
    page_path = atlas.save_html(folder / "long.html")
    sent = atlas.data["heads"][0]
    told: dict[str, Any] = {"page_bytes": page_path.stat().st_size, "bytes_a_statistic": len(sent["largest"]["bytes"])}
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = launched(playwright)
        page = browser.new_page(viewport={"width": 1034, "height": 900}, device_scale_factor=2)
        begun = time.perf_counter()
        page.goto(page_path.as_uri())
        page.wait_for_selector(".al-atlas-number")
        told["seconds_to_open"] = time.perf_counter() - begun
        told |= travelled(page, *atlas.cursor)
        told["chromium"] = browser.version
        browser.close()
    return told


def lab(folder: Path) -> dict:
    """The same in JupyterLab: a notebook whose kernel holds the map and sends what the page asks for."""
    from playwright.sync_api import sync_playwright

    made = f"pickle.load(open({str(folder / 'map.pickle')!r}, 'rb'))"
    cell = (
        f"import pickle\nfrom widgets.atlas.view import Atlas, Head\nAtlas([Head({made}, None, 0, 'structured noise')])"
    )
    code: dict[str, Any] = {"cell_type": "code", "id": "atlas", "metadata": {}, "source": cell}
    code |= {"outputs": [], "execution_count": None}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = {"cells": [code], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / "lab").mkdir()
    (folder / "lab" / "atlas.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--port", "8895", "--port-retries", "0"]
    command += ["--ServerApp.token=bench", f"--ServerApp.root_dir={folder / 'lab'}"]
    command += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    server = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert server.stderr
    try:
        while "is running at" not in server.stderr.readline():
            pass
        threading.Thread(target=server.stderr.read, daemon=True).start()  # so that its pipe never fills
        with sync_playwright() as playwright:
            browser = launched(playwright)
            page = browser.new_page(viewport={"width": 1500, "height": 1200})
            page.goto("http://127.0.0.1:8895/lab/tree/atlas.ipynb?token=bench")
            page.get_by_text("| Idle").wait_for(timeout=90_000)
            page.get_by_role("menuitem", name="Run", exact=True).click()
            page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
            page.wait_for_selector(".al-atlas-number", timeout=90_000)
            page.get_by_role("application").first.scroll_into_view_if_needed()
            told = travelled(page, TOKENS * 2 // 3, TOKENS // 3)
            told["note"] = page.locator(".al-atlas-bar .al-caption").inner_text()
            told["jupyterlab"] = metadata.version("jupyterlab")
            browser.close()
        return told
    finally:
        server.terminate()
        server.wait(timeout=30)


def travelled(page, query: int, key: int) -> dict:
    """Zoom from the whole map to the cells at (query, key), back, and in again; hover there, and over the whole."""
    told = {}
    page.wait_for_timeout(2000)
    page.evaluate(WATCH)
    stage = page.get_by_role("application").first
    left, top, side = map(float, stage.get_attribute("data-map").split())
    left, top = left + stage.bounding_box()["x"], top + stage.bounding_box()["y"]
    page.mouse.move(left + (key + 0.5) * side / TOKENS, top + (query + 0.5) * side / TOKENS)
    page.keyboard.down("Control")
    for direction in (-60, 60, -60):
        for _ in range(50):
            page.mouse.wheel(0, direction)
            page.wait_for_timeout(16)
    page.keyboard.up("Control")
    told["zooming"] = page.evaluate("taken()")
    page.wait_for_timeout(1500)
    page.evaluate("taken()")
    for name in ("hovering_at_the_cells", "hovering_over_the_whole"):
        for step in range(120):
            page.mouse.move(left + 10 + step, top + 40 + 2 * step)
            page.wait_for_timeout(16)
        told[name] = page.evaluate("taken()")
        page.get_by_role("button", name="the whole map").first.click()
        page.wait_for_timeout(500)
        page.evaluate("taken()")
    return told


def launched(playwright):
    flags = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=chromium(), args=flags)


# The atlas says by the User Timing API how long it draws; the distance between frames is what a reader sees.
WATCH = """() => {
  let found = {}, gaps = [], last = 0;
  new PerformanceObserver((list) => {
    for (const { name, duration } of list.getEntries()) (found[name] ??= []).push(duration);
  }).observe({ entryTypes: ['measure'] });
  (function frame(now) { if (last) gaps.push(now - last); last = now; requestAnimationFrame(frame); })(0);
  const told = (values) => {
    values.sort((a, b) => a - b);
    const at = (share) => Math.round(100 * values[Math.floor(share * (values.length - 1))]) / 100;
    return { frames: values.length, median_ms: at(.5), p95_ms: at(.95), most_ms: at(1) };
  };
  window.taken = () => {
    const every = Object.entries({ ...found, 'between frames': gaps });
    found = {}; gaps = [];
    return Object.fromEntries(every.map(([name, values]) => [name, told(values)]));
  };
}"""


def bertviz(folder: Path) -> dict:
    """The same attention in bertviz's head view and in the Atlas: seconds to make, bytes of the page, how it opens."""
    try:
        from bertviz import head_view
    except ImportError as error:
        return {"left_out": f"bertviz is not installed ({error}); pip install bertviz==1.4.1"}
    from playwright.sync_api import sync_playwright

    scripts = os.environ.get("BERTVIZ_SCRIPTS")
    told: dict[str, Any] = {"bertviz": metadata.version("bertviz"), "heads": HEADS, "sizes": []}
    with sync_playwright() as playwright:
        for tokens in LENGTHS:
            q, k = (torch.stack(x) for x in zip(*(structured(tokens, seed) for seed in range(HEADS)), strict=True))
            text = [f"t{i}" for i in range(tokens)]
            begun = time.perf_counter()
            scores = (q @ k.transpose(1, 2) * HEAD_DIM**-0.5).masked_fill(
                ~torch.ones(tokens, tokens).tril().bool(), -torch.inf
            )
            made = head_view([scores.softmax(-1)[None]], text, html_action="return")
            theirs = folder / f"bertviz_{tokens}.html"
            theirs.write_text(f"<!doctype html><meta charset='utf-8'><body>{made.data}</body>", encoding="utf-8")
            seconds = time.perf_counter() - begun
            del made, scores
            begun = time.perf_counter()
            ours = Atlas.of(q, k, tokens=text).save_html(folder / f"atlas_{tokens}.html")
            row: dict[str, Any] = {"tokens": tokens, "bertviz": {"seconds_to_make": seconds}}
            row["atlas"] = {"seconds_to_make": time.perf_counter() - begun}
            row["bertviz"] |= {"page_bytes": theirs.stat().st_size, "alone": opened(playwright, theirs, "svg line")}
            if scripts:
                row["bertviz"]["with_its_scripts"] = opened(playwright, theirs, "svg line", Path(scripts))
            row["atlas"] |= {"page_bytes": ours.stat().st_size, "alone": opened(playwright, ours, "canvas")}
            theirs.unlink()
            told["sizes"].append(row)
            print(json.dumps(row, indent=1), flush=True)
    drawn = [row["tokens"] for row in told["sizes"] if row["bertviz"].get("with_its_scripts", {}).get("draws")]
    told["largest_drawn"] = {"bertviz": max(drawn, default=None), "bertviz_tried_up_to": LENGTHS[-1], "atlas": TOKENS}
    return told


def opened(playwright, path: Path, picture: str, scripts: Path | None = None) -> dict:
    """Open a page that may reach nothing but this machine: what does it ask for, and is there a picture, and when?

    picture: a selector of what it draws; scripts: a folder of files to answer with, by name, in place of the network
    """
    from playwright.sync_api import Error, TimeoutError

    browser = launched(playwright)
    asked = []

    def answer(route):
        asked.append(route.request.url)
        mine = scripts and scripts / route.request.url.rsplit("/", 1)[1]
        if mine and mine.exists():
            route.fulfill(path=mine, content_type="text/javascript")
        else:
            route.abort()

    told = {"asked_the_network_for": asked, "draws": False}
    try:
        page = browser.new_page()
        page.route(OUTSIDE, answer)
        begun = time.perf_counter()
        page.goto(path.as_uri(), wait_until="commit", timeout=PATIENCE)
        # In steps: a page that takes all memory is closed before the machine stands still.
        while time.perf_counter() - begun < (PATIENCE / 1000 if scripts or not asked else 5):
            if (measure.bytes_free() or LEFT_FREE) < LEFT_FREE:  # None: this machine does not say
                return told | {"why_not": f"left less than {LEFT_FREE / 1e9:.0f} GB of memory and was not done"}
            try:
                page.wait_for_selector(picture, state="attached", timeout=15_000)
                break
            except TimeoutError:
                continue
        else:
            return told | {"why_not": f"no picture after {time.perf_counter() - begun:.0f} s"}
        page.evaluate("() => new Promise(requestAnimationFrame)")
        told |= {"draws": True, "seconds_to_draw": time.perf_counter() - begun}
        told["elements"] = page.evaluate("document.querySelectorAll('*').length")
    except Error as error:
        told["why_not"] = error.message.splitlines()[0]
    finally:
        browser.close()
    return told


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main(parts: list[str]) -> None:
    found = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for part in parts:
            if part in ("frames", "lab") and not (Path(folder) / "map.pickle").exists():
                length(Path(folder))
            found[part] = {
                **{"length": length, "frames": frames, "lab": lab, "bertviz": bertviz}[part](Path(folder)),
                "date": datetime.date.today().isoformat(),
                "load_average": os.getloadavg()[0],
            }
            print(json.dumps({part: found[part]}, indent=1), flush=True)
    found["machine"] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads_used": 1,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--build"]:
        build(Path(sys.argv[2]))
    else:
        main(sys.argv[1:] or ["length", "frames", "lab", "bertviz"])
