"""The pages of listening tests in a browser, by keyboard alone, from the first excerpt to the score."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser import launched, needs_browser
from listening_tests import enhanced, output_folder, write

from exdiff_cli.listening.key import Key, key_path, read_key
from exdiff_cli.listening.make import make_test, write_test
from exdiff_cli.listening.mushra import score_ratings
from exdiff_cli.listening.preference import Tally, score_preferences
from exdiff_cli.listening.results import read_results
from exdiff_cli.listening.sources import REFERENCE, Comparison

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

FORBIDDEN = "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no') }})"

pytestmark = needs_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    write_test(folder / "pairs.html", make_test(Comparison(output_folder(folder)), 3, 1.5, seed=3))
    return folder / "pairs.html"


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rated")
    out = output_folder(folder, lengths={"a.wav": 3.0, "b.wav": 3.0})
    for name in ("a.wav", "b.wav"):
        write(folder / "clean" / name, enhanced(folder / "in" / name, 1.0, 1.0))
    write_test(folder / "rated.html", make_test(Comparison(out, reference=folder / "clean"), 2, 1.5, seed=3))
    return folder / "rated.html"


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    found = browser.new_context(accept_downloads=True)
    yield found
    found.close()


def opened(context: BrowserContext, path: Path) -> Page:
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto(path.as_uri())
    return page


def loaded(page: Page, number: int) -> None:
    """Wait until an excerpt can be heard."""
    page.wait_for_function(f"document.activeElement.textContent.startsWith('Excerpt {number} ')")
    page.wait_for_function("player.buffers.length > 0")


def begin(page: Page, name: str = "anna") -> None:
    page.keyboard.press("Tab")
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    loaded(page, 1)


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def finished(page: Page, folder: Path) -> Path:
    """The file that is downloaded as the last answer is given."""
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def beside(result: Path, page: Path) -> Key:
    shutil.copy(key_path(page), result.parent)
    return read_key(key_path(page))


def test_a_blind_test_by_keyboard_alone(context: BrowserContext, pairs: Path, tmp_path: Path) -> None:
    page = opened(context, pairs)
    begin(page)
    press(page, "Enter")
    assert page.inner_text("#hint") == "Listen to both first."
    press(page, "a", "b", "Enter")
    assert "Choose A" in page.inner_text("#hint")
    press(page, "1", "Enter")
    loaded(page, 2)
    press(page, "b", "a", "ArrowRight", "Enter")
    loaded(page, 3)
    press(page, "Backspace")
    loaded(page, 2)
    assert page.is_checked("[value=b]")
    press(page, "0", "Enter")
    loaded(page, 3)
    press(page, "a", "b", "2", *["Tab"] * 5)
    page.keyboard.type("b is <b>dull</b>, 1 0 a")
    press(page, "Escape")
    result = finished(page, tmp_path)
    assert result.name.endswith("-anna.json")
    assert page.input_value("#result") == result.read_text()
    key = beside(result, pairs)
    given = [answer["answer"] for answer in json.loads(result.read_text())["answers"]]
    assert given == ["a", "none", "b"]
    preferred = [key.trials[0].order[0], key.trials[2].order[1]]
    expected = Tally(preferred.count("enhanced"), preferred.count("original"), 1)
    assert score_preferences(*read_results([result], None)).total == expected


def test_both_run_together_and_one_is_heard(context: BrowserContext, pairs: Path) -> None:
    page = opened(context, pairs)
    begin(page)
    gains = "player.gains.map(gain => Math.round(gain.gain.value))"
    for key, heard, name in (("a", [1, 0], "A"), ("b", [0, 1], "B"), ("a", [1, 0], "A")):
        press(page, key)
        page.wait_for_function(f"String({gains}) === '{heard[0]},{heard[1]}'")
        assert page.inner_text("#playing") == f"Playing {name}"
        assert page.get_attribute(f"[data-clip='{'ab'.index(key)}']", "aria-pressed") == "true"
    place = page.evaluate("player.position()")
    press(page, "b")
    page.wait_for_function(f"player.playing && player.position() !== {place}")
    assert 0 < (page.evaluate("player.position()") - place) % 1.5 < 1  # it went on, in a loop of 1.5 s
    press(page, "Space")
    stopped = page.evaluate("player.position()")
    page.wait_for_timeout(100)
    assert page.evaluate("player.position()") == stopped
    assert page.inner_text("#play") == "Play"


@pytest.mark.parametrize("script", ["", FORBIDDEN])
def test_answers_survive_a_reload(context: BrowserContext, pairs: Path, script: str) -> None:
    """Also where a browser does not let a page from a file store anything."""
    context.add_init_script(script)
    page = opened(context, pairs)
    begin(page, "bert")
    press(page, "a", "b", "2", "Enter")
    loaded(page, 2)
    press(page, "a", "b", "0")
    page.reload()
    assert "2 of 3" in page.inner_text("#kept")
    assert page.input_value("#listener") == "bert"
    press(page, "Tab", "Tab", "Enter")
    loaded(page, 2)
    assert page.is_checked("[value=none]")
    press(page, "Backspace")
    loaded(page, 1)
    assert page.is_checked("[value=b]")
    press(page, "Enter")  # what was heard counts, too
    loaded(page, 2)


def test_another_listener_begins_anew(context: BrowserContext, pairs: Path, tmp_path: Path) -> None:
    page = opened(context, pairs)
    page.on("dialog", lambda dialog: dialog.accept())
    begin(page)
    for number in (1, 2, 3):
        loaded(page, number)
        press(page, "a", "b", "1")
        if number < 3:
            press(page, "Enter")
    finished(page, tmp_path)
    page.reload()
    assert page.is_visible("#end")
    page.click("#anew")
    assert page.input_value("#listener") == ""
    begin(page, "carl")
    assert not page.is_checked("[value=a]")


def test_ratings_by_keyboard_alone(context: BrowserContext, rated: Path, tmp_path: Path) -> None:
    key = read_key(key_path(rated))
    page = opened(context, rated)
    begin(page)
    for number, trial in enumerate(key.trials, 1):
        loaded(page, number)
        press(page, "r")
        for place, system in enumerate(trial.order):
            press(page, "abcd"[place], "End" if system == REFERENCE else "Home", *["ArrowRight"] * place)
        if number == 1:
            press(page, "Enter")
    result = finished(page, tmp_path)
    beside(result, rated)
    found = score_ratings(*read_results([result], None))
    assert found.mean(REFERENCE).value == 100
    for trial in key.trials:
        for system in set(trial.order) - {REFERENCE}:
            assert found.mean(system, trial.recording).value == trial.order.index(system)


def test_what_is_rated_is_not_taken_for_granted(context: BrowserContext, rated: Path) -> None:
    page = opened(context, rated)
    begin(page)
    press(page, "r", "a", "b", "c", "Enter")
    assert page.inner_text("#hint").startswith("Listen to the reference")
    press(page, "d", "Enter")
    assert page.inner_text("#hint").startswith("Rate every version")
    for letter in "abcd":
        press(page, letter, "PageUp")
    press(page, "Enter")
    assert page.inner_text("#hint").endswith("rate at least one 100.")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(browser: Browser, rated: Path, pairs: Path, width: int, scheme: Any) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    for path in (pairs, rated):
        page = opened(context, path)
        begin(page)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        heights = page.eval_on_selector_all("button, #trial fieldset label", "all => all.map(e => e.offsetHeight)")
        assert min(height for height in heights if height) >= 44  # a fingertip
        unnamed = page.eval_on_selector_all(
            "input, textarea", "all => all.filter(e => !e.labels.length && !e.ariaLabel).length"
        )
        assert unnamed == 0
    context.close()
