"""What a run prints: every name as it is and on its line, and JSON that any program reads."""

from __future__ import annotations

import json
import os
from pathlib import Path
from signal import Signals
from typing import Any

import pytest
from rich.console import Console, RenderableType

from exdiff_cli.engine import KEPT_OUTCOMES, Outcome, RunResult
from exdiff_cli.jobs import Job
from exdiff_cli.report.sidecar import AudioFile, DnsmosMeasures, Measures, QualityReport
from exdiff_cli.retry import together
from exdiff_cli.summary import recording_json, run_table, summary_json
from exdiff_cli.text import printable


def report(**changes: Any) -> QualityReport:
    file = AudioFile(
        path="a.wav",
        sha256="a" * 64,
        bytes=1,
        sample_rate=16_000,
        channels=1,
        frames=32_000,
        container="WAV",
        subtype="PCM_16",
        duration_s=2.0,
    )
    score = DnsmosMeasures(sig=3.0, bak=2.5, ovrl=2.25)
    measures = Measures(dnsmos=score, loudness_lufs=-23.4, noise_floor_dbfs=-48.0, peak_dbfs=-1.5, clipped_share=0)
    fields: dict[str, Any] = {
        "tool_version": "0",
        "input": file,
        "output": file,
        "before": measures,
        "after": measures,
        "changes": (),
        "settings": {},
        "settings_key": "k",
        "weights_sha256": "b" * 64,
        "seed": 0,
        "seconds": {"extract": 0.5},
        "real_time_factor": 0.25,
    }
    return QualityReport(**fields | changes)


def done(name: str, **changes: Any) -> Outcome:
    return Outcome(Job(Path("in", name), Path(name)), Path("out", name), report(**changes))


def failed(name: str) -> Outcome:
    return Outcome(Job(Path("in", name), Path(name)), error=f"in/{name}: is empty; copy it again")


def skipped(name: str) -> Outcome:
    return Outcome(Job(Path("in", name), Path(name)), skipped=True)


def result_of(*outcomes: Outcome, output: str = "out", **fields: Any) -> RunResult:
    result = RunResult(Path(output), **fields)
    for outcome in outcomes:
        result.add(outcome)
    return result


def shown(content: RenderableType) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(content)
    return capture.get()


def caption_of(result: RunResult) -> str:
    """What lies below the table, where it is wrapped to the table's width."""
    return " ".join(shown(run_table(result)).split("┘")[-1].split())


# --- printable ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Anruf für Zoë 会議.wav", "Anruf für Zoë 会議.wav"),
        ("a\nb\tc\r.wav", r"a\nb\tc\r.wav"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\u202efdp.wav", r"\u202efdp.wav"),
        (os.fsdecode(b"anruf-\xe4.wav"), r"anruf-\xe4.wav"),
        ("line\u2028separator", r"line\u2028separator"),
        ("", ""),
    ],
)
def test_printable(text: str, expected: str) -> None:
    assert printable(text) == expected
    assert printable(text).isprintable()
    printable(text).encode()


# --- the table ----------------------------------------------------------------------------------------------


def test_the_table_has_a_row_a_recording() -> None:
    result = result_of(done("a.wav"), failed("b.wav"), skipped("c.wav"), seconds=7.0)
    text = shown(run_table(result))
    (row,) = (line for line in text.splitlines() if "a.wav" in line)
    for cell in ("2.0 s", "2.25 → 2.25", "-23.4 → -23.4", "-48 → -48 dB", "4.0"):
        assert cell in row
    assert "b.wav" not in text
    assert caption_of(result) == "1 done, 1 were done before, 1 failed; 2 s of audio in 7 s; written to out"


def test_what_is_not_measured_is_a_dash() -> None:
    silent = Measures(dnsmos=None, loudness_lufs=None, noise_floor_dbfs=-120, peak_dbfs=-120, clipped_share=0)
    text = shown(run_table(result_of(done("a.wav", before=silent, after=silent, real_time_factor=0))))
    assert text.count("- → -") == 2


