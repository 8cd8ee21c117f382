"""What AWS asks for, in US dollars: us-east-1, on demand, without free tiers and volume steps.

Read on 24 November 2026 from the pricing pages of Step Functions, Lambda, DynamoDB and S3. Estimates rest on it and no
bill does: other regions differ by some percent.
"""

from typing import Final

MILLION: Final = 1_000_000

STANDARD_TRANSITION: Final = 25.0 / MILLION
EXPRESS_START: Final = 1.0 / MILLION
EXPRESS_GB_S: Final = 0.06 / 3_600
EXPRESS_GB: Final = 64 / 1_024
"""What a small execution is billed for at least."""

LAMBDA_REQUEST: Final = 0.20 / MILLION
LAMBDA_GB_S: Final = 0.0000166667
LAMBDA_GB: Final = 256 / 1_024
"""What the template gives a function unless it says otherwise."""

WRITE_UNIT: Final = 0.625 / MILLION
"""1 KB."""
READ_UNIT: Final = 0.125 / MILLION
"""4 KB strongly consistent, 8 KB eventually."""
READ_UNIT_EVENTUAL_BYTES: Final = 8_192
