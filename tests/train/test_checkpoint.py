"""Which checkpoints stay on the disk."""

from __future__ import annotations

from pathlib import Path

from train_stage.checkpoint import Checkpoint


def test_a_checkpoint_takes_the_place_of_those_of_other_params(tmp_path: Path) -> None:
    def save(expert: str, params: int, *, finished: bool = False) -> str:
        checkpoint = Checkpoint(expert, {"params": params}, tmp_path)
        with checkpoint.locked():
            checkpoint.save({"epoch": 1})
        if finished:
            checkpoint.finish()
        return checkpoint.folder.name

    of_another = save("body_2", 0)
    save("body", 1)
    finished = save("body", 2, finished=True)
    running = Checkpoint("body", {"params": 3}, tmp_path)
    with running.locked():
        own = save("body", 4)
        assert save("body", 4) == own
        kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {of_another, finished, running.folder.name, own}
    assert save("body", 1) in (kept := {path.name for path in tmp_path.iterdir()})
    assert own not in kept
