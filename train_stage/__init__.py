"""Second stage: one expert per inner node of the class tree, each trained on its region alone."""
