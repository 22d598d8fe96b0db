"""Writing streams into SQL databases, written once over a dialect."""
