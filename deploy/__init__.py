"""What people do with a segmenter; no stage of the pipeline depends on it."""
