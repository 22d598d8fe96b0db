"""The source ``query``: asking a database again and again."""
