"""What is the same for all SQL databases, written once over a dialect."""
