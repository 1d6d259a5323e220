"""What is recommended is bought within a week, or not; read app.py first."""
