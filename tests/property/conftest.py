"""Property tests run on machines that do other things as well: no example has a deadline."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("liberator", deadline=None)
settings.load_profile("liberator")
