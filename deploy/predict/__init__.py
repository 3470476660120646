"""Images and videos from files to files: `python -m deploy.predict`."""
