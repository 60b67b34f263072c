"""Client for reward-server: scores (prompt, response) pairs; a failure is never a number."""
