"""Keys of params.yaml and segmenter.json under their former names, understood until release 0.3."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

RENAMED = {
    "common": "shared",
    "start_from": "init_from",
    "larger": "high_resolution",
    "smallest_crop": "min_crop_scale",
    "class_weight_damping": "class_weight_power",
    "second_look": "tta_views",
    "mirror": "tta_flip",
    "passes": "mc_dropout_samples",
}
"""Former name -> name. No class or expert of a tree is looked at."""

_NAMED_BY_USERS = ("experts", "sha256")


def with_new_names(section: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """A copy in which former names are replaced, at any depth; warns of each.

    Where both names stand, the former one stays and is refused by the schema as unknown.
    """
    renamed: dict[str, Any] = {}
    for key, value in section.items():
        name = RENAMED.get(key, key) if path not in _NAMED_BY_USERS else key
        if name != key and name not in section:
            warnings.warn(
                f"{f'{path}.{key}'.lstrip('.')} is now called {name}; the former name is "
                "understood until release 0.3",
                FutureWarning,
                stacklevel=2,
            )
            key = name
        if name == "init_from" and value == "common":
            value = "shared"
        if isinstance(value, Mapping) and key != "tree":
            value = with_new_names(value, f"{path}.{key}".lstrip("."))
        renamed[key] = value
    return renamed
