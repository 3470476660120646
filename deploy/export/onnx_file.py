"""The chain as an ONNX model: the recorded graph, with each expert as a function of its own.

An expert is called within an If, so that one whose region is empty costs nothing. Initializers
named `<expert>.<tensor>` are its state dict; a runtime folds the norms into the convolutions when
it opens the model.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

import onnx_ir as ir
import torch
from onnx.inliner import inline_local_functions
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from onnxscript import optimizer
from torch import Tensor

from deploy.export.graph import ChainGraph, export_chain
from final_model_stage.chain.settings import Settings
from final_model_stage.onnx_segmenter import PARTS
from train_stage.model import Expert

DOMAIN = "person_parts"


def chain_model(
    settings: Settings, experts: Mapping[str, Expert], *, watched: bool = False
) -> ir.Model:
    """The ONNX model of a chain: `image` (H, W, 3) uint8 in, the outputs of ChainGraph out.

    watched: with outputs `view<number>.<part>`, and the expert of each in the metadata `views`.
    Raises ValueError for MC-dropout samples.
    """

    def placeholder(
        name: str, crops: Tensor, masks: Tensor, parents: Tensor | None, used: Tensor
    ) -> Tensor:
        seen = (crops, masks) if parents is None else (crops, masks, parents)
        side = crops.shape[2] // settings.experts[name].model.output_stride
        return torch.onnx.ops.symbolic(
            f"{DOMAIN}::Expert",
            (*seen, used),
            {"name": name},
            dtype=torch.float32,
            shape=(len(crops), experts[name].out_channels, side, side),
            version=1,
        )

    graph = ChainGraph(settings, placeholder, watched=watched)
    model = _to_onnx(
        export_chain(graph), input_names=["image"], output_names=["probabilities", "labels"]
    )
    calls = [node for node in model.graph if node.domain == DOMAIN]
    views = [node.attributes["name"].as_string() for node in calls]
    for number, value in enumerate(model.graph.outputs[2:]):
        value.name = f"view{number // len(PARTS)}.{PARTS[number % len(PARTS)]}"
    if watched:
        model.metadata_props["views"] = json.dumps(views)
    batch = 2 if settings.tta_flip else 1
    for name, expert in experts.items():
        _add_function(model, name, _expert_model(expert, settings.experts[name].input_size, batch))
    for node in calls:
        _replace(model, node)
    model.opset_imports[DOMAIN] = 1
    return model


def without_weights(
    model: ir.Model, experts: Mapping[str, Expert], *, watched: bool = False
) -> bytes:
    """The serialized model, which a runtime is given the tensors of the experts' state dicts with.

    watched: with the outputs of a watched graph. Without them, without functions and without the
    shapes in between it is opened in half the time.
    """
    for name, expert in experts.items():
        for key in expert.state_dict():
            value = model.graph.initializers.get(f"{name}.{key}")
            if value is not None and (kept := value.const_value) is not None:
                shape = ir.Shape(kept.shape.numpy())
                value.const_value = ir.ExternalTensor(
                    "weights", 0, 0, kept.dtype, shape=shape, name=f"{name}.{key}"
                )
    proto = inline_local_functions(ir.to_proto(model))
    del proto.graph.value_info[:]
    if not watched:
        del proto.graph.output[2:]
    content: bytes = proto.SerializeToString()
    return content


def _expert_model(expert: Expert, side: int, batch: int) -> ir.Model:
    """Crops (batch, 3, side, side), masks (batch, 1, side, side) and perhaps the parent's
    probabilities (batch, leaves, side, side) in, logits out."""
    channels = {"crops": 3, "masks": 1, "parents": expert.parent_channels}
    seen = {name: torch.rand(batch, c, side, side) for name, c in channels.items() if c}
    return _to_onnx(
        copy.deepcopy(expert).cpu().eval(),
        tuple(seen.values()),
        input_names=list(seen),
        output_names=["logits"],
    )


def _to_onnx(program: Any, *args: Any, **options: Any) -> ir.Model:
    """Without the exporter's rewriting, which would change the weights."""
    with torch.no_grad():
        recorded = torch.onnx.export(
            program, *args, dynamo=True, optimize=False, verbose=False, **options
        )
    assert recorded is not None
    model = recorded.model
    optimizer.inline(model)
    for _ in range(2):  # what a first time folds lets a second one go on
        optimizer.fold_constants(model)
        optimizer.remove_unused_nodes(model)
    # The exporter notes where in which file each node comes from.
    ClearMetadataAndDocStringPass()(model)
    return model


def _add_function(model: ir.Model, name: str, expert: ir.Model) -> None:
    """The expert as a function; its weights are initializers of the model, and its last inputs."""
    graph = expert.graph
    for key in list(graph.initializers):
        value = graph.initializers.pop(key)
        outer = ir.Value(name=f"{name}.{key}", type=value.type, shape=value.shape)
        outer.const_value = value.const_value
        model.graph.register_initializer(outer)
        value.const_value = None
        graph.inputs.append(value)
    function = ir.Function(DOMAIN, name, graph=graph, attributes=[])
    model.functions[function.identifier()] = function


def _replace(model: ir.Model, node: ir.Node) -> None:
    """A placeholder by a call of its expert's function, within an If on the last input."""
    *seen, used = node.inputs
    name = node.attributes["name"].as_string()
    function = model.functions[DOMAIN, name, ""]
    weights = [model.graph.initializers[f"{name}.{v.name}"] for v in function.inputs[len(seen) :]]
    output = node.outputs[0]
    call = ir.node(name, [*seen, *weights], domain=DOMAIN)
    assert output.shape is not None and output.shape.is_static()
    shape = ir.node("Constant", [], attributes={"value_ints": list(output.shape.numpy())})
    zeros = ir.node("ConstantOfShape", [shape.outputs[0]])
    branches = {}
    for key, nodes in (("then_branch", [call]), ("else_branch", [shape, zeros])):
        for number, one in enumerate(nodes):  # names are unique in the whole model
            one.outputs[0].name = f"{output.name}_{key}_{number}"
        branches[key] = ir.Graph([], [nodes[-1].outputs[0]], nodes=nodes, name=key)
    branch = ir.node("If", [used], attributes=branches)
    branch.outputs[0].name, branch.outputs[0].shape = output.name, output.shape
    branch.outputs[0].type = output.type
    ir.convenience.replace_nodes_and_values(
        model.graph, node, [node], [branch], [output], branch.outputs
    )
