"""Gates: they hold the mean over all results against what was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_sidecar import measures, report

from exdiff_cli.errors import UsageError
from exdiff_cli.gates import Gates, reports_of, shortfalls
from exdiff_cli.report.sidecar import DnsmosMeasures, Measures, QualityReport


def rated(overall: float) -> Measures:
    return measures(dnsmos=DnsmosMeasures(sig=3.0, bak=3.0, ovrl=overall))


def reports() -> list[QualityReport]:
    """Mean gain 0.3, mean rating 2.9; silence does not count."""
    silence = report(before=measures(dnsmos=None), after=measures(dnsmos=None))
    return [report(before=rated(2.5), after=rated(2.9)), report(before=rated(2.7), after=rated(2.9)), silence]


def test_nothing_is_short_where_nothing_is_asked_for() -> None:
    assert not Gates()
    assert shortfalls(Gates(), reports()) == []


def test_a_gate_holds_the_mean() -> None:
    assert shortfalls(Gates(min_gain=0.29, min_ovrl=2.89), reports()) == []
    assert shortfalls(Gates(min_gain=0.31), reports()) == ["--min-gain 0.31: the mean gain of 2 results is 0.300"]
    assert shortfalls(Gates(min_ovrl=2.95), reports()) == [
        "--min-ovrl 2.95: the mean overall opinion of 2 results is 2.900"
    ]


def test_without_ratings_nobody_knows() -> None:
    silence = reports()[2:]
    assert shortfalls(Gates(min_gain=-1.0), silence) == ["--min-gain -1: no result has a rating"]
    assert shortfalls(Gates(min_gain=-1.0), []) == ["--min-gain -1: no result has a rating"]
    assert shortfalls(Gates(), silence) == []


def test_reports_that_are_missing_are_a_shortfall() -> None:
    short = ["the reports of 1 results cannot be read, so gates cannot tell"]
    assert shortfalls(Gates(min_gain=0.29), [*reports(), None]) == short


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gate_is_a_number(value: float) -> None:
    with pytest.raises(UsageError, match="--min-ovrl"):
        Gates(min_ovrl=value)


def test_a_folder_without_results_has_no_reports(tmp_path: Path) -> None:
    from exdiff_cli.manifest import Manifest

    with Manifest.open(tmp_path):
        pass
    assert list(reports_of(tmp_path)) == []
