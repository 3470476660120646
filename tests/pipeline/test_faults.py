"""The short form of tests/faults: one kill, damaged pictures, a busy page."""

from __future__ import annotations

import time

import pytest
from faults import workspace

pytestmark = pytest.mark.slow

STAGES = ("train_shared",)


def test_a_killed_pipeline_ends_with_the_results_of_an_unbroken_one(tmp_path, monkeypatch):
    monkeypatch.setattr(workspace, "wanted", STAGES)
    unbroken, broken = (workspace.make(tmp_path / name) for name in ("unbroken", "broken"))
    beside = workspace.start(unbroken)
    process = workspace.start(broken)
    while process.poll() is None and not list(broken.glob(".checkpoints/*/state.pt")):
        time.sleep(0.005)
    workspace.send(9, broken, "all")
    assert process.wait() != 0
    assert STAGES[0] not in workspace.recorded(broken)
    assert workspace.run(broken) == 0, workspace.log(broken)
    assert workspace.stages_run(broken) == list(STAGES)
    assert beside.wait() == 0, workspace.log(unbroken)
    assert workspace.contents(broken) == workspace.contents(unbroken)


def test_the_decoder_takes_or_refuses_whatever_comes():
    pytest.importorskip("final_model_stage.image_reader")
    from faults.fuzz_decoder import fuzz

    assert fuzz(3000, seed=2)["a picture"] > 300


def test_clients_that_ask_the_page_at_once_are_all_answered(tmp_path):
    from faults.busy_page import keep_busy, serving

    with serving(tmp_path) as (port, pid):
        found = keep_busy(port, pid, clients=4, seconds=2)
    assert found.wrong == []
    assert set(found.answers) == {200}
    assert found.answers.total() >= 4
