"""Colours of classes, and label maps laid over photographs."""
