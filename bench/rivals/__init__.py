"""DBOS and Restate on the same workload. The apps run in a virtual environment of their own: bench/requirements.txt."""
