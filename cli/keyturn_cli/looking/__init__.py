"""Reads a stack for people: what it does, how a key stands and why. Writes nothing.

values        times, wording, positions, parts: how single things are written
the stack     stack (its tables), queues (keys by phase, page by page)
one key       key_items (its partition, as values), explanation and fates (what they mean, pure), story, runs
pages         listing and overview (what is read for them), key_page, run_page, status_page (lines, documents)
"""
