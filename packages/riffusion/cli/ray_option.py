"""The option `--ray [ADDRESS]` of commands whose work a Ray cluster can do."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from riffusion.runtime.cluster import LOCAL, RayCluster, check_address, ray_cluster

if TYPE_CHECKING:
    from typer._click.core import Context

_NAME = "--ray"


def _checked(address: str | None) -> str | None:
    """The address. It is checked first: `--ray DIR` takes the argument for one."""
    if address is not None:
        check_address(address)
    return address


RayAddress = Annotated[
    str | None,
    typer.Option(
        _NAME,
        metavar="[ADDRESS]",
        help="Work on the Ray cluster at HOST:PORT; without an address, or with `auto`, on "
        "RAY_ADDRESS, or else on a cluster of this machine. All nodes need the same packages and "
        "the same folders.",
        show_default=False,
        callback=_checked,
    ),
]


class RayCommand(typer.core.TyperCommand):
    """A command whose option `--ray` may be given without its address, which Typer can't do."""

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        """Give an option without an address the address `auto`."""
        for number, argument in enumerate(args):
            if argument == "--":
                break
            if argument == _NAME and (number + 1 == len(args) or args[number + 1].startswith("-")):
                args[number] = f"{_NAME}={LOCAL}"
        parsed: list[Any] = super().parse_args(ctx, args)
        return parsed


@contextmanager
def chosen_cluster(
    address: str | None, processes: int | None, import_from: Sequence[Path] = ()
) -> Iterator[RayCluster | None]:
    """The cluster of an option's address; None without the option.

    Args:
        address: the option's value.
        processes: largest number of workers; None for one per CPU of the cluster.
        import_from: see `ray_cluster`.
    """
    if address is None:
        yield None
        return
    with ray_cluster(address, processes, import_from) as cluster:
        yield cluster