@pytest.mark.parametrize("name", ["[red]a.wav", "x[/y].wav", "a:smile:b.wav", "[link=x]a.wav"])
def test_markup_in_names_is_text(name: str) -> None:
    assert name in shown(run_table(result_of(done(name))))
    assert caption_of(result_of(done("a.wav"), output=name)).endswith(f"written to {name}")


def test_long_runs_are_summed_up() -> None:
    result = result_of(*(done(f"call{number:03}.wav") for number in range(KEPT_OUTCOMES + 5)))
    assert shown(run_table(result)).count("call") == KEPT_OUTCOMES
    caption = caption_of(result)
    assert caption.startswith(f"{KEPT_OUTCOMES + 5} done")
    assert f" {2 * (KEPT_OUTCOMES + 5)} s of audio " in caption
    assert caption.endswith("5 more are not shown")


def test_other_formats_are_counted() -> None:
    same = report()
    flac = same.output.model_copy(update={"container": "FLAC"})
    result = result_of(done("a.wav"), done("b.amr", output=flac), done("c.amr", output=flac))
    assert "3 done" in caption_of(result)
    assert "2 stored in another format" in caption_of(result)
    assert summary_json(together(Path("out"), [result, result]))["converted"] == 4
    assert "another format" not in caption_of(result_of(done("a.wav")))


def test_a_run_keeps_no_more_reports_than_it_shows() -> None:
    outcome = done("a.wav")
    result = result_of(*(outcome for _ in range(10_000)), *(failed("b.wav") for _ in range(100)))
    assert (len(result.done), result.done_count, len(result.failed)) == (KEPT_OUTCOMES, 10_000, 100)
    both = together(Path("out"), [result, result_of(skipped("c.wav"), failed("b.wav")), result])
    assert (len(both.done), both.done_count, len(both.failed), both.skipped) == (KEPT_OUTCOMES, 20_000, 201, 1)
    assert both.done_seconds == 2 * result.done_seconds == 40_000


# --- JSON ---------------------------------------------------------------------------------------------------


def test_json_holds_everything() -> None:
    odd = os.fsdecode(b"\xe4.wav")
    outcomes = [done("a.wav"), failed("b\n.wav"), skipped(odd)]
    run = result_of(*outcomes, problems=["in/closed: folder cannot be read"], seconds=1.23456)
    recordings = [json.loads(json.dumps(recording_json(outcome))) for outcome in outcomes]
    assert json.loads(json.dumps(summary_json(run))) == {
        "message_type": "summary",
        "output": "out",
        "exit_code": 3,
        "seconds": 1.235,
        "done": 1,
        "skipped": 1,
        "failed": 1,
        "left": 0,
        "converted": 0,
        "flagged": 0,
        "shortfalls": [],
        "problems": ["in/closed: folder cannot be read"],
        "report": None,
    }
    assert {recording["message_type"] for recording in recordings} == {"recording"}
    assert [recording["recording"] for recording in recordings] == [str(each.job.relative) for each in outcomes]
    assert [recording["state"] for recording in recordings] == ["done", "failed", "skipped"]
    assert [recording["source"] for recording in recordings] == [str(outcome.job.source) for outcome in outcomes]
    assert recordings[0]["output"] == "out/a.wav"
    assert QualityReport.model_validate(recordings[0]["report"]) == outcomes[0].report
    assert recordings[1]["error"] == outcomes[1].error
    assert (recordings[1]["output"], recordings[1]["report"]) == (None, None)


def test_the_exit_code_is_that_of_the_outcomes() -> None:
    assert result_of(done("a.wav"), skipped("b.wav")).exit_code == 0
    assert result_of(done("a.wav"), failed("b.wav")).exit_code == 3
    assert result_of(done("a.wav"), problems=["closed: cannot be read"]).exit_code == 3
    assert result_of(failed("b.wav"), left=2).exit_code == 5
    assert result_of(failed("b.wav"), left=2, stopped_by=Signals.SIGTERM).exit_code == 143
    assert result_of(failed("b.wav"), left=2, gave_up=True).exit_code == 3
    assert result_of(done("a.wav"), stopped_by=Signals.SIGTERM).exit_code == 0


# --- scores -------------------------------------------------------------------------------------------------
