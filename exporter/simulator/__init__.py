"""An embedded Dify, for demo, tests and benchmarks."""
