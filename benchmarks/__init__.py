"""What the project is measured against; nothing in the stages imports it."""
