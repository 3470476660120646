"""What people do with a segmenter; no stage of the pipeline depends on it."""

import preprocessing_stage  # noqa: F401  (its setting comes before torch)
