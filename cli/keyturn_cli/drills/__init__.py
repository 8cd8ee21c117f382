"""Drills: faults that are put into a running stack on purpose, and what must hold all the same."""
