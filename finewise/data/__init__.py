"""Sources and formats, audit, splits."""
