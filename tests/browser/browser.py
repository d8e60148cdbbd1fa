"""A real browser, driven by Selenium: Debian's Chromium, headless.

The flags keep it from talking to anybody but the worker. The driver is Debian's too: Selenium is
given its path, or it would look for one on the network.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from tests.support.services import PATIENCE, require, wait_until

T = TypeVar("T")

FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)

REDRAWN: Final = (
    StaleElementReferenceException,
    NoSuchElementException,
    ElementClickInterceptedException,
    ElementNotInteractableException,
)
"""What Selenium raises, and has done nothing, when the page redraws an element meanwhile."""

DESKTOP: Final = (1440, 1000)
PHONE: Final = (390, 844)


class Browser:
    """The browser and the page that it shows.

    Args:
        profile: A folder of its own.
    """

    def __init__(self, profile: Path) -> None:
        options = Options()
        options.binary_location = require("chromium")
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = Chrome(options=options, service=Service(require("chromedriver")))
        self.resize(*DESKTOP)

    def close(self) -> None:
        self.driver.quit()

    def resize(self, width: int, height: int, scale: float = 1) -> None:
        """Set the size of the screen; a narrow one is a phone."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 500,
        )

    def scheme(self, name: str) -> None:
        """Set the colour scheme of the system: "light" or "dark"."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.command("Emulation.setEmulatedMedia", features=features)

    def command(self, name: str, **parameters: Any) -> Any:
        """Send a command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, parameters)

    def open(self, url: str) -> None:
        """Open a page; clears the messages of the console."""
        self.driver.get("about:blank")
        self._log()
        self.driver.get(url)

    def run(self, script: str) -> Any:
        """Evaluate JavaScript."""
        return self.driver.execute_script(f"return {script}")

    def complaints(self) -> list[str]:
        """Messages of the console since the page was opened, such as policy violations."""
        return [f"{e['level']}: {e['message']}" for e in self._log()]

    def _log(self) -> Any:
        return self.driver.execute("getLog", {"type": "browser"})["value"]

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def find(self, selector: str) -> WebElement:
        """An element that the page does not redraw; for others there are the methods below."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def click(self, selector: str, text: str | None = None) -> None:
        """Click on the first element, or the first with this text."""

        def first() -> WebElement:
            for one in self.all(selector):
                if text is None or one.text == text:
                    return one
            raise NoSuchElementException(f"{selector} {text or ''}")

        self._when_drawn(lambda: first().click(), selector)

    def type(self, selector: str, *keys: str) -> None:
        self._when_drawn(lambda: self.find(selector).send_keys(*keys), selector)

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a list."""
        self._when_drawn(lambda: Select(self.find(selector)).select_by_value(value), selector)

    def chosen(self, selector: str) -> str:
        """The text of the chosen option."""
        return self._when_drawn(
            lambda: Select(self.find(selector)).first_selected_option.text, selector
        )

    def text(self, selector: str) -> str:
        """The visible text of an element."""
        return self._when_drawn(lambda: _text(self.find(selector)), selector)

    def texts(self, selector: str) -> list[str]:
        """The visible texts of all such elements."""
        return self._when_drawn(lambda: [_text(one) for one in self.all(selector)], selector)

    def attributes(self, selector: str, name: str) -> list[str]:
        """An attribute, or a property such as `textContent`, of all such elements."""
        return self._when_drawn(
            lambda: [one.get_attribute(name) or "" for one in self.all(selector)], selector
        )

    def is_shown(self, selector: str) -> bool:
        return self._when_drawn(lambda: self.find(selector).is_displayed(), selector)

    def tile(self, name: str) -> str:
        """The number of a tile with its unit."""
        return self.text(f"#tile-{name} .value")

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait until a condition holds; the page may be redrawn meanwhile."""

        def holds() -> object:
            try:
                return condition()
            except REDRAWN:
                return False

        wait_until(holds, PATIENCE, what, interval=0.05)

    def _when_drawn(self, act: Callable[[], T], what: str) -> T:
        results: list[T] = []

        def is_done() -> bool:
            results.append(act())
            return True

        self.wait(is_done, f"{what} to be drawn")
        return results[0]

    def wait_for_charts(self) -> None:
        """Wait until all panels are drawn."""
        self.wait(
            lambda: (
                self.run("!document.body.hasAttribute('aria-busy')")
                and self.all("#charts .main-svg")
            ),
            "the charts",
        )

    def picture(self, path: Path) -> None:
        """A screenshot as PNG."""
        self.driver.get_screenshot_as_file(str(path))


def _text(element: WebElement) -> str:
    return element.text.replace("\N{NO-BREAK SPACE}", " ")
