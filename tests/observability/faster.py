"""The project's rules on a faster clock, so that a test need not wait for days.

The rules stay what they are: every length of time in them is divided by one number. These are windows (`[5m]`),
offsets, `for`, and the three lengths that stand as numbers of seconds: how far ahead the disk is foreseen, for how
long a failed sync is told of, and how old the oldest record outside the archive may be. What counts or measures is
left alone: shares, bytes, the 2 s that an update may wait for its sync, and the days that a certificate has left,
because tests have real certificates.
"""

import re

UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
LENGTH = re.compile(r"(?:(?<=\[)|(?<=offset )|(?<=for: ))(\d+)([smhd])\b")
SECONDS = re.compile(r"\b24 \* 3600\b|(?<=[<>] )900\b")


def rules(text, times):
    """A file of rules with its lengths of time divided by `times`."""

    def length(match):
        return f"{max(1, round(int(match[1]) * UNITS_MS[match[2]] / times))}ms"

    def seconds(match):
        return f"{(900 if match[0] == '900' else 86_400) / times:g}"

    return SECONDS.sub(seconds, LENGTH.sub(length, text))
