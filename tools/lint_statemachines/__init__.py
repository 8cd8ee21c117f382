"""Lint of the state machines: what the protocol needs of every workflow, and no emulator checks.

    python -m tools.lint_statemachines

Rules are pure functions from a definition (and what the template and the routes say of it) to problems; reading files
and printing is in __main__. Adding a workflow needs no change here: machines are found in template.yaml.
"""
