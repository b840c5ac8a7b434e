"""What the API and the commands read."""
