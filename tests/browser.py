"""The system's Chromium, driven by playwright; shared by tests of the HTML page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 60_000  # ms: the machine may be busy
NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """The browser's program. CI installs it: SPECTRA_REQUIRE_OPTIONAL turns its absence into a failure."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        missing = f"no browser: none of {', '.join(NAMES)} is installed; 'make browser' installs one"
        if os.environ.get("SPECTRA_REQUIRE_OPTIONAL"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@contextmanager
def launched() -> Iterator[Any]:
    """A browser without sandbox, as CI runs as root."""
    program = chromium()
    if not os.environ.get("SPECTRA_REQUIRE_OPTIONAL"):
        pytest.importorskip("playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"], timeout=PATIENCE)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, file: Path, fragment: str = "", *, width: int = 1280, theme: str = "light") -> Iterator[Any]:
    """A page opened from disk, with networking off; leaving it fails if the console has seen an error."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=theme, offline=True, reduced_motion="reduce"
    )
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else said.append(request.url))
    page.goto(file.absolute().as_uri() + fragment)
    yield page
    context.close()
    assert said == []
