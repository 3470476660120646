"""What the project is measured against; nothing in the stages imports it."""

import preprocessing_stage  # noqa: F401  (its setting comes before torch)
