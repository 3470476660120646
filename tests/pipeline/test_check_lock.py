"""Files of DVC's that a kill cut short do not stop the next run."""

from __future__ import annotations

from pathlib import Path

import pytest

from final_model_stage.pipeline import check_lock

ROOT = Path(__file__).parents[2]
WHOLE = (ROOT / "dvc.lock").read_bytes()
IN_A_KEY = WHOLE[: WHOLE.index(b"md5:") + 2]


@pytest.mark.parametrize("content", [b"", b"sch", IN_A_KEY, b"\xff\xfe", b"stages: {}\n"])
def test_a_broken_lock_is_put_aside(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dvc.lock").write_bytes(content)
    check_lock.main()
    assert not Path("dvc.lock").exists()
    assert Path("dvc.lock.damaged").read_bytes() == content
    assert "dvc.lock: broken off" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, WHOLE])
def test_a_whole_lock_or_none_stays(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content:
        Path("dvc.lock").write_bytes(content)
    check_lock.main()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([content] if content else [])


@pytest.mark.parametrize(("content", "stays"), [("", False), ('{"a', False), ("{}", True)])
def test_a_broken_list_of_processes_is_put_aside(
    content: str, stays: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    listed = Path(".dvc/tmp/rwlock")
    listed.parent.mkdir(parents=True)
    listed.write_text(content)
    check_lock.main()
    assert listed.exists() == stays
