"""Everything that touches a database or a driver. Imports liberator; liberator never imports this."""
