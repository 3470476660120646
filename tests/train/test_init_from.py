"""An expert may start from the weights of a trained one."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from segmenter_fixtures import PEOPLE
from train_fixtures import expert_params

from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.user_error import UserError
from train_stage.init_from import Head, head_rows, init_file, init_from
from train_stage.model import Expert


def expert(leaves=2, seed=0, **changes):
    torch.manual_seed(seed)
    return Expert(expert_params(**changes).model, np.eye(leaves, dtype=bool))


def stored(model, path, metadata=None):
    save_file({name: t.contiguous() for name, t in model.state_dict().items()}, path, metadata)
    return path


def test_every_tensor_is_taken_over(tmp_path):
    trained, fresh = expert(seed=1), expert(seed=2)
    init_from(fresh, stored(trained, tmp_path / "body.safetensors"), "experts.body")
    for name, tensor in fresh.state_dict().items():
        assert torch.equal(tensor, trained.state_dict()[name]), name


def test_a_head_for_other_classes_starts_anew(tmp_path):
    trained, fresh = expert(leaves=4, seed=1), expert(leaves=2, seed=2)
    own_head = fresh.head.weight.clone()
    init_from(fresh, stored(trained, tmp_path / "body.safetensors"), "experts.body")
    assert torch.equal(fresh.head.weight, own_head)
    for name, tensor in fresh.encoder.state_dict().items():
        assert torch.equal(tensor, trained.encoder.state_dict()[name]), name


def test_the_head_of_another_expert_starts_anew_though_it_has_as_many_rows(tmp_path):
    """With that of no leaf, a child may have as many as its parent."""
    person, body = expert(leaves=5, seed=1), expert(leaves=5, seed=2)
    own_head = body.head.weight.clone()
    file = stored(person, tmp_path / "person.safetensors")
    assert not any(name.startswith("head.") for name in init_from(body, file, "experts.body"))
    assert torch.equal(body.head.weight, own_head)
    assert "head.weight" in init_from(body, file, "experts.person")


def segmenter(folder, person, targets="leaves"):
    """A file of a segmenter's root. person: the children of its root."""
    experts = {"person": {"model": {"targets": targets}}}
    tree = {"person": person}
    (folder / "segmenter.json").write_text(json.dumps({"tree": tree, "experts": experts}))
    return folder / "person.safetensors"


BODY = {"background": 0, "body": {"upper": 1, "lower": 2}}
COATS = {"background": 0, "hat": 5, "coat": 7, "dress": 6}


@pytest.mark.parametrize(
    ("theirs", "learnt", "own", "learns", "rows"),
    [
        ({**BODY, "tail": 7}, "leaves", BODY, "leaves", [0, 1, 2]),
        ({"tail": 7, **BODY}, "children", {"body": 1, "background": 0}, "children", [2, 1]),
        ({"background": 0, "body": {"upper": 2, "lower": 1}}, "leaves", BODY, "leaves", [0, 2, 1]),
        ({"background": 0, "body": {"upper": 1, "legs": 2}}, "leaves", BODY, "leaves", []),
        (COATS, "children", COATS, "leaves", [0, 1, 3, 2]),
        (BODY, "leaves", BODY, "children", []),
    ],
    ids=["more", "children", "another order", "others", "children as leaves", "leaves as children"],
)
@pytest.mark.parametrize("says", ["the file", "the segmenter"])
def test_it_takes_the_rows_of_the_classes_that_are_called_alike(
    theirs, learnt, own, learns, rows, says, tmp_path
):
    tree = ClassTree({"person": own})
    outputs = len(Head(ClassTree({"person": theirs}), "person", learnt).classes)
    trained = expert(leaves=outputs, seed=1)
    if says == "the file":
        values = {"expert": "person", "params": {"model": {"targets": learnt}}}
        values["tree"] = {"person": theirs}
        metadata = {"training": json.dumps(values)}
        file = stored(trained, tmp_path / "another name.safetensors", metadata)
    else:
        file = stored(trained, segmenter(tmp_path, theirs, learnt))
    head = Head(tree, "person", learns)
    assert head_rows(file, head) == rows
    fresh = expert(leaves=len(head.classes), seed=2)
    before = fresh.head.weight.clone()
    init_from(fresh, file, "experts.person", rows)
    assert torch.equal(fresh.head.weight, trained.head.weight[rows] if rows else before)


def test_of_an_expert_that_rejects_it_takes_the_row_of_no_class(tmp_path):
    own = Head(ClassTree({"person": BODY}), "person", "leaves")
    trained = expert(leaves=4, seed=1)
    file = stored(trained, segmenter(tmp_path, BODY))
    rows = head_rows(file, own)
    assert rows == [0, 1, 2, 3]
    for leaves in (3, 4):
        fresh = expert(leaves=leaves, seed=2)
        init_from(fresh, file, "experts.person", rows)
        assert torch.equal(fresh.head.weight, trained.head.weight[:leaves])


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"tree": {"person": {"background": 0}}}'])
def test_a_segmenter_whose_classes_cannot_be_read_is_refused(content, tmp_path):
    (tmp_path / "segmenter.json").write_text(content)
    file = stored(expert(), tmp_path / "person.safetensors")
    with pytest.raises(UserError, match=r"init_from: .*segmenter\.json is damaged"):
        head_rows(file, Head(ClassTree(PEOPLE), "person", "leaves"))


