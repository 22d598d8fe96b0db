"""Writing streams into MySQL and MariaDB."""
