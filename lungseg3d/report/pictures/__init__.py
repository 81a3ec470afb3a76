"""Pictures of CTs and what was found in them."""
