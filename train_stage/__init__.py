"""Second stage: one expert per inner node of the class tree, each trained on its region alone."""

import preprocessing_stage  # noqa: F401  (its setting comes before torch)
