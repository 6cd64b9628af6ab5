"""The demo's note for the page, as the event stream carries it."""

from pathlib import Path

import pytest

from api_stub.http import note


def test_there_is_a_note_only_when_a_demo_has_written_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert note.message() == b""
    monkeypatch.setenv(note.VARIABLE, str(tmp_path / "note"))
    assert note.message() == b""
    (tmp_path / "note").write_text('{"text": "mongod killed", "over": false}\n', encoding="utf-8")
    assert note.message() == b'event: note\ndata: {"text": "mongod killed", "over": false}\n\n'
