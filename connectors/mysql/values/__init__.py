"""From the bytes of one value, as MySQL and MariaDB store or send them, to its physical value.

One module per noun; functions over bytes, without tables, columns or events.
"""
