"""Reports: terminal tables, JSON and CSV, one self-contained HTML page, figures for papers."""
