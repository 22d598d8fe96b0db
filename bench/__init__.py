"""What is measured, against whom, and how: see README.md here. ``make bench`` runs it."""
