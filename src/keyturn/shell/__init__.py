"""The imperative shell: each module loads, lets the core decide, writes, and carries out what the core asked for."""
