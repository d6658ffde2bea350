"""Settings and host lists as the user wrote them, validated and frozen."""
