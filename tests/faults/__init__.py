"""Faults between real processes, with a ledger as the judge of what became of each request."""
