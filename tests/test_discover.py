"""Discovery: what is found and mirrored where, what is passed over, and what is refused before any work."""

from __future__ import annotations

import inspect
import io
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from exdiff_cli.discover import (
    STATE_FOLDER,
    Discovery,
    default_output,
    discover,
    discover_listed,
    read_list,
)
from exdiff_cli.errors import NoInputError, RecordingError, UsageError
from exdiff_cli.jobs import Job

SUFFIXES = frozenset({".wav", ".flac"})
NOBODY = 65534


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    folder = tmp_path / "calls"
    folder.mkdir()
    return folder


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"audio")
    return path


def find(*paths: Path, output: Path | None = None) -> Discovery:
    return discover(paths, output, SUFFIXES)


def names(found: Discovery) -> list[str]:
    return [job.relative.as_posix() for job in found.jobs]


def message_of(error: pytest.ExceptionInfo[Exception]) -> str:
    message = str(error.value)
    assert message
    assert "\n" not in message
    return message


# What is found


def test_folders_are_searched_at_any_depth_and_sorted(calls: Path) -> None:
    for name in ("b.wav", "a/z.flac", "a/b/c.wav", "a.wav", "notes.txt", "wav"):
        put(calls / name)
    found = find(calls)
    assert names(found) == ["a/b/c.wav", "a/z.flac", "a.wav", "b.wav"]
    assert all(job.source == calls / job.relative for job in found.jobs)
    assert found.problems == ()


def test_suffixes_match_in_any_case_and_stay_distinct(calls: Path) -> None:
    put(calls / "a.WAV")
    put(calls / "a.wav")
    put(calls / "b.FlAc")
    assert names(find(calls)) == ["a.WAV", "a.wav", "b.FlAc"]


def test_depth_beyond_the_recursion_limit(calls: Path) -> None:
    put(calls.joinpath(*["d"] * 300, "a.wav"))
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        found = find(calls)
    finally:
        sys.setrecursionlimit(limit)
    assert len(found.jobs) == 1


def test_file_argument_is_taken_whatever_its_suffix(calls: Path) -> None:
    source = put(calls / ".voice.memo")
    assert tuple(find(source).jobs) == (Job(source, Path(".voice.memo")),)


def test_names_that_are_not_utf8_are_found(calls: Path) -> None:
    source = put(calls / os.fsdecode(b"caf\xe9.wav"))
    assert next(iter(find(calls).jobs)).source == source


