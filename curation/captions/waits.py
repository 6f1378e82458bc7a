"""How long to wait before a question is asked again."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def wait_before(failures: int, base_s: float, most_s: float) -> float:
    """Full jitter: anywhere up to `base_s · 2^(failures - 1)`, at most `most_s`.

    The draw shapes no result, so it need not be repeatable.
    """
    return random.uniform(0.0, min(most_s, base_s * 2.0 ** min(failures - 1, 30)))


def asked_to_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for, given in seconds or as an HTTP date; None: it does not.

    A date is held against the server's own `Date`, if it sends one: clocks differ.
    """
    text = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(text[:20])) if text[:1].isdigit() else _until(text, headers)
    except (ValueError, TypeError, OverflowError):
        return None


def _until(text: str, headers: Mapping[str, str]) -> float:
    then = _aware(parsedate_to_datetime(text))
    try:
        now = _aware(parsedate_to_datetime(headers.get("date", "")))
    except (ValueError, TypeError):
        now = datetime.now(UTC)
    return max(0.0, (then - now).total_seconds())


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
