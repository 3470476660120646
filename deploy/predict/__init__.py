"""Segment image and video files: `python -m deploy.predict`."""
