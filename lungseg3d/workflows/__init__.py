"""Floor 5: the verbs of the product, one readable page each; import a verb's own module."""

__all__: list[str] = []
