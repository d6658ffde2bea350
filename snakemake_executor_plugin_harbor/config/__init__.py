"""The settings and host lists that the user wrote, after validation."""
