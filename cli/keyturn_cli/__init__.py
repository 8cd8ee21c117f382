"""The `keyturn` command: one module a command, which holds arguments, calls and printout; what they share lies beside.

main.py         the commands, and the one place that turns errors into `Error: ...`
up.py down.py push.py demo.py
project.py      where the project lies and what its local engine is called
target.py       the stack that a command talks to: the local engine's, or one on AWS
screen.py       steps with their times, for people and for logs
records.py      a line of a file becomes a record of the stream
putter.py       puts records so that each key's stay in order
progress.py     how far the stack is with what was put
facts.py        reads what became of it: the ledger and the state table
guarantees/     the promises, checked against those facts
report.py       says it all to a person
"""
