"""What pipeline.sh runs before DVC starts."""
