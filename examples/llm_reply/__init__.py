"""Which of two prompts writes the better replies? Read app.py first."""
