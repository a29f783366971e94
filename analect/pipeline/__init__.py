"""From the outbox to whatever is derived: what a processor is, and the loop that feeds it."""
