"""Calls on the nodes of a Ray cluster, by Ray Data: in place of `processes`' pool on one machine.

Each node needs the same packages, and the same files at the same paths. A worker that dies, or its
whole node, is replaced, and its items are done again; so a call must be able to be repeated.
"""

import logging
import os
import pickle
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from riffusion.errors import InputError, RiffusionError
from riffusion.runtime.processes import THREAD_VARIABLES

LOCAL = "auto"
"""In place of an address: `RAY_ADDRESS`, else a cluster that this machine is part of, else one of
this machine's processors, which ends with the program."""
_MAX_BLOCKS = 10_000
"""Largest number of blocks. Each is done, and done again, as a whole, and Ray keeps track of it."""
_MAX_RETRIES = 5
"""How often an item is done again after it lost its worker. One that kills it each time, for
example by its memory, would otherwise be done again forever."""
_CONNECT_S = 5.0

Item = Any
Result = Any


class RayCluster:
    """A connected cluster; see `ray_cluster`.

    Args:
        num_workers: largest number of workers; None for one per CPU of the cluster.
    """

    def __init__(self, num_workers: int | None = None) -> None:
        self.num_workers = num_workers

    def results(
        self,
        prepare: Callable[..., Any],
        arguments: tuple[Any, ...],
        call: Callable[[Any, Item], Result],
        items: Sequence[Item],
    ) -> Iterator[tuple[int, Result | Exception]]:
        """Yield (index of the item, result or exception) as items get done, in any order.

        Args:
            prepare: called once in each worker with `arguments`; a function of a module.
            arguments: arguments of `prepare`.
            call: called with what `prepare` returned and an item; a function of a module. It
                computes with one thread, as in `processes`.
            items: the items; anything that can be pickled.

        Raises:
            RiffusionError: the cluster is gone, workers can't be prepared on it, or an item loses
                one worker after the other.
        """
        import ray
        from ray.exceptions import RayError
        from ray.util.annotations import RayDeprecationWarning

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        available = max(1, int(ray.cluster_resources().get("CPU", 1)))
        workers = min(self.num_workers or available, available, len(items))
        rows = [{"number": number, "item": pickle.dumps(item)} for number, item in enumerate(items)]
        with warnings.catch_warnings():
            # Ray 2.64 will want `max_task_retries` elsewhere, but 2.60 has no other place for it.
            warnings.simplefilter("ignore", RayDeprecationWarning)
            dataset = ray.data.from_items(
                rows, override_num_blocks=min(len(rows), _MAX_BLOCKS)
            ).map(
                _Worker,
                fn_constructor_args=(prepare, arguments, call),
                compute=ray.data.ActorPoolStrategy(size=workers),
                num_cpus=1,
                max_task_retries=_MAX_RETRIES,
            )
        try:
            for row in dataset.iter_rows():
                yield row["number"], pickle.loads(row["result"])
        except RayError as error:
            raise RiffusionError(
                f"the Ray cluster cannot do this ({_reason(error)}); check that its nodes have the "
                "same packages and enough memory, and run the same command again: it resumes"
            ) from error


class _Worker:
    """A worker of the cluster, an actor of Ray Data."""

    def __init__(
        self,
        prepare: Callable[..., Any],
        arguments: tuple[Any, ...],
        call: Callable[[Any, Item], Result],
    ) -> None:
        self.state = prepare(*arguments)
        self.call = call
        threadpool_limits(1)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        result: Result | Exception
        try:
            result = self.call(self.state, pickle.loads(row["item"]))
        except Exception as error:
            result = error
        return {"number": row["number"], "result": _pickled(result)}


def _pickled(result: Result | Exception) -> bytes:
    """An exception that can't be pickled, or not be unpickled again, is replaced by its text."""
    if not isinstance(result, Exception):
        return pickle.dumps(result)
    try:
        data = pickle.dumps(result)
        pickle.loads(data)
    except Exception:
        return pickle.dumps(RiffusionError(f"{type(result).__name__}: {result}"))
    return data


@contextmanager
def ray_cluster(
    address: str, num_workers: int | None = None, import_from: Sequence[Path] = ()
) -> Iterator[RayCluster]:
    """Connect to a Ray cluster until the end of the block.

    Args:
        address: `HOST:PORT` of its head, or `LOCAL`. This machine must be part of it.
        num_workers: see `RayCluster`.
        import_from: folders that workers import modules from, too, such as a checkout's root.

    Raises:
        InputError: there is no cluster at the address, or it has other versions or another token.
        ModuleNotFoundError: Ray isn't installed.
    """
    check_address(address)
    _check_listens(address)
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its remarks aren't for users
    import ray
    import ray.data

    if ray.is_initialized():
        raise RiffusionError("this program is connected to a Ray cluster already")
    package = Path(__file__).resolve().parents[2]
    folders = [*map(str, import_from), str(package)]
    if inherited := os.environ.get("PYTHONPATH"):
        folders.append(inherited)
    variables = dict.fromkeys(THREAD_VARIABLES, "1") | {"PYTHONPATH": os.pathsep.join(folders)}
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # its errors are raised, too
    try:
        ray.init(
            None if address == LOCAL else address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=False if address == LOCAL else None,
            runtime_env={"env_vars": variables},
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{address!r} has no Ray cluster that can be used ({_reason(error)}); this machine "
            "must be part of it, with the same Python and Ray; if its head has a token, "
            "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to what `ray get-auth-token` prints there",
            field="ray",
        ) from error
    try:
        yield RayCluster(num_workers)
    finally:
        ray.shutdown()


def check_address(address: str) -> None:
    """Check that an address is one of a Ray cluster.

    Raises:
        InputError: it isn't.
    """
    if address == LOCAL:
        return
    if address.startswith("ray://"):
        raise InputError(
            f"{address!r} is an address for Ray's clients, through which Ray Data doesn't work; "
            "on a machine of the cluster, use HOST:PORT of its head, such as 10.0.0.1:6379",
            field="ray",
        )
    host, port = _host_and_port(address)
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(
            f"{address!r} is not the address of a Ray cluster; use HOST:PORT, such as "
            f"10.0.0.1:6379, or {LOCAL!r} for this machine",
            field="ray",
        )


def _host_and_port(address: str) -> tuple[str, str]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), port


def _check_listens(address: str) -> None:
    """Check that something listens at an address, which takes Ray half a minute.

    Raises:
        InputError: nothing does.
    """
    if address == LOCAL:
        return
    host, port = _host_and_port(address)
    try:
        socket.create_connection((host, int(port)), _CONNECT_S).close()
    except OSError as error:
        raise InputError(
            f"nothing listens at {address!r} ({error.strerror or error}); start a Ray cluster with "
            f"`ray start --head`, or use {LOCAL!r} for this machine",
            field="ray",
        ) from error


def _reason(error: Exception) -> str:
    """The last line of an exception, which is what Ray ends its reports with."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
