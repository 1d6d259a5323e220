"""A page is dropped from the cache when its product has changed; read app.py first."""
