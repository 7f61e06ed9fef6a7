"""The table of torch against light, to which several benchmarks add rows."""

from benchmarks import browser, engine_table, installs
from benchmarks.engine_table import Compared

MEASURED = {
    "browser": "150.0.7871.1",
    "threads 1": {
        "load": 1.25,
        "instant": {"prepare": 0.01, "diffusion": 0.67, "decode": 0.27, "inversion": 0.33},
        "fast": {"prepare": 0.01, "diffusion": 3.4, "decode": 0.25, "inversion": 0.22},
    },
    "threads 2": {
        "load": 1.5,
        "instant": {"prepare": 0.01, "diffusion": 0.43, "decode": 0.15, "inversion": 0.24},
        "fast": {"prepare": 0.01, "diffusion": 2.06, "decode": 0.16, "inversion": 0.23},
    },
    "memory, MB": {"1 clips": 190.0, "20 clips": 198.2},
}
"""As `web/e2e/engine.measure.ts` writes it."""


def test_rows_have_units_and_a_ratio() -> None:
    table = engine_table.markdown(
        [
            Compared("a part", 90.04, 45.02, "ms"),
            Compared("an installation", 5900, 464, "MB", "130 and 44 packages"),
            Compared("in the browser", None, 0.85, "s"),
        ]
    )
    assert table.splitlines()[2:] == [
        "| a part | 90 ms | 45 ms | 2.0 |  |",
        "| an installation | 5,900 MB | 464 MB | 12.7 | 130 and 44 packages |",
        "| in the browser | – | 0.85 s |  |  |",
    ]


def test_tables_are_joined_below_one_header() -> None:
    rows = [Compared(name, 2, 1, "s") for name in "abc"]
    tables = [engine_table.markdown(rows[:1]), engine_table.markdown(rows[1:])]
    assert engine_table.joined(tables) == engine_table.markdown(rows)


def test_the_browsers_clips_are_sums_of_their_stages() -> None:
    rows = {row.what: row for row in browser.rows_of(MEASURED)}
    assert rows["a clip, `instant`, in Chromium 150, 1 thread"].light == 1.28
    assert rows["a clip, `fast`, in Chromium 150, 2 threads"].note.startswith("prepare 0.01, ")
    assert rows["loading the kept files, in Chromium 150, 2 threads"].light == 1.5
    assert rows["memory of the page and its worker after 20 clips"].light == 198.2
    assert all(row.torch is None for row in rows.values())


def test_installations_are_compared() -> None:
    found = {
        "torch": installs.Installed(5900, 120, 130, 8.5),
        "light": installs.Installed(464, 40, 44, 2.6),
    }
    size, seconds, start = installs.rows_of(found)
    assert (size.torch, size.light, size.note) == (5900, 464, "130 and 44 packages")
    assert (seconds.torch, seconds.light) == (120, 40)
    assert (start.torch, start.light) == (8.5, 2.6)
