"""The local Kinesis event source: runs a deployed event source mapping with AWS's semantics.

The emulator's own mapping ignores batch item failures and so loses records; here a record is handed over, retried,
and given up exactly as the mapping's settings say. It talks to the AWS API only (Kinesis, Lambda, the failure
destination) and reads its settings from the deployed mapping, so that template.yaml stays the only truth. The mapping
is disabled in the local deploy; that doesn't matter here, it keeps the emulator's own away.

    mapping.py      the settings, read from the API; what isn't supported is refused
    core.py         pure: lanes, batches, retries, checkpoints of one shard
    lineage.py      pure: which shards may begin (children after their parents)
    answer.py       pure: what a function's answer means for its batch
    wire.py         the Lambda event and the failure record, byte for byte as AWS sends them
    aws.py          the calls
    shard.py        one thread a shard: fetch, hand over, settle
    source.py       finds shards and runs them; start(), stop(), status()
    checkpoints.py  remembers positions over a restart of the event source

At least once, as on AWS: whatever was in flight at a stop, or lies above a checkpoint, is delivered again.
"""
