"""The demo ``shop``: the main job on a real Postgres, under load, killed once, compared row by row.

``liberator demo`` calls :func:`run`. Read :mod:`connectors.demo.shop` for the story.
"""

from connectors.demo.shop import run

__all__ = ["run"]
