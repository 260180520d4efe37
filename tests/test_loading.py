"""Loading without a search for garbage."""

from __future__ import annotations

import gc

import pytest

from exdiff_cli.loading import uncollected


def load_what_is_broken() -> None:
    assert not gc.isenabled()
    raise ImportError


def test_garbage_is_looked_for_again_afterwards_whatever_happens() -> None:
    assert gc.isenabled()
    with pytest.raises(ImportError), uncollected():
        load_what_is_broken()
    assert gc.isenabled()


def test_what_was_loaded_is_not_looked_through_again() -> None:
    gc.unfreeze()
    with uncollected():
        loaded = [[] for _ in range(1000)]  # type: ignore[var-annotated]
    assert gc.get_freeze_count() > len(loaded)
    gc.unfreeze()


def test_who_wants_no_garbage_looked_for_is_left_alone() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
