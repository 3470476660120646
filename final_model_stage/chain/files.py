"""A segmenter's folder: `segmenter.json` and a safetensors file for each expert."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from final_model_stage import __version__
from final_model_stage.chain.settings import Settings, read_settings
from final_model_stage.chain.weights import read_expert, write_expert
from preprocessing_stage.dataset.atomic_write import write_json
from train_stage.model import Expert

SETTINGS = "segmenter.json"


def read_segmenter(folder: Path) -> tuple[Settings, dict[str, Expert]]:
    """Settings and experts. Raises OSError, or ValueError if the files do not fit together."""
    settings = read_settings(folder / SETTINGS)
    tree = settings.class_tree
    experts = {
        name: read_expert(
            folder / f"{name}.safetensors",
            settings.experts[name].model,
            tree.leaves_of_children(name),
            settings.sha256.get(name),
        )
        for name in tree.experts
    }
    return settings, experts


def write_segmenter(
    folder: Path,
    settings: Settings,
    experts: Mapping[str, Expert],
    metadata: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """The files of a segmenter into `folder`, which is made if it is not there.

    metadata: expert -> what its safetensors carry beside the weights: how it was trained.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sums = {
        name: write_expert(expert, folder / f"{name}.safetensors", (metadata or {}).get(name, {}))
        for name, expert in experts.items()
    }
    # Graphs are recorded without weights; those of the folder that this comes from stayed there.
    graphs = {file: of for file, of in settings.graphs.items() if (folder / file).is_file()}
    written = {"version": __version__, "sha256": sums, "graphs": graphs}
    values = settings.model_dump(mode="json") | written
    write_json(folder / SETTINGS, values)
