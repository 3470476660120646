"""What is packed for a machine without a network arrives there, and what it trained comes home."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save_file

from benchmarks.offline import collect, pack, unpack
from preprocessing_stage.dataset.check_listing import listing_problems
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.dataset_folder import DatasetFolder, read_image, read_labels
from preprocessing_stage.paths import CHECKPOINTS, EXPERTS, TRAININGS
from train_stage.checkpoint import Checkpoint
from train_stage.weights_file import read_metadata

ROOT = Path(__file__).parents[2]
METADATA = {"training": "{}"}
ENCODER = {
    "conv.weight": torch.linspace(-1, 1, 24).view(2, 3, 2, 2),
    "norm.num_batches_tracked": torch.tensor(7),
    "classifier.weight": torch.ones(5, 2),
    "classifier.bias": torch.ones(5),
}


def run(monkeypatch: pytest.MonkeyPatch, command: object, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
    command.main()  # type: ignore[attr-defined]


@pytest.fixture
def bundle(folder: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All but the wheels, which come from a network, and of encoder weights some small ones."""
    monkeypatch.setattr(pack, "download_wheels", lambda *_: None)
    absent = ("no_such_package", "NoFile")
    monkeypatch.setattr(pack, "PACKAGES", {"net": ("small_net", "SmallFile"), "other": absent})
    (tmp_path / "here").mkdir()
    torch.save(ENCODER, tmp_path / "here/net.pth")
    code = (
        f"class SmallFile:\n    get_model_file_path = lambda: {str(tmp_path / 'here/net.pth')!r}\n"
    )
    (tmp_path / "here/small_net.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path / "here")
    run(monkeypatch, pack, folder.path, "--out", tmp_path / "bundle", "--val", 1)
    return tmp_path / "bundle"


def test_samples_arrive_as_a_data_set(
    bundle: Path,
    folder: DatasetFolder,
    tree: ClassTree,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(monkeypatch, unpack, bundle / "data.tar", tmp_path / "there")
    there = DatasetFolder(tmp_path / "there")
    assert listing_problems(there, tree) == []
    assert there.ids("train") == folder.ids("train")
    assert there.ids("val") == folder.ids("val")[:1]
    for name in [*there.ids("train"), *there.ids("val")]:
        images, maps = zip(
            *((data.image_path(name), data.label_path(name)) for data in (folder, there)),
            strict=True,
        )
        before, after = (read_image(path).astype(int) for path in images)
        assert np.abs(before - after).mean() < 12  # of 255, at this quality
        before, after = (read_labels(path) for path in maps)
        np.testing.assert_array_equal(before, after)
    assert not list(there.path.rglob("*.avif"))


def test_a_sample_without_its_photograph_is_named(folder: DatasetFolder, tmp_path: Path) -> None:
    folder.image_path("train_002").unlink()
    with pytest.raises(FileNotFoundError, match=r"JPEGImages/train_002: no file with one of"):
        pack.pack_samples(DatasetFolder(folder.path), 1, tmp_path / "data.tar")


def test_encoder_weights_are_found_under_the_packages_name(bundle: Path, tmp_path: Path) -> None:
    with tarfile.open(bundle / "weights.tar.xz") as tar:
        tar.extractall(tmp_path / "site", filter="data")
    asks = "from small_net import SmallFile\nprint(SmallFile.get_model_file_path())"
    answer = subprocess.run(
        [sys.executable, "-c", asks], cwd=tmp_path / "site", capture_output=True, text=True
    )
    path = Path(answer.stdout.strip())
    assert path.is_relative_to(tmp_path / "site")
    halves = torch.load(path, weights_only=True)
    assert list(halves) == list(ENCODER)
    assert torch.equal(halves["conv.weight"], ENCODER["conv.weight"].half())
    assert halves["norm.num_batches_tracked"] == 7
    assert not halves["classifier.weight"].any()


def write_workspace(folder: Path) -> dict[str, torch.Tensor]:
    """`person` and `body` have ended; `head` has not, and of `body` a checkpoint is left."""
    torch.manual_seed(0)
    weights = {
        name: {"head.weight": torch.randn(64, 64), "norm.num_batches_tracked": torch.tensor(3)}
        for name in ("person", "body", "head")
    }
    (folder / EXPERTS).mkdir(parents=True)
    for name in ("person", "body"):
        save_file(weights[name], folder / EXPERTS / f"{name}.safetensors", METADATA)
    for name in ("body", "head"):
        checkpoint = Checkpoint(name, {}, folder / CHECKPOINTS)
        with checkpoint.locked():
            checkpoint.save({"average": weights[name], "history": [{"epoch": 1}]})
    (folder / TRAININGS / "person").mkdir(parents=True)
    (folder / TRAININGS / "person/history.csv").write_text("epoch\n1\n")
    (folder / "params.yaml").write_text("train: {}\n")
    (folder.parent / "one.person.log").write_text("trained\n")
    return {name: own["head.weight"] for name, own in weights.items()}


def brought(out: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                file = tar.extractfile(member)
                assert file is not None and member.name not in found
                found[member.name] = file.read()
    return found


def test_finished_weights_come_home_in_half_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = write_workspace(tmp_path / "trainings/one")
    (out := tmp_path / "out").mkdir()
    monkeypatch.setattr(collect, "MAX_BYTES", 10_000)  # one of them is 8 kB
    run(monkeypatch, collect, tmp_path / "trainings", out)
    files = brought(out)
    assert [path.name for path in sorted(out.iterdir())] == ["one.0.tar", "one.1.tar"]
    assert files.keys() == {"person.safetensors", "body.safetensors"}
    for name in ("person", "body"):
        tensors = load(files[f"{name}.safetensors"])
        assert tensors.keys() == {"head.weight"}
        assert torch.equal(tensors["head.weight"], weights[name].half())
    (tmp_path / "person.safetensors").write_bytes(files["person.safetensors"])
    assert read_metadata(tmp_path / "person.safetensors") == METADATA


def test_at_last_the_unfinished_come_home_too_with_all_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = write_workspace(tmp_path / "trainings/one")
    (out := tmp_path / "out").mkdir()
    run(monkeypatch, collect, tmp_path / "trainings", out, "--last")
    files = brought(out)
    assert files.keys() == {
        *("person.safetensors", "body.safetensors", "head.unfinished.safetensors")
    }
    tensors = load(files["head.unfinished.safetensors"])
    assert torch.equal(tensors["head.weight"], weights["head"].half())
    assert "one: head has 1 epochs" in capsys.readouterr().out
    with tarfile.open(out / "logs.tar.gz") as tar:
        assert set(tar.getnames()) == {
            *("one.person.log", "one/params.yaml", f"one/{TRAININGS}/person/history.csv")
        }


def test_the_script_is_bash_and_names_profiles_that_there_are() -> None:
    script = ROOT / "benchmarks/offline/run.sh"
    subprocess.run(["bash", "-n", script], check=True)
    [loop] = [line for line in script.read_text().splitlines() if line.startswith("for profile in")]
    profiles = loop.removeprefix("for profile in").partition(";")[0].split()
    assert all((ROOT / f"profiles/{name}.yaml").is_file() for name in profiles)
