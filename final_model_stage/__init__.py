"""Last stage: the experts chained into one segmenter, its figures and its pictures.

from final_model_stage import Segmenter
"""

from typing import Any

import preprocessing_stage  # noqa: F401  (its setting comes before torch)

__version__ = "0.2.0"
__all__ = ["Segmenter", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Segmenter":  # not before it is wanted: it imports torch
        from final_model_stage.segmenter import Segmenter

        return Segmenter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