def test_relative_root_gives_paths_from_here(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(calls / "sub/a.wav")
    monkeypatch.chdir(calls / "sub")
    assert tuple(find(Path(".")).jobs) == (Job(Path("a.wav"), Path("a.wav")),)
    assert tuple(find(Path("..")).jobs) == (Job(Path("../sub/a.wav"), Path("sub/a.wav")),)


def test_same_recording_named_twice_is_one_job(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(calls / "a.wav")
    monkeypatch.chdir(calls.parent)
    assert names(find(calls, Path("calls"), calls / "a.wav", calls)) == ["a.wav"]


# What is passed over


@pytest.mark.parametrize("name", [".a.wav", "._a.wav", ".cache/a.wav", "lost+found/a.wav"])
def test_hidden_and_system_entries_are_skipped(calls: Path, name: str) -> None:
    put(calls / "kept.wav")
    put(calls / name)
    assert names(find(calls)) == ["kept.wav"]


def test_our_output_folders_are_skipped_and_others_are_not(calls: Path) -> None:
    for name in ("a.wav", "a-enhanced/a.wav", "ours/deep/a.wav", "voice-enhanced/b.wav"):
        put(calls / name)
    for ours in ("a-enhanced", "ours"):
        (calls / ours / STATE_FOLDER).mkdir()
    assert names(find(calls)) == ["a.wav", "voice-enhanced/b.wav"]


def test_output_folders_are_never_walked(calls: Path) -> None:
    """Neither this run's, to which a link may lead, nor another's."""
    put(calls / "a.wav")
    output = calls.parent / "clean"
    put(output / "b.wav")
    (calls / "again").symlink_to(output)
    assert names(find(calls, output=output)) == ["a.wav"]
    put(calls / "earlier" / "c.wav")
    (calls / "earlier" / STATE_FOLDER).mkdir()
    assert names(find(calls, output=output)) == ["a.wav"]


# Links


def test_link_loops_end(calls: Path) -> None:
    put(calls / "sub/a.wav")
    (calls / "sub/up").symlink_to(calls)
    (calls / "sub/further-up").symlink_to(calls.parent)
    (calls / "sub/disk").symlink_to("/")
    (calls / "self").symlink_to("self")
    (calls / "one").symlink_to("two")
    (calls / "two").symlink_to("one")
    assert names(find(calls)) == ["sub/a.wav"]


def test_linked_folder_is_followed_once_under_its_first_name(calls: Path, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere/a.wav")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "elsewhere")
    for name in ("x", "y"):
        (calls / name).mkdir()
        (calls / name / "link").symlink_to(tmp_path / "elsewhere")
    assert names(find(calls)) == ["x/link/a.wav"]


def test_real_folder_comes_before_a_link_to_it(calls: Path) -> None:
    put(calls / "z/a.wav")
    (calls / "a-link").symlink_to(calls / "z")
    assert names(find(calls)) == ["z/a.wav"]


def test_linked_file_is_found_and_dangling_one_is_left_to_fail(calls: Path, tmp_path: Path) -> None:
    (calls / "a.wav").symlink_to(put(tmp_path / "store/123"))
    (calls / "b.wav").symlink_to(tmp_path / "gone.wav")
    (calls / "c").symlink_to(tmp_path / "gone")
    assert names(find(calls)) == ["a.wav", "b.wav"]


def test_link_into_the_output_is_a_problem(calls: Path, tmp_path: Path) -> None:
    put(calls / "b.wav")
    (calls / "a.wav").symlink_to(put(tmp_path / "out/a.wav"))
    found = find(calls, output=tmp_path / "out")
    assert names(found) == ["b.wav"]
    assert [problem.path for problem in found.problems] == [calls / "a.wav"]


# Odd entries


def test_empty_folder_named_like_a_recording_becomes_a_job(calls: Path) -> None:
    (calls / "x.wav").mkdir()
    put(calls / "y.WAV/notes.txt")
    assert tuple(find(calls).jobs) == (Job(calls / "x.wav", Path("x.wav")), Job(calls / "y.WAV", Path("y.WAV")))


def test_folder_named_like_a_recording_but_holding_some_is_walked(calls: Path) -> None:
    put(calls / "x.wav/part/1.wav")
    (calls / "x.wav/2.wav").mkdir()
    assert names(find(calls)) == ["x.wav/2.wav", "x.wav/part/1.wav"]


def test_named_folder_like_a_recording_becomes_a_job(calls: Path) -> None:
    (calls / "x.wav").mkdir()
    assert tuple(find(calls / "x.wav").jobs) == (Job(calls / "x.wav", Path("x.wav")),)


def test_named_pipe_is_a_problem_and_not_opened(calls: Path) -> None:
    put(calls / "a.wav")
    os.mkfifo(calls / "p.wav")
    found = find(calls)
    assert names(found) == ["a.wav"]
    assert [problem.path for problem in found.problems] == [calls / "p.wav"]
    with pytest.raises(UsageError) as refused:
        find(calls / "p.wav")
    assert "neither a file nor a folder" in message_of(refused)


def test_unreadable_folder_is_a_problem(calls: Path) -> None:
    """Run as another user where this one is root, whom no permission stops."""
    put(calls / "a.wav")
    put(calls / "shut/b.wav")
    script = textwrap.dedent(f"""
        import os
        from pathlib import Path
        from exdiff_cli.discover import discover
        # The temporary folder's parents may be closed to others: enter before giving up the rights.
        os.chdir({str(calls)!r})
        if os.geteuid() == 0:
            os.setgid({NOBODY}), os.setuid({NOBODY})
        found = discover([Path(".")], None, frozenset({{".wav"}}))
        print([str(job.source) for job in found.jobs], [str(problem) for problem in found.problems])
    """)
    calls.chmod(0o755)
    (calls / "shut").chmod(0o000)
    try:
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    finally:
        (calls / "shut").chmod(0o755)
    assert done.returncode == 0, done.stderr
    expected = ["shut: folder cannot be read (Permission denied); grant read access or leave it out"]
    assert done.stdout == f"{['a.wav']} {expected}\n"


def test_problem_is_one_of_a_recording(calls: Path) -> None:
    put(calls / "a.wav")
    os.mkfifo(calls / "p.wav")
    (problem,) = find(calls).problems
    assert isinstance(problem, RecordingError)


# What is refused


def test_missing_path(calls: Path) -> None:
    with pytest.raises(UsageError) as refused:
        find(calls / "gone.wav")
    assert message_of(refused) == f"{calls / 'gone.wav'}: does not exist; check the path"


@pytest.mark.parametrize("name", ["a\0b", "n" * 300])
def test_impossible_path(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be opened"):
        find(Path(name))


def test_nothing_found_names_place_and_suffixes(calls: Path) -> None:
    put(calls / "a.txt")
    with pytest.raises(NoInputError) as empty:
        find(calls)
    assert message_of(empty) == f"no recordings found in {calls} (looked for .flac .wav)"
    with pytest.raises(NoInputError, match="no path was given"):
        find()


def test_nothing_found_mentions_what_could_not_be_read(calls: Path) -> None:
    os.mkfifo(calls / "p.wav")
    with pytest.raises(NoInputError) as empty:
        find(calls)
    assert str(calls / "p.wav") in message_of(empty)


def test_two_sources_for_one_output(tmp_path: Path) -> None:
    first, second = put(tmp_path / "one/sub/a.wav"), put(tmp_path / "two/sub/a.wav")
    with pytest.raises(UsageError) as refused:
        find(tmp_path / "one", tmp_path / "two")
    assert str(first) in message_of(refused)
    assert str(second) in message_of(refused)
    with pytest.raises(UsageError, match=r"would both be written to a\.wav"):
        find(first, second)


def test_file_and_folder_for_one_output(tmp_path: Path) -> None:
    put(tmp_path / "one/x.wav")
    put(tmp_path / "two/x.wav/1.wav")
    with pytest.raises(UsageError, match=r"would both be written to x\.wav"):
        find(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize("output", ["calls", "calls/../calls", "link"])
def test_output_is_the_input(calls: Path, output: str) -> None:
    put(calls / "a.wav")
    (calls.parent / "link").symlink_to(calls)
    with pytest.raises(UsageError) as refused:
        find(calls, output=calls.parent / output)
    assert "both input and output" in message_of(refused)


@pytest.mark.parametrize("output", ["2024", "new", "2024/new", "ours"])
def test_output_inside_the_input(calls: Path, output: str) -> None:
    put(calls / "2024/a.wav")
    put(calls / "b.wav")
    put(calls / "ours/.exdiff/manifest.sqlite")
    with pytest.raises(UsageError) as refused:
        find(calls, output=calls / output)
    assert f"lies inside the input {calls}" in message_of(refused)


@pytest.mark.parametrize("source", ["out/in", "out/in/a.wav", "link"])
def test_input_inside_the_output(tmp_path: Path, source: str) -> None:
    put(tmp_path / "out/in/a.wav")
    (tmp_path / "link").symlink_to(tmp_path / "out/in")
    with pytest.raises(UsageError) as refused:
        find(tmp_path / source, output=tmp_path / "out")
    assert "inside the output folder" in message_of(refused)


def test_output_is_a_file(calls: Path) -> None:
    put(calls / "a.wav")
    with pytest.raises(UsageError, match="must be a folder"):
        find(calls, output=put(calls.parent / "out.wav"))


def test_our_output_folder_as_input(calls: Path) -> None:
    put(calls / "a.wav")
    (calls / STATE_FOLDER).mkdir()
    with pytest.raises(UsageError, match="an output folder of exdiff"):
        find(calls)


# The default output folder


def test_default_output_lies_beside_the_input(calls: Path) -> None:
    put(calls / "a.b.wav")
    (calls / "v1.2").mkdir()
    assert default_output([calls]) == calls.parent / "calls-enhanced"
    assert default_output([calls / "a.b.wav"]) == calls / "a.b-enhanced"
    assert default_output([calls / "v1.2"]) == calls / "v1.2-enhanced"


def test_default_output_stays_relative_where_it_can(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (calls / "sub").mkdir()
    monkeypatch.chdir(calls)
    assert default_output([Path("./sub/")]) == Path("sub-enhanced")
    assert default_output([Path(".")]) == calls.parent / "calls-enhanced"
    assert default_output([Path("..")]) == calls.parent.parent / f"{calls.parent.name}-enhanced"


def test_default_output_of_a_file_lies_in_a_folder_that_can_be_searched_later(calls: Path) -> None:
    source = put(calls / "a.wav")
    output = default_output([source])
    put(output / "a.wav")
    (output / STATE_FOLDER).mkdir()
    assert names(find(source, output=output)) == names(find(calls)) == ["a.wav"]


@pytest.mark.parametrize("paths", [[], [Path("a"), Path("b")], [Path("/")], [Path("gone")]])
def test_default_output_needs_one_input_with_a_place_beside_it(paths: list[Path]) -> None:
    with pytest.raises(UsageError) as refused:
        default_output(paths)
    message_of(refused)


# Lists


def listed(*paths: Path, output: Path) -> Discovery:
    return discover_listed(paths, output)


def test_listed_recordings_keep_their_whole_path(calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative ones as they are, absolute ones below the root, and none depends on what else is listed."""
    put(calls / "a.wav")
    put(calls / "b" / "c.wav")
    monkeypatch.chdir(calls)
    found = listed(Path("./b/../b/c.wav"), calls / "a.wav", Path("../calls/b/c.wav"), output=tmp_path / "out")
    absolute = calls.relative_to("/")
    assert sorted(names(found)) == sorted([f"{absolute}/a.wav", f"{absolute}/b/c.wav", "b/c.wav"])
    assert names(listed(Path("b/c.wav"), output=tmp_path / "out")) == ["b/c.wav"]


def test_what_is_gone_from_a_list_is_a_problem_of_its_own(calls: Path, tmp_path: Path) -> None:
    put(calls / "a.wav")
    found = listed(calls / "a.wav", calls / "gone.wav", calls, output=tmp_path / "out")
    assert len(found.jobs) == 1
    assert [problem.problem for problem in found.problems] == ["does not exist", "is no file"]
    with pytest.raises(NoInputError, match=r"first of 1: .*gone\.wav"):
        listed(calls / "gone.wav", output=tmp_path / "out")
    with pytest.raises(NoInputError, match="no recordings listed"):
        listed(output=tmp_path / "out")


def test_a_list_may_not_name_results(calls: Path) -> None:
    put(calls / "a.wav")
    with pytest.raises(UsageError, match="inside the output folder"):
        listed(calls / "a.wav", output=calls)


def test_what_is_listed_twice_is_done_once(calls: Path, tmp_path: Path) -> None:
    put(calls / "a.wav")
    assert len(listed(calls / "a.wav", calls / "." / "a.wav", output=tmp_path / "out").jobs) == 1


@pytest.mark.parametrize(
    ("content", "null", "expected"),
    [
        (b"a.wav\nb c.wav\n", False, ["a.wav", "b c.wav"]),
        (b"a.wav\r\n\r\n\nb.wav", False, ["a.wav", "b.wav"]),
        (b"a\n.wav\0b.wav\r\0", True, ["a\n.wav", "b.wav\r"]),
        (b"\xe4.wav\n", False, [os.fsdecode(b"\xe4.wav")]),
        (b"", False, []),
    ],
)
def test_lists_are_read_as_bytes(content: bytes, null: bool, expected: list[str]) -> None:
    assert list(read_list(io.BytesIO(content), null)) == [Path(name) for name in expected]
