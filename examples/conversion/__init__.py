"""Is what a shop recommends bought within a week? Read app.py first."""
