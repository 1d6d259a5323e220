"""A shop whose orders are runs that defer follow-up work; read app.py first."""
