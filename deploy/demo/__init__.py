"""A page that shows the chain at work: `python -m deploy.demo`."""
