"""The outside turned into records, and records turned outward."""
