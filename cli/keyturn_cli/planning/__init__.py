"""`keyturn plan`: what a load takes, and what it costs, worked out without AWS.

Counted: units an event (`units`), which the meter checks against a running stack. Modelled: latencies, and what follows
from them (times, GB-seconds, concurrency). Read: prices and quotas, from dated files.
"""
