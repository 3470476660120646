"""A segmenter as one file for other runtimes: `python -m deploy.export`."""
