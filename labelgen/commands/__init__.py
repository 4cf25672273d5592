"""One module per command or family of commands; nothing heavy is imported before a command runs."""
