"""`keyturn trace`: the story of one event, from its producer to its end.

command.py      arguments, calls, printout
find.py         which event is meant: by its key, by the logs, by the quarantine, by a scan of the table
items.py        reads what the state table holds of an event
logs.py         reads what all functions logged of it
story.py        the values: moments, attempts, steps, gaps, lines
telling.py      items and lines become a story: pure
stops.py        when the event's route was held, or its breaker open: pure
gaps.py         names the time between moments: pure
reading_times.py  times as producers and operators write them
standing.py     where the event stands now: pure
text.py         a story for a terminal
page.py         a story as a web page; drawing.py draws its timeline
"""
