"""From other layouts to the project's own; no stage of the pipeline runs them."""
