"""The documents in a real browser that reaches nothing but this service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, Route, async_playwright, expect

from app.api.openapi import operations
from app.main import create_app
from tests.api.harness import TOKEN, served, settings

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="NOT RUN: there is no Chromium at /usr/bin/chromium"),
]


class Watched:
    """A page, where it wanted to go besides this service, and what it complained of."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.base = base
        self.foreign: list[str] = []
        self.complaints: list[str] = []
        page.on("console", lambda message: self._heard(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    async def guard(self, route: Route) -> None:
        if route.request.url.startswith((self.base, "data:")):
            await route.continue_()
        else:
            self.foreign.append(route.request.url)
            await route.abort()


@asynccontextmanager
async def browsing(base: str, language: str = "en") -> AsyncIterator[Watched]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = await browser.new_context(locale=language, viewport={"width": 1280, "height": 1000})
        watched = Watched(await context.new_page(), base)
        await context.route("**/*", watched.guard)
        yield watched
        await browser.close()


async def test_the_documents_work_without_the_internet(sqlite_url: str, tmp_path: Path) -> None:
    """Shown whole, tried out with the token, under the strict policy and with no request to anybody else."""
    app = create_app(settings(sqlite_url, tmp_path))
    with served(app) as base:
        async with browsing(base) as watched:
            page = watched.page
            answer = await page.goto(f"{base}/")
            assert answer is not None
            assert answer.url == f"{base}/docs"
            await expect(page.locator(".opblock")).to_have_count(len(list(operations(app.openapi()))))
            await expect(page.get_by_text("OAS 3.2")).to_be_visible()
            await page.get_by_role("button", name="Authorize").first.click()
            await page.locator(".modal-ux input").fill(TOKEN)
            await page.locator(".modal-ux").get_by_role("button", name="Apply credentials").click()
            await page.locator(".modal-ux").get_by_role("button", name="Close").click()
            operation = page.locator("#operations-Sources-list_sources")
            await operation.locator(".opblock-summary").click()
            await operation.get_by_role("button", name="Execute").click()
            await expect(operation.locator(".live-responses-table tbody .response-col_status")).to_contain_text("200")
            assert (watched.foreign, watched.complaints) == ([], [])


async def test_the_error_codes_are_a_page_of_their_own(sqlite_url: str, tmp_path: Path) -> None:
    app = create_app(settings(sqlite_url, tmp_path))
    with served(app) as base:
        async with browsing(base, "zh-CN") as watched:
            await watched.page.goto(f"{base}/docs/errors#run.already_active")
            await expect(watched.page.locator("tr:target")).to_contain_text("全量同步")
            color = await watched.page.locator("tr:target").evaluate("row => getComputedStyle(row).backgroundColor")
            assert color == "rgb(255, 243, 196)"
            assert (watched.foreign, watched.complaints) == ([], [])
