"""Benchmarks: Keyturn against naive apps on the same engine, and against DBOS and Restate. `make bench` runs them."""
