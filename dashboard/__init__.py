"""SHOW: read what was measured and concluded, and draw it. Never measures, never concludes."""
