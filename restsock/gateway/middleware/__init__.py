"""Middleware of a gateway: what bounds, repeats, keeps, checks and counts calls.

- `_errors`: what has failed is answered. `_validate`: what is wrong is not called at all.
- `_limit`, `_rate`, `_timeout`: how many at a time, how many a second, how long.
- `_retry`: failed calls again. `_breaker`: what fails all the time is left alone; `_circuit`: when.
- `_cache`: replies are kept. `_replies`: which.
- `_measure`: instruments are told.
- `_scopes`: what is counted together. `_outcomes`: how a call has ended. `_parts`: when one that
  comes in parts has. `_windows`: how often something has happened lately.
"""

from __future__ import annotations

from ._breaker import Breaker, CircuitOpen
from ._cache import Cache
from ._circuit import CircuitState
from ._errors import Errors, OnFailure
from ._limit import Limit
from ._measure import Measure, Trace
from ._rate import Rate
from ._retry import Retry
from ._scopes import KeyFunction, Scope
from ._timeout import Timeout
from ._validate import Validate

__all__ = [
    "Breaker",
    "Cache",
    "CircuitOpen",
    "CircuitState",
    "Errors",
    "KeyFunction",
    "Limit",
    "Measure",
    "OnFailure",
    "Rate",
    "Retry",
    "Scope",
    "Timeout",
    "Trace",
    "Validate",
]
