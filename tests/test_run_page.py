"""The run report in a browser: what it shows, sorting, filter, keys, players, and how fast it loads."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest
from browser import launched, needs_browser
from recordings import DATA
from report_folders import OutputFolder

from exdiff_cli.report.run_report import ReportOptions, write_report
from exdiff_cli.report.sidecar import GuardMark

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = needs_browser

BUDGET_MS = 2_000
SECONDS = 2.16
MINUS, NONE = "\N{MINUS SIGN}", "\N{EN DASH}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open the report of a folder; it must not say anything in the console, nor ask for anything but files."""
    complaints: list[str] = []
    pages: list[Page] = []

    def open_page(folder: OutputFolder, **context: Any) -> Page:
        page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **context})
        pages.append(page)
        page.set_default_timeout(5_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if request.url[:4] == "http" else None)
        page.goto((folder.path / "report.html").as_uri())
        return page

    yield open_page
    for page in pages:
        page.close()
    assert not complaints


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> OutputFolder:
    """Sixty results, of which three have sound, and two failures."""
    made = OutputFolder(tmp_path_factory.mktemp("reported"))
    made.fill(57)
    marks = (GuardMark(start_s=0.54, end_s=1.08, channels=(0,), reason="sound added", decibels=8.0),)
    for number, name in enumerate(("a <b>bold</b> & name.wav", "week 1/second.wav", "week 2/third.wav")):
        changes = ("stored as FLAC PCM_16: as asked for",)
        made.done(name, 3.0, 1.5 + number / 10, duration=SECONDS, guard=marks, changes=changes)
        for root, sound in ((made.originals, "noisy.wav"), (made.path, "clean.wav")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(DATA / sound, root / name)
    made.failed("lost.amr", "lost.amr: is empty (zero bytes); record or copy it again")
    made.failed("site 3/lost.wma", "site 3/lost.wma: no audio in it; check what it is")
    write_report(made.path, ReportOptions(pictures=10))
    return made


def names(page: Page) -> list[str]:
    return page.locator("#body tr[data-place] td:first-child").evaluate_all("cells => cells.map(cell => cell.title)")


def chosen(page: Page) -> str:
    return page.locator("#body tr.chosen td:first-child").get_attribute("title") or ""


def cells(page: Page, column: int) -> list[str]:
    return page.locator(f"#body tr[data-place] td:nth-child({column})").all_inner_texts()


def heard(page: Page) -> dict[str, dict[str, Any]]:
    """What both players do: time, whether one is paused, and muted."""
    return page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll("audio")].map((sound, place) =>
            [place ? "enhanced" : "original", {time: sound.currentTime, paused: sound.paused, muted: sound.muted}]))"""
    )


def test_the_worst_come_first_and_what_fell_is_flagged(folder: OutputFolder, opened: Callable[..., Page]) -> None:
    page = opened(folder)
    assert names(page)[:3] == ["a <b>bold</b> & name.wav", "week 1/second.wav", "week 2/third.wav"]
    assert cells(page, 5)[0] == f"▼ {MINUS}1.50"
    cards = page.locator("#worst button")
    assert cards.count() == 10
    assert "fell" in cards.first.inner_text()
    assert page.locator("#worst img").count() == 3
    assert page.locator("#worst img").first.evaluate("image => image.complete && image.naturalWidth") > 100
    totals = page.locator(".totals").inner_text()
    assert "60" in totals.split("\n")
    assert page.locator("svg.plot").count() == 2


def test_only_rows_that_can_be_seen_are_drawn(folder: OutputFolder, opened: Callable[..., Page]) -> None:
    page = opened(folder)
    assert len(names(page)) < 45 < 62
    page.locator("#grid").evaluate("grid => { grid.scrollTop = grid.scrollHeight }")
    page.wait_for_function("document.querySelector('#body tr[data-place=\"61\"]')")
    assert not page.locator('#body tr[data-place="0"]').count()


@pytest.mark.parametrize(("title", "column"), [("length", 2), ("after", 4), ("gain", 5)])
def test_a_click_on_a_title_sorts_and_another_turns_it(
    folder: OutputFolder, opened: Callable[..., Page], title: str, column: int
) -> None:
    def shown() -> list[float]:
        texts = [text.replace("▼", "").replace(MINUS, "-").strip() for text in cells(page, column)]
        return [_number(text) for text in texts if text != NONE]

    page = opened(folder)
    page.get_by_role("button", name="recording", exact=True).click()
    page.get_by_role("button", name=title, exact=True).click()
    up = shown()
    page.get_by_role("button", name=title, exact=True).click()
    down = shown()
    assert up == sorted(up)
    assert down == sorted(down, reverse=True)
    assert down[0] > max(up)
    assert page.locator("th[aria-sort='descending']").inner_text().startswith(title)


def _number(text: str) -> float:
    if ":" in text:
        minutes, seconds = text.split(":")
        return 60 * int(minutes) + int(seconds)
    return float(text.removesuffix(" s"))


def test_the_filter_takes_words_in_any_order(folder: OutputFolder, opened: Callable[..., Page]) -> None:
    page = opened(folder)
    page.keyboard.press("/")
    page.keyboard.type("WAV week")
    assert sorted(names(page)) == ["week 1/second.wav", "week 2/third.wav"]
    assert page.locator("#count").inner_text() == "2 of 62"
    page.keyboard.press("Escape")
    assert page.locator("#count").inner_text() == "62 listed"
    page.keyboard.type("no such")
    assert page.locator("#none").is_visible()


def test_failures_are_shown_with_their_errors(folder: OutputFolder, opened: Callable[..., Page]) -> None:
    page = opened(folder)
    page.get_by_role("button", name="failed", exact=True).click()
    assert sorted(names(page)) == ["lost.amr", "site 3/lost.wma"]
    assert "is empty (zero bytes)" in page.locator("#body").inner_text()
    page.get_by_role("button", name="guard", exact=True).click()
    assert len(names(page)) == 5
    page.get_by_role("button", name="fell", exact=True).click()
    assert all(gain.startswith("▼") for gain in cells(page, 5))
    assert len(names(page)) >= 3


def test_what_is_flagged_has_a_badge_a_filter_and_says_why(tmp_path: Path, opened: Callable[..., Page]) -> None:
    made, why = OutputFolder(tmp_path), "rated 0.25 below the <b>recording</b> by DNSMOS: listen to both"
    made.done("a.wav", 2.0, 1.75, taken_from="diffuse", flags=(why, "and once more"))
    made.done("b.wav", 2.0, 2.5, taken_from="extract")
    made.done("c.wav", 2.0, 2.0, taken_from="original", flags=("it is odd",))
    made.done("old.wav", 2.0, 2.6)
    write_report(made.path, ReportOptions(pictures=0))
    page = opened(made)
    assert page.locator("#body .badge").all_inner_texts() == ["flagged"] * 2
    assert "flagged\n2\nExtract alone: 1, original kept: 1" in page.locator(".totals").inner_text()
    page.get_by_role("button", name="flagged", exact=True).click()
    assert names(page) == ["a.wav", "c.wav"]
    page.get_by_role("button", name="all", exact=True).click()
    told = {}
    for name in names(page):
        page.locator(f'#body tr:has(td[title="{name}"])').click()
        told[name] = page.locator("#detail .flags, #detail .taken").all_inner_texts()
        page.keyboard.press("Escape")
    assert told == {
        "a.wav": [f"flagged {why}", "flagged and once more", "result: the sampler's"],
        "b.wav": ["result: Extract's estimate alone"],
        "c.wav": ["flagged it is odd", "result: the recording itself, not enhanced"],
        "old.wav": [],
    }


def test_rows_are_walked_opened_and_closed_by_keys(folder: OutputFolder, opened: Callable[..., Page]) -> None:
    page = opened(folder)
    for key, place in (("j", 1), ("ArrowDown", 2), ("k", 1), ("ArrowUp", 0), ("ArrowUp", 0), ("End", 61), ("Home", 0)):
        page.keyboard.press(key)
        assert page.locator("#body tr.chosen").get_attribute("data-place") == str(place)
    page.keyboard.press("Enter")
    assert page.locator("#panel-title").inner_text() == "a <b>bold</b> & name.wav"
    page.keyboard.press("j")
    assert page.locator("#panel-title").inner_text() == chosen(page) == "week 1/second.wav"
    page.keyboard.press("Escape")
    assert page.locator("#panel").is_hidden()
    assert page.locator("audio").count() == 0
    page.keyboard.press("j")
    assert chosen(page) == "week 2/third.wav"


def test_a_recording_shows_picture_marks_measures_and_changes(
    folder: OutputFolder, opened: Callable[..., Page]
) -> None:
    page = opened(folder)
    page.locator("#body tr[data-place]").first.click()
    image = page.locator(".view img")
    assert image.evaluate("image => image.decode().then(() => image.naturalHeight)") == 256
    assert page.locator(".view .mark").get_attribute("style") == "left: 25%; width: 25%"
    detail = page.locator("#detail").inner_text()
    for text in ("0.54 to 1.08 s, channel 1: sound added, by 8.0 dB", "stored as FLAC PCM_16", "sampler.steps"):
        assert text in detail
    assert f"DNSMOS OVRL\t3.00\t1.50\t{MINUS}1.50" in detail
    assert "no evidence" in detail


def test_without_a_picture_it_says_how_to_get_one(folder: OutputFolder, opened: Callable[..., Page]) -> None:
    page = opened(folder)
    page.get_by_label("Filter by name").fill("site")
    page.locator("#body tr[data-place]").first.click()
    assert "--pictures all" in page.locator(".nopicture").inner_text()


def test_both_recordings_play_together_and_one_is_heard(folder: OutputFolder, opened: Callable[..., Page]) -> None:
    page = opened(folder)
    page.keyboard.press("Enter")
    page.wait_for_function("[...document.querySelectorAll('audio')].every(sound => sound.readyState >= 1)")
    durations = page.evaluate("[...document.querySelectorAll('audio')].map(sound => sound.duration)")
    assert durations == pytest.approx([SECONDS, SECONDS], abs=0.01)
    page.keyboard.press(" ")
    page.wait_for_function("[...document.querySelectorAll('audio')].every(sound => sound.currentTime > 0.3)")
    found = heard(page)
    assert (found["original"]["muted"], found["enhanced"]["muted"]) == (True, False)
    assert not found["original"]["paused"]
    assert not found["enhanced"]["paused"]
    page.keyboard.press("x")
    found = heard(page)
    assert (found["original"]["muted"], found["enhanced"]["muted"]) == (False, True)
    assert found["original"]["time"] == pytest.approx(found["enhanced"]["time"], abs=0.1)
    page.keyboard.press("ArrowLeft")  # to the beginning, and both go on from there
    page.wait_for_function("[...document.querySelectorAll('audio')].every(sound => sound.currentTime > 0.2)")
    page.keyboard.press("x")
    page.wait_for_function("[...document.querySelectorAll('audio')].every(sound => !sound.paused)")
    found = heard(page)
    assert found["original"]["time"] == pytest.approx(found["enhanced"]["time"], abs=0.06)
    assert found["original"]["muted"]
    page.keyboard.press(" ")
    assert all(sound["paused"] for sound in heard(page).values())


def test_at_the_end_it_stops_and_plays_again(folder: OutputFolder, opened: Callable[..., Page]) -> None:
    page = opened(folder)
    page.keyboard.press("Enter")
    page.wait_for_function("[...document.querySelectorAll('audio')].every(sound => sound.readyState >= 1)")
    page.get_by_label("Position").fill(str(SECONDS - 0.2))
    page.locator("#panel").focus()
    page.keyboard.press(" ")
    assert "pause" in page.locator("#play").inner_text()
    page.wait_for_function("document.getElementById('play').textContent.includes('play')")
    page.keyboard.press(" ")
    page.wait_for_function("[...document.querySelectorAll('audio')].some(s => !s.paused && s.currentTime < 1)")


def test_switching_while_paused_stays_at_the_position(folder: OutputFolder, opened: Callable[..., Page]) -> None:
    page = opened(folder)
    page.keyboard.press("Enter")
    page.wait_for_function("[...document.querySelectorAll('audio')].every(sound => sound.readyState >= 1)")
    box = page.locator(".view").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 20)
    page.wait_for_function("[...document.querySelectorAll('audio')].every(sound => sound.currentTime > 1)")
    page.get_by_role("button", name="original").click()
    found = heard(page)
    assert found["original"]["time"] == pytest.approx(SECONDS / 2, abs=0.02)
    assert found["enhanced"]["time"] == pytest.approx(SECONDS / 2, abs=0.02)
    assert page.get_by_role("button", name="original").get_attribute("aria-pressed") == "true"
    assert page.locator(".label.heard").inner_text() == "original"


def test_what_the_browser_cannot_play_is_told(folder: OutputFolder, opened: Callable[..., Page]) -> None:
    page = opened(folder)
    page.get_by_label("Filter by name").fill("site 0")
    page.locator("#body tr[data-place]").first.click()
    page.locator(".unplayable").wait_for(state="visible")
    assert "cannot play the original and the enhanced recording" in page.locator(".unplayable").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_telephone_has_room_for_all_of_it(folder: OutputFolder, opened: Callable[..., Page], scheme: str) -> None:
    page = opened(folder, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    width = "document.documentElement.scrollWidth"
    assert page.evaluate(width) == 390
    name = page.locator("#body tr[data-place] td:first-child").first.bounding_box()
    assert name is not None
    assert name["width"] > 180
    page.locator("#body tr[data-place]").first.click()
    assert page.evaluate(width) == 390
    panel = page.locator("#panel").bounding_box()
    assert panel is not None
    assert panel["width"] == 390
    assert page.locator("#panel").evaluate("panel => panel.scrollWidth <= panel.clientWidth")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is (scheme == "light")


@pytest.mark.soak
def test_five_thousand_recordings_load_and_sort_within_the_budget(tmp_path: Path, opened: Callable[..., Page]) -> None:
    many = OutputFolder(tmp_path)
    many.fill(5_000)
    began = perf_counter()
    write_report(many.path, ReportOptions(pictures=0))
    assert perf_counter() - began < 15
    assert (many.path / "report.html").stat().st_size < 5_000_000
    page = opened(many)
    ready = page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
    assert names(page)
    assert ready < BUDGET_MS
    sort = (
        "const began = performance.now(); document.querySelector('th button').click(); return performance.now() - began"
    )
    assert page.evaluate(f"() => {{ {sort} }}") < BUDGET_MS / 4
    assert names(page) == sorted(names(page))
