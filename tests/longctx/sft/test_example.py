"""The example of chats: what is asked for stands in the prompt, and nothing is asked for twice."""

import json
from pathlib import Path

import pytest

from longctx.sft.example import main


def test_each_prompt_holds_its_own_answer(tmp_path: Path) -> None:
    file = tmp_path / "chats.jsonl"
    assert main([str(file), "--rows", "30"]) == 0
    rows = [json.loads(line)["messages"] for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 30
    for user, assistant in rows:
        assert (user["role"], assistant["role"]) == ("user", "assistant")
        assert user["content"].count(f"The package {assistant['content']}.") == 1
    assert {user["content"].count("\nDocument ") for user, _ in rows} == {5, 9}
    assert len({assistant["content"] for _, assistant in rows}) == 30
    main([str(tmp_path / "again.jsonl"), "--rows", "30"])
    assert (tmp_path / "again.jsonl").read_bytes() == file.read_bytes()


def test_more_chats_than_there_are_packages_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / "chats.jsonl"), "--rows", "100000"])
    assert "--rows must be from 1 to" in capsys.readouterr().err
