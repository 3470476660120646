"""Last stage: the experts chained into one segmenter, its figures and its pictures."""
