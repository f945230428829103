"""Peers that mean harm: each case has a defined outcome, and an honest peer notices nothing."""
