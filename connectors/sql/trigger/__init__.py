"""The source ``trigger``: triggers write down what changes, and we read it."""