def test_a_decoder_that_ends_at_a_coarser_scale_takes_the_coarser_blocks(tmp_path):
    trained = expert(seed=1, model={"depth": 3, "finest_scale": 0})
    fresh = expert(seed=2, model={"depth": 3, "finest_scale": 1})
    init_from(fresh, stored(trained, tmp_path / "body.safetensors"), "experts.body")
    blocks = list(zip(fresh.decoder.blocks, trained.decoder.blocks[1:], strict=True))
    narrow = list(zip(fresh.decoder.narrow, trained.decoder.narrow[1:], strict=True))
    for own, other in blocks + narrow:
        for name, tensor in own.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name


def test_a_decoder_that_ends_at_a_finer_scale_is_refused(tmp_path):
    trained = expert(seed=1, model={"depth": 3, "finest_scale": 1})
    fresh = expert(seed=2, model={"depth": 3, "finest_scale": 0})
    with pytest.raises(UserError, match="another network"):
        init_from(fresh, stored(trained, tmp_path / "body.safetensors"), "experts.body")


def test_from_the_common_network_an_expert_takes_the_rows_of_its_leaves(tmp_path):
    tree = ClassTree(PEOPLE)
    rows = [i for i, leaf in enumerate(tree.leaves) if leaf.name in ("foot", "knee")]
    trained, fresh = expert(leaves=5, seed=1), expert(leaves=2, seed=2)
    init_from(fresh, stored(trained, tmp_path / "shared.safetensors"), "experts.lower", rows)
    assert torch.equal(fresh.head.weight, trained.head.weight[rows])
    assert torch.equal(fresh.head.bias, trained.head.bias[rows])


def test_further_inputs_and_the_output_for_no_leaf_start_at_zero(tmp_path):
    """Told nothing by its parent, the expert is what it started from."""
    leaves = ClassTree(PEOPLE).leaves
    rows = [i for i, leaf in enumerate(leaves) if leaf.name in ("foot", "knee")]
    trained = expert(leaves=5, seed=1).eval()
    changes = {"regions": "predicted", "model": {"parent_channels": True, "rejects": True}}
    fresh = Expert(expert_params("body", **changes).model, np.eye(2, dtype=bool)).eval()
    init_from(fresh, stored(trained, tmp_path / "shared.safetensors"), "experts.lower", rows)
    image, region = torch.rand(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    logits = fresh(image, region, torch.rand(1, 2, 32, 32))
    torch.testing.assert_close(logits[:, :2], trained(image, region)[:, rows])
    assert (logits[:, 2] == 0).all()


def test_another_network_is_refused_and_changes_nothing(tmp_path):
    path = stored(expert(model={"base_channels": 16}), tmp_path / "body.safetensors")
    fresh = expert(seed=2)
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    with pytest.raises(UserError, match=r"body.safetensors holds another network, \d+ tensors"):
        init_from(fresh, path, "experts.body")
    assert all(torch.equal(tensor, before[name]) for name, tensor in fresh.state_dict().items())


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "body.pth").write_text("no weights")
    with pytest.raises(UserError, match=r"body\.pth is damaged or no safetensors file"):
        init_from(expert(), tmp_path / "body.pth", "experts.body")


def test_a_folder_stands_for_the_file_of_the_expert(tmp_path):
    path = stored(expert(), tmp_path / "body.safetensors")
    assert init_file(str(tmp_path), "experts.body") == path
    assert init_file(str(path), "experts.person") == path


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"experts.person.init_from: .*person.safetensors"):
        init_file(str(tmp_path), "experts.person")


def test_common_stands_for_the_file_of_the_common_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"body.init_from: there is no models/shared"):
        init_file("shared", "experts.body")
    (tmp_path / "models").mkdir()
    path = stored(expert(), tmp_path / "models" / "shared.safetensors")
    assert init_file("shared", "experts.body").resolve() == path


def test_a_fold_starts_from_what_the_shared_network_starts_from(tmp_path):
    path = stored(expert(), tmp_path / "shared.safetensors")
    assert init_file(str(tmp_path), "out_of_fold.training") == path


def test_channels_of_parents_in_another_order_start_anew(tmp_path):
    changes = {"expert": "body", "regions": "predicted", "model": {"parent_channels": True}}
    trained = expert(leaves=3, seed=1, **changes)
    file = stored(trained, tmp_path / "body.safetensors")
    for rows, leaves, kept in (([0, 1, 2], 3, True), ([2, 0, 1], 3, False), ([0, 1], 2, False)):
        fresh = expert(leaves=leaves, seed=2, **changes)
        init_from(fresh, file, "experts.body", rows)
        stem, before = fresh.encoder.stem.weight, trained.encoder.stem.weight
        assert torch.equal(stem[:, :3], before[:, :3])
        assert torch.equal(stem, before) if kept else not stem[:, 3:].any()
        assert torch.equal(fresh.head.weight, trained.head.weight[rows])


@pytest.mark.parametrize("rows", [None, [0, 1], [1, 0], []])
def test_another_encoder_is_refused_whatever_its_classes(tmp_path, rows):
    model = {"encoder": "resnet18", "depth": 5, "stem_stride": 2, "initial_pool": 1}
    file = stored(expert(model=model), tmp_path / "body.safetensors")
    with pytest.raises(UserError, match="holds another network"):
        init_from(expert(), file, "experts.body", rows)


def test_models_fit_where_the_decoder_ends_at_a_coarser_scale():
    fine, coarse = (
        expert_params(model={"depth": 3, "finest_scale": scale}).model for scale in (0, 1)
    )
    assert coarse.differences(fine) == []
    assert fine.differences(coarse) == [("finest_scale", 1, 0)]
