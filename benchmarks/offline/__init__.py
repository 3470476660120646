"""Trainings on a machine with a GPU and without a network, in one call of some minutes."""
