"""What goes with a segmenter that is passed on: `python -m deploy.model_card`."""
