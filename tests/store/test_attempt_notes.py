"""Notes of attempts: the next run knows what was started, whatever happens between any two writes."""

import errno
import os

import pytest

from snakemake_executor_plugin_harbor.core.model import AttemptLocation
from snakemake_executor_plugin_harbor.errors import HarborError
from snakemake_executor_plugin_harbor.store.attempt_notes import AttemptNotes

ADA = AttemptLocation("ada", "ada.example", "boot", "/scratch")


def again(path):
    """The notes as the next run reads them."""
    return AttemptNotes(path)


def test_what_was_started_is_known_with_its_place(tmp_path):
    path = tmp_path / "notes"
    AttemptNotes(path).start("r/1", 2, ["h"], ADA)
    (note,) = again(path).with_hash("h")
    assert (note.job, note.attempt, note.place, note.ended) == ("r/1", 2, ADA, False)
    assert again(path).get("r/1") == note and again(path).any


def test_a_run_does_not_see_its_own(tmp_path):
    notes = AttemptNotes(tmp_path / "notes")
    notes.start("r/1", 1, ["h"], ADA)
    assert not notes.any and not notes.with_hash("h")


def test_what_snakemake_knows_is_forgotten(tmp_path):
    path = tmp_path / "notes"
    notes = AttemptNotes(path)
    notes.start("r/1", 1, ["h"], ADA)
    notes.result_recorded("r/1")
    assert not again(path).any and not path.exists()


def test_what_has_ended_without_snakemake_stays_noted_as_ended(tmp_path):
    path = tmp_path / "notes"
    notes = AttemptNotes(path)
    notes.start("r/1", 1, ["h"], ADA)
    notes.nothing_runs("r/1")
    assert again(path).get("r/1").ended and again(path).get("r/1").ended, "also after the file was rewritten"


def test_another_attempt_has_not_ended(tmp_path):
    path = tmp_path / "notes"
    notes = AttemptNotes(path)
    notes.start("r/1", 1, ["h"], ADA)
    notes.nothing_runs("r/1")
    notes.start("r/1", 2, ["h"], AttemptLocation("grace"))
    note = again(path).get("r/1")
    assert (note.attempt, note.place.node, note.ended) == (2, "grace", False)


def test_a_new_start_takes_the_place_of_an_earlier_run_s(tmp_path):
    path = tmp_path / "notes"
    AttemptNotes(path).start("r/1", 1, ["h"], ADA)
    AttemptNotes(path).start("s/1", 1, ["h"], ADA)
    assert [note.job for note in again(path).with_hash("h")] == ["s/1"] and again(path).get("r/1") is None


def test_a_group_is_known_by_each_of_its_members(tmp_path):
    path = tmp_path / "notes"
    AttemptNotes(path).start("r/g", 1, ["h", "i"], ADA)
    AttemptNotes(path).start("s/1", 1, ["h"], ADA)
    found = again(path)
    assert [note.job for note in found.with_hash("h")] == ["s/1"]
    assert [note.job for note in found.with_hash("i")] == ["r/g"]


@pytest.mark.parametrize(
    "rest", [b'["sta', b'["start"]\n', b"\xff\n", b"{}\n", b"7\n", b'["start",1,2,3,4]\n', b"\n\n"]
)
def test_a_line_that_makes_no_sense_harms_no_other(tmp_path, rest):
    path = tmp_path / "notes"
    AttemptNotes(path).start("r/1", 1, ["h"], ADA)
    with path.open("ab") as file:
        file.write(rest)
    notes = AttemptNotes(path)
    notes.start("s/2", 1, ["i"], ADA)
    found = again(path)
    assert found.get("r/1") and found.get("s/2")


def test_a_write_that_fails_is_made_up_for_by_the_next_one(tmp_path, monkeypatch):
    path, warnings = tmp_path / "notes", []
    notes = AttemptNotes(path, warnings.append)
    real = os.write
    tries = []

    def full(fd, data):
        tries.append(data)
        if len(tries) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        if len(tries) == 2:
            return real(fd, data[: len(data) // 2])
        return real(fd, data)

    monkeypatch.setattr(os, "write", full)
    for number in range(4):
        notes.start(f"r/{number}", 1, [f"h{number}"], ADA)
    monkeypatch.undo()
    assert all(again(path).get(f"r/{number}") for number in range(4))
    assert len(warnings) == 1 and "No space left" in warnings[0]


def test_a_file_that_cannot_be_read_is_an_error_that_says_so(tmp_path):
    path = tmp_path / "notes"
    path.mkdir()
    with pytest.raises(HarborError, match="cannot be read"):
        AttemptNotes(path)


def test_a_deleted_file_is_written_again(tmp_path):
    path = tmp_path / "harbor" / "notes"
    notes = AttemptNotes(path)
    notes.start("r/1", 1, ["h"], ADA)
    path.unlink()
    path.parent.rmdir()
    notes.start("r/2", 1, ["i"], ADA)
    assert again(path).get("r/2")


def test_clear_leaves_nothing(tmp_path):
    path = tmp_path / "notes"
    notes = AttemptNotes(path)
    notes.start("r/1", 1, ["h"], ADA)
    notes.clear()
    notes.close()
    assert not path.exists()
