"""Parts of the chain: views, decisions, settings, weights."""
