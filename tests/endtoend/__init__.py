"""A package, so that its one stack ends with the last of its tests: its threads would work on beside any others."""
