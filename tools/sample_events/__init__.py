"""Writes events/: what each function is invoked with, for `sam local invoke` and for reading.

    python -m tools.sample_events           writes them
    python -m tools.sample_events --check   tells whether they are as this would write them

They are made by the code that makes the real ones wherever there is such code, so that they can't drift from it.
"""
