"""What every stage knows of the data: class tree, folder layout, checks, packed arrays, files."""
