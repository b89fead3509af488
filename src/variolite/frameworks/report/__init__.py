"""The report pages of generated frameworks and of assembled candidates."""
