"""The report's page: one self-contained HTML file, from plain values."""
