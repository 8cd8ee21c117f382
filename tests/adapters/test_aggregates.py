"""KPL aggregates in a fresh process: the tests beside this one import more of the library than a Lambda does."""

import subprocess
import sys

from aws_kinesis_agg.aggregator import RecordAggregator

PROGRAM = """
import sys
from keyturn.adapters.aggregates import take_apart
print(take_apart(bytes.fromhex(sys.argv[1])))
"""


def test_a_function_that_has_just_started_takes_an_aggregate_apart() -> None:
    """Nothing but our own module imports the library there."""
    aggregator = RecordAggregator()
    aggregator.add_user_record("order-1", b"first")
    aggregator.add_user_record("order-2", b"second")
    packed = aggregator.clear_and_get().get_contents()[2]
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, packed.hex()], capture_output=True, text=True, check=True, timeout=120
    )
    assert ran.stdout.strip() == "[('order-1', b'first'), ('order-2', b'second')]"
