"""Named payloads, sent from anywhere, that waiting runs receive."""
