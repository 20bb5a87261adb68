"""What is watched, when it is asked for, and what is known of it."""
