"""The process that decodes files apart from the program."""
