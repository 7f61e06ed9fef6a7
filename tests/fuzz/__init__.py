"""Hostile requests for the running servers, and the rules that every answer has to keep.

`make fuzz` sends 10,000 of them (`__main__.py`); `test_fuzz.py` a bounded, repeatable part.
"""
