"""The console script `person-parts-evaluate`, also where PyTorch is not installed."""

from __future__ import annotations

from deploy.needs_pytorch import exits_without_pytorch

with exits_without_pytorch():
    from final_model_stage.evaluate_segmenter import main

__all__ = ["main"]
