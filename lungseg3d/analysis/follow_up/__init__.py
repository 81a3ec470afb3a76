"""Two CTs of one person: registered, nodules matched and compared."""
