"""The soak: everything at once against the running servers, also kills and clocks that jump.

`make soak MINUTES=60` runs it (`__main__.py`); `test_soak.py` a minute of it. Actors send requests
(`actors.py`, `jam.py`), trouble befalls the servers (`trouble.py`), and `verdicts.py` says what an
answer may be at that time.
"""
