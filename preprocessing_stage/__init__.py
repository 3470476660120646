"""First stage: from photographs and label maps to packed samples and their statistics."""
