"""A segmenter of unknown origin is loaded or refused in words, and none of its code runs."""

from __future__ import annotations

import copy
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from segmenter_fixtures import make_segmenter, random_image

from final_model_stage.torch_segmenter import TorchSegmenter

PERSON = "person.safetensors"


@pytest.fixture
def saved(tmp_path) -> Path:
    make_segmenter().save(tmp_path / "segmenter")
    return tmp_path / "segmenter"


def change(folder: Path, keys: str, value: Any) -> None:
    """Set a dotted key of segmenter.json, or with `...` take it out."""
    path = folder / "segmenter.json"
    values = section = json.loads(path.read_text())
    *above, last = keys.split(".")
    for key in above:
        section = section[key]
    section.pop(last, None)
    if value is not ...:
        section[last] = value
    path.write_text(json.dumps(values))


def nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = {f"n{level}": value}
    return value


# Dotted key, value -> what is said of it.
TAMPERED = {
    "no tree": ("tree", ..., "tree: is missing"),
    "tree without children": ("tree", {"person": {}}, "an inner node needs two children"),
    "tree of another kind": ("tree", [1, 2], "tree: Input should be a valid dictionary"),
    "tree without end": ("tree", nested(150), "an inner node needs two children"),
    "node that is a path": (
        "tree",
        {"../../etc": {"background": 0, "body": 1}},
        "'../../etc' is no name",
    ),
    "node that is an absolute path": (
        "tree",
        {"/etc/passwd": {"background": 0, "body": 1}},
        "'/etc/passwd' is no name",
    ),
    "id twice": ("tree.person.body.upper.head", 1, "id 1 is already used"),
    "id of ignored pixels": ("tree.person.body.upper.head", 255, "255 is no leaf id"),
    "inner node without expert": ("experts.upper", ..., "experts.upper: is missing"),
    "negative size": ("longest_side", -1, "longest_side: Input should be greater"),
    "size without bound": ("longest_side", 10**9, "longest_side: Input should be less than"),
    "passes without bound": (
        "mc_dropout_samples",
        10**9,
        "mc_dropout_samples: Input should be less than",
    ),
    "seed without bound": ("seed", 2**64, "seed: Input should be less than"),
    "unknown mode": ("mode", "soft", "mode: Input should be 'hard' or 'product'"),
    "unknown key": ("run", "rm -rf /", "run: is unknown"),
    "infinite margin": ("experts.upper.box_margin", 1e999, "segmenter.json: "),
    "input without bound": (
        "experts.upper.input_size",
        2**20,
        "experts.upper.input_size: Input should be less than or equal to 2048",
    ),
    "input that the model cannot halve": (
        "experts.upper.input_size",
        17,
        "experts.upper.input_size: 17 is no multiple of the model's stride",
    ),
    "channels without bound": (
        "experts.upper.model.max_channels",
        10**9,
        "experts.upper.model.max_channels: Input should be less than",
    ),
    "network of another size": (
        "experts.upper.model.base_channels",
        16,
        "upper.safetensors: does not fit segmenter.json",
    ),
    "network of gigabytes": (
        "experts.upper.model",
        {
            **{"encoder": "unet", "base_channels": 256, "max_channels": 2048, "depth": 7},
            **{"stem_stride": 1, "initial_pool": 1, "norm": "layer", "dropout": 0},
        },
        "experts.upper.input_size: 16 is no multiple",
    ),
    "encoder that is a path": (
        "experts.upper.model.encoder",
        "../../evil",
        "experts.upper.model.encoder: String should match pattern",
    ),
    "encoder from a hub": (
        "experts.upper.model.encoder",
        "hf-hub:stranger/model",
        "experts.upper.model.encoder: String should match pattern",
    ),
    "checksum of another file": ("sha256.person", "0" * 64, f"{PERSON}: damaged since it was"),
    "checksum that is no text": ("sha256.person", 7, "sha256.person: Input should be a valid"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_tampered_segmenter_json_is_refused_in_words(case, saved):
    keys, value, message = TAMPERED[case]
    change(saved, keys, value)
    with pytest.raises(ValueError, match=r"segmenter\.json|safetensors") as error:
        TorchSegmenter.load(saved)
    assert message in str(error.value)


def test_a_network_of_gigabytes_is_refused_before_memory_is_taken(saved):
    model = {"encoder": "unet", "base_channels": 256, "max_channels": 2048, "depth": 5}
    model |= {"stem_stride": 1, "initial_pool": 1, "norm": "layer", "dropout": 0}
    change(saved, "experts.upper.model", model)
    with pytest.raises(ValueError, match=r"upper\.safetensors: does not fit segmenter\.json"):
        TorchSegmenter.load(saved)


def test_an_unknown_encoder_is_refused_with_the_file(saved):
    model = {"encoder": "no_such_net", "base_channels": 8, "max_channels": 16, "depth": 5}
    model |= {"stem_stride": 2, "initial_pool": 1, "norm": "layer", "dropout": 0}
    change(saved, "experts.upper.input_size", 32)
    change(saved, "experts.upper.model", model)
    with pytest.raises(ValueError, match=r"upper\.safetensors: segmenter\.json names no such net"):
        TorchSegmenter.load(saved)


def test_all_problems_come_at_once(saved):
    for keys, value in (("longest_side", 0), ("mode", "soft"), ("experts.upper.input_size", 0)):
        change(saved, keys, value)
    with pytest.raises(ValueError) as error:
        TorchSegmenter.load(saved)
    for key in ("longest_side", "mode", "experts.upper.input_size"):
        assert f"  {key}: " in str(error.value)


class Touch:
    """Unpickled, it leaves a file behind."""

    def __reduce__(self):
        return Path.touch, (Path("touched"),)


def header(text: str, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text.encode() + body


TENSOR = '{"head.bias": {"dtype": "F32", "shape": SHAPE, "data_offsets": [0, 8]}}'
DAMAGED = {
    "empty": b"",
    "noise": bytes(range(256)) * 40,
    "pickle": pickle.dumps(Touch()),
    "header without end": struct.pack("<Q", 2**63) + b"{}",
    "header that is no JSON": header("{'a': 1}"),
    "tensor of a terabyte": header(TENSOR.replace("SHAPE", "[1000000, 1000000]"), bytes(8)),
    "tensor of a negative size": header(TENSOR.replace("SHAPE", "[-2]"), bytes(8)),
    "tensor beyond the file": header(TENSOR.replace("SHAPE", "[2]"), bytes(4)),
    "no tensor": header("{}"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_of_weights_is_refused_by_its_name(damage, saved, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (saved / PERSON).write_bytes(DAMAGED[damage])
    with pytest.raises(ValueError, match=PERSON):
        TorchSegmenter.load(saved)
    assert not Path("touched").exists()


@pytest.mark.parametrize("place", [0.0, 0.01, 0.5, 0.999])
def test_a_flipped_byte_of_weights_is_seen(place, saved):
    data = bytearray((saved / PERSON).read_bytes())
    data[int(place * len(data))] ^= 0x10
    (saved / PERSON).write_bytes(data)
    with pytest.raises(ValueError, match=PERSON):
        TorchSegmenter.load(saved)


def test_tensors_that_are_missing_or_too_many_are_named(saved):
    tensors = load_file(saved / PERSON)
    odd = {name: t for name, t in tensors.items() if name != "head.bias"}
    save_file(odd | {"extra": torch.zeros(2)}, saved / PERSON)
    with pytest.raises(ValueError, match="2 tensors differ, such as extra, which is"):
        TorchSegmenter.load(saved)


@pytest.mark.parametrize("text", ["", "null", "[]", "{", '{"tree": NaN}', "{}", "[" * 100_000])
def test_what_is_no_settings_file_is_refused(text, saved):
    (saved / "segmenter.json").write_text(text)
    with pytest.raises(ValueError, match=r"segmenter\.json"):
        TorchSegmenter.load(saved)


def test_a_settings_file_of_megabytes_is_not_read(saved):
    (saved / "segmenter.json").write_text(" " * 2**21)
    with pytest.raises(ValueError, match="more than 1048576 bytes"):
        TorchSegmenter.load(saved)


def test_a_folder_of_before_checksums_loads(saved):
    change(saved, "sha256", ...)
    image = random_image()
    np.testing.assert_array_equal(
        TorchSegmenter.load(saved, precision="32-true")(image), make_segmenter()(image)
    )


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
values = scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.text(max_size=4), scalars)


@pytest.fixture(scope="module")
def settings_of(tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("segmenter")
    make_segmenter().save(folder)
    return folder, json.loads((folder / "segmenter.json").read_text())


def keys_of(section: dict[str, Any], *above: str) -> list[tuple[str, ...]]:
    found = []
    for key, value in section.items():
        found.append((*above, key))
        found += keys_of(value, *above, key) if isinstance(value, dict) else []
    return found


@settings(max_examples=150)
@given(data=st.data())
def test_any_change_of_the_settings_loads_or_is_a_value_error(data, settings_of):
    folder, original = settings_of
    changed = copy.deepcopy(original)
    *above, last = data.draw(st.sampled_from(keys_of(original)))
    section = changed
    for key in above:
        section = section[key]
    if data.draw(st.booleans()):
        section[last] = data.draw(values)
    else:
        del section[last]
    (folder / "segmenter.json").write_text(json.dumps(changed))
    try:
        segmenter = TorchSegmenter.load(folder, precision="32-true")
    except ValueError as error:
        assert "segmenter.json" in str(error) or ".safetensors" in str(error)
    else:
        assert segmenter(random_image(shape=(9, 12))).shape == (9, 12)
