"""Last stage: the experts chained into one segmenter, its figures and its pictures.

from final_model_stage import Segmenter
"""

from typing import Any

import preprocessing_stage  # noqa: F401  (its setting comes before torch)

__version__ = "0.2.0"
__all__ = ["Segmenter", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Segmenter":  # not before it is wanted: training needs none of its packages
        from final_model_stage.segmentation import Segmenter

        return Segmenter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
