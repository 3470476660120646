"""Benchmarks run, with a size that says nothing about speed, and give the figures they promise."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import (
    accuracy_per_minute,
    child,
    growth,
    preprocessing,
    ray_workers,
    runtimes,
    segmentation,
    side_by_side,
    smp_baseline,
    training,
)
from benchmarks.rows import HEADER, Row, markdown_table, text_table
from benchmarks.setup import ROOT, TINY, Setup, copies, make_workspace, preprocess
from benchmarks.timing import interleaved
from final_model_stage.chain.settings import make_settings
from final_model_stage.params import load_final_params
from final_model_stage.torch_segmenter import TorchSegmenter
from preprocessing_stage.dataset.dataset_folder import read_image, read_labels
from preprocessing_stage.params import load_preprocessing_params
from train_stage.model import Expert
from train_stage.params import load_train_params

pytestmark = pytest.mark.slow

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of child processes, so that they do not wait for each other on a busy machine."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def base(tmp_path_factory, params_file, make_dataset, tree) -> Setup:
    """A tiny data set, tiny params and a chain of tiny networks.

    Experts start from a shared network, as in the project's params, which is not there: a clone
    has none.
    """
    folder = tmp_path_factory.mktemp("benchmarks")
    params = params_file(folder, **{"train.init_from": "shared", "shared.init_from": None})
    trained, data = load_train_params(params).experts, load_preprocessing_params(params).data
    settings = make_settings(tree, data.longest_side, load_final_params(params), trained)
    experts = {
        name: Expert(trained[name].model, tree.leaves_of_children(name)) for name in tree.experts
    }
    TorchSegmenter(settings, experts).save(folder / "segmenter")
    people = make_dataset(folder / "people", train=4, val=2)
    return Setup(people, params, folder / "segmenter", folder, TINY)


@pytest.fixture
def setup(base, tmp_path) -> Setup:
    return replace(base, folder=tmp_path)


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from numbers(one)
    elif isinstance(value, int | float):
        yield value


def check(result: Any, names: set[str]) -> None:
    figures = asdict(result)
    assert figures.keys() == names
    assert all(math.isfinite(value) and value > 0 for value in numbers(figures))
    assert len({row.what + row.against for row in result.rows()}) == len(result.rows())
    assert all(row.ratio is None or row.ratio > 0 for row in result.rows())


def test_preprocessing(setup):
    check(preprocessing.measure(setup), {"images", "ours", "loops", "decoding"})


def test_plain_loops_find_what_the_stages_find(setup, tree, tmp_path):
    data = copies(setup.people, tmp_path / "data", tree, {"train": 5, "val": 2}, 48)
    image = read_image(data.path / "JPEGImages/train_00001.jpg")
    gray = np.repeat(image.mean(2, keepdims=True), 3, 2).astype(np.uint8)
    preprocessing.Image.fromarray(gray).save(data.path / "JPEGImages/train_00001.jpg")
    (tmp_path / "loops").mkdir()
    task = (data, tree, 32, 12)
    ours = preprocessing.first_pass(*task, tmp_path / "packed")
    assert ours == preprocessing.plain_loops(*task, tmp_path / "loops")
    assert ours.gray == {"train_00001"}


def test_training(setup):
    names = {
        "input_size",
        "batch_size",
        "ours",
        "baseline",
        "resident",
        "flop_of_image",
        "ours_flops",
    }
    names |= {"ours_parameters", "baseline_parameters", "product_flops", "precision"}
    check(training.measure(setup), names)


def test_grouped_convolutions_are_not_counted_as_dense_ones():
    convolution = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)
    network = SimpleNamespace(fabric_model=lambda image, region: convolution(image))
    batch = SimpleNamespace(image=torch.rand(2, 8, 5, 5), region=None)
    multiply_adds = 2 * 8 * 9 * 5 * 5
    assert training.flop_of_step(network, batch) == 3 * 2 * multiply_adds


def test_the_baselines_are_as_large_as_ours(repo_params, tree):
    [own] = {
        smp_baseline.parameters(Expert(params.model, np.eye(2, dtype=bool)))
        for params in load_train_params(ROOT / "params.yaml").experts.values()
    }
    one = smp_baseline.parameters(
        smp_baseline.unet(f"tu-{smp_baseline.ENCODER}", 2, smp_baseline.AS_ONE_EXPERT)
    )
    all_of_them = smp_baseline.parameters(
        smp_baseline.unet(f"tu-{smp_baseline.ENCODER}", 7, smp_baseline.AS_THE_CHAIN)
    )
    assert one == pytest.approx(own, rel=0.01)
    assert all_of_them == pytest.approx(len(tree.experts) * own, rel=0.01)


def test_runtimes(setup):
    setup = replace(setup, segmenter=ROOT / "pretrained/from_scratch")
    result = runtimes.measure(setup)
    assert set(result.torch) == set(result.onnx) == {runtimes.CHAIN, runtimes.FAST, runtimes.UNET}
    assert min(*result.torch.values(), *result.onnx.values()) > 0
    assert len(result.rows()) == 4


def test_segmentation(setup, tree):
    names = {"images", "side", "ours_latency", "baseline_latency", "ours", "baseline_single"}
    check(segmentation.measure(setup), names | {"fast", "baseline_batched", "precision"})
    for who in ("ours", "baseline"):
        found = sorted((setup.folder / "segmentation" / who).glob("*.png"))
        assert [path.stem for path in found] == ["train_00000", "train_00001", "val_00000"]
        for path in found:
            labels = read_labels(path)
            assert max(labels.shape) == TINY.photograph
            assert set(np.unique(labels)) <= set(tree.ids("person"))


def test_growth(setup, monkeypatch, tmp_path):
    seen = []

    def measured(workspace: Path, step: str, *_: str) -> child.Figures:
        seen.append((workspace, step))
        return child.Figures(2.0 + len(seen), 100.0)

    monkeypatch.setattr(growth, "run_child", measured)
    result = growth.measure(setup)
    assert [step for _, step in seen] == 2 * list(growth.STEPS)
    assert [line.images for line in result.steps] == [[6, 12], [6, 12], [4, 8], [2, 4]]
    assert all(line.largest_deviation < 1e-6 for line in result.steps)
    assert len(result.rows()) == 2 * len(growth.STEPS)
    growth.plot(result, tmp_path / "plots/growth.svg")
    assert "</svg>" in (tmp_path / "plots/growth.svg").read_text()


def test_a_straight_line_is_found():
    measured = [(n, child.Figures(0.5 + 0.1 * n, 100.0)) for n in (10, 40, 160)]
    line = growth.line("packing", measured)
    assert line.fixed_seconds == pytest.approx(0.5)
    assert line.seconds_of_image == pytest.approx(0.1)
    assert line.largest_deviation == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("step", ["packing", "statistics", "training", "evaluation"])
def test_steps_of_growth(step, setup, tree, monkeypatch, capsys, tmp_path):
    people = copies(setup.people, tmp_path / "data", tree, {"train": 4, "val": 2})
    workspace = make_workspace(tmp_path / "workspace", people, setup.params)
    if step != "packing":
        preprocess(workspace)
    monkeypatch.chdir(workspace)
    monkeypatch.setattr("sys.stdin", StringIO("go\n"))
    child.main([step, "--segmenter", str(setup.segmenter)])
    ready, figures = capsys.readouterr().out.splitlines()[-2:]
    assert ready == "ready"
    check_figures(json.loads(figures))


def check_figures(figures: dict[str, float]) -> None:
    assert figures.keys() == {"seconds", "mebibytes"}
    assert figures["seconds"] > 0
    assert 50 < figures["mebibytes"] < 10_000


def test_ray(setup):
    names = {"images", "one_worker", "two_workers", "without_ray", "start_seconds"}
    check(ray_workers.measure(setup), names)


def test_side_by_side(setup):
    names = {"experts", "images", "together", "one_after_another", "two_processes"}
    result = side_by_side.measure(setup)
    check(result, names)
    assert result.experts == ["upper_body", "lower_body"]


def test_a_child_that_fails_is_told_of(tmp_path):
    with pytest.raises(RuntimeError, match="packing: exit code 1"):
        child.run_child(tmp_path, "packing")


def test_accuracy_per_minute(setup, monkeypatch, tmp_path):
    monkeypatch.setattr(accuracy_per_minute, "EVALUATIONS", 2)
    arguments = ["--out", str(tmp_path / "out"), "--data", str(setup.people.path)]
    accuracy_per_minute.main([*arguments, "--params", str(setup.params), "--minutes", "0.001"])
    figures = json.loads((tmp_path / "out/accuracy_per_minute.json").read_text())
    networks = [(point["network"], point["finished"]) for point in figures["points"]]
    assert networks == [("shared", True), ("chain", True), ("baseline", False), ("baseline", True)]
    assert all(point["minutes"] > 0 and 0 <= point["miou"] <= 1 for point in figures["points"])
    assert figures["points"][3]["minutes"] >= figures["points"][1]["minutes"]
    assert "</svg>" in (tmp_path / "out/accuracy_per_minute.svg").read_text()


def test_learning_rate_of_the_baseline():
    rates = [accuracy_per_minute.one_cycle(share) for share in (0, 0.15, 0.5, 1, 1.01)]
    assert rates[1] == 1 and rates[3] == rates[4] == 0
    assert rates[0] < rates[2] < 1


def test_medians_of_tasks_that_take_turns(monkeypatch):
    now, order = [0.0], []

    def task(name: str, seconds: list[float]) -> Callable[[], None]:
        def run() -> None:
            order.append(name)
            now[0] += seconds.pop(0)

        return run

    monkeypatch.setattr("benchmarks.timing.time.perf_counter", lambda: now[0])
    tasks = {"a": task("a", [9, 1, 5, 2]), "b": task("b", [9, 3, 3, 4])}
    assert interleaved(tasks, 3) == {"a": 2, "b": 3}
    assert order == ["a", "b"] * 4


class Two:
    def rows(self) -> list[Row]:
        return [
            Row("speed", 12.345, "images/s", "others", 4.0, ">= 3"),
            Row("memory", 1234.5, "MiB"),
        ]


def test_tables():
    lines = markdown_table({"x": Two()}).splitlines()
    assert lines[0].count("|") == len(HEADER) + 1
    assert lines[2] == "| x: speed | 12.3 | images/s | others | 4 | 3.09 | >= 3 |"
    assert lines[3] == "| x: memory | 1,234 | MiB |  |  |  |  |"
    assert "3.09" in text_table({"x": Two()}).splitlines()[1]


def test_the_command_writes_all_figures(base, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    arguments = ["--tiny", "--data", str(base.people.path), "--params", str(base.params)]
    arguments += ["--json", str(tmp_path / "figures.json"), "--markdown"]
    command.main(["preprocessing", *arguments])
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures.keys() == {"machine", "preprocessing"}
    assert figures["machine"]["torch"] == torch.__version__
    out = capsys.readouterr().out
    assert figures["machine"]["cpu"] in out
    assert "| preprocessing: first pass |" in out


def test_unknown_names_are_refused_with_those_there_are(capsys):
    with pytest.raises(SystemExit) as refused:
        command.main(["training", "speed"])
    assert refused.value.code == 2
    message = capsys.readouterr().err
    assert "no benchmark speed" in message
    assert all(name in message for name in command.BENCHMARKS)
