"""Rendering of people with exact part labels."""
