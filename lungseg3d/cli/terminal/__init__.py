"""What verbs share: options, output, exit codes."""
