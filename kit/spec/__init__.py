"""What a user asks for, read from TOML with errors that name file, line and key."""
