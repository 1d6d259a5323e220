"""A customer has a week to say how the support was; read app.py first."""
