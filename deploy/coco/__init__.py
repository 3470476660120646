"""Predictions as COCO annotations."""
