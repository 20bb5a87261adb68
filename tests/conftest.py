"""Configuration for all tests."""

from hypothesis import settings

# Examples have no deadline: on a busy machine they take longer, and speed is measured by the benchmarks. In CI the
# library's own CI profile applies: the same examples every time.
settings.register_profile("patient", settings.default, deadline=None)
settings.load_profile("patient")
