"""Put files of DVC's aside that a kill cut short.

`python -m final_model_stage.pipeline.check_lock` comes before `dvc repro`. DVC writes dvc.lock and
the list of its running processes in place and refuses everything while one of them is broken.
Without dvc.lock, it takes what it has recorded from its run cache.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from voluptuous import Invalid

READ: dict[str, Callable[[Path], Any]] = {
    "dvc.lock": lambda path: COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(path)),
    ".dvc/tmp/rwlock": lambda path: json.loads(path.read_text()),
}


def main() -> None:
    for name, read in READ.items():
        path = Path(name)
        if not path.exists():
            continue
        try:
            read(path)
        except (Invalid, YAMLError, ValueError) as error:
            aside = path.replace(f"{name}.damaged")
            reason = str(error).splitlines()[0]
            print(f"{name}: broken off ({reason}), now {aside}; DVC writes it anew")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # none, but --help
    main()
