"""A page that shows how the chain segments an image: `python -m deploy.demo`."""
