"""The source ``outbox``: events that an application wrote in its own transactions."""
