"""What holds for all tests."""

from hypothesis import settings

# On a busy machine an example takes as long as it takes; how quick things are, the benchmarks say. In CI the rest stays
# as the library has it there: the same examples each time.
settings.register_profile("patient", settings.default, deadline=None)
settings.load_profile("patient")
