"""Django's settings are those of the process: one set for all tests, whichever come first."""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings

__all__ = ["use_urls"]


def use_urls(urls: Any) -> None:
    """Sets Django up, with the URLs of a module (by its name) or of an object."""
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None)
        django.setup()
    settings.ROOT_URLCONF = urls
