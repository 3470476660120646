"""Print the figures of results/final/metrics.json, and where pictures and report lie.

`python -m final_model_stage.print_results` is what `./pipeline.sh` ends with.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from final_model_stage.evaluation.metrics import format_figure
from preprocessing_stage.paths import FINAL_METRICS, PICTURES, REPORT


def table(figures: dict[str, Any]) -> str:
    """mIoU of each level in both protocols, with its interval and with oracle parents.

    A figure that is not there, nan or null in metrics.json, is a dash.
    """
    lines = [f"{figures['images']} images   dataset-level       image-level   oracle parents"]
    for name in (key for key in figures if key.startswith("mIoU_")):
        low, high = figures["interval"][name]["low"], figures["interval"][name]["high"]
        level = int(name.removeprefix("mIoU_"))
        given = figures["oracle"].get(f"level_{level - 1}", {}).get(name)
        interval = f"[{format_figure(low)}, {format_figure(high)}]"
        lines.append(
            f"{name:10}   {format_figure(figures[name])} {interval}"
            f"    {format_figure(figures['per_image'][name])}       {format_figure(given)}"
        )
    return "\n".join(lines)


def main() -> None:
    if not FINAL_METRICS.exists():  # only some stages ran
        return
    print()
    print(table(json.loads(FINAL_METRICS.read_text())))
    print()
    for picture in sorted(PICTURES.glob("*")):
        print(f"  {picture.resolve()}")
    if REPORT.exists():
        print(f"  {REPORT.resolve()}")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # none, but --help
    main()
