"""How Hypothesis looks for examples: as the profile says that `RESTSOCK_HYPOTHESIS` names.

quick   (default) few examples, the same ones each time: for the suite
long    many, and new ones each time: for a search
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Data generation is slow on a loaded machine, and no measure of the code under test.
_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile(
    "quick",
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=_SLOW,
)
settings.register_profile(
    "long", max_examples=5000, deadline=None, print_blob=True, suppress_health_check=_SLOW
)
settings.load_profile(os.environ.get("RESTSOCK_HYPOTHESIS", "quick"))
