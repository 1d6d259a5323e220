"""Three limits: a slow partner, a search index, a table of page views. Read app.py first."""
