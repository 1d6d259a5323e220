"""What a deferred function takes and returns, there and back as JSON."""
