"""What happens to callers when things go wrong: bursts, faults, hours of traffic. Figures go to docs/reliability.md."""
