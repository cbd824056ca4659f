"""MEASURE: read a server and its GPUs, write what was read, conclude nothing.

Light at import: no numpy, pandas, torch or dash. The words of this floor are in ``collector.schema``, every
measured quantity is in ``collector.catalogue``, and only ``collector.store`` knows the disk.
"""
