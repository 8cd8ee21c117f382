"""What events really cost: usage read back from the functions' logs (metered), priced and summed up (bill)."""
