"""Long runs: mixed load with faults (`make soak`), and thousands of connections at once."""
