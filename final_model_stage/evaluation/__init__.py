"""From predictions to figures: confusion counts, protocols, result files."""
