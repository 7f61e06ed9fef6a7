"""The Truss bundle, and the context of an image that Truss builds from it.

The server's code and the bundle's model and data are arranged as in the image. Only this module and
`truss_launcher` use internals of Truss; for that reason truss is pinned to one version.
"""

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from riffusion.errors import ServerError
from riffusion.io.bundle import DISTRIBUTION, bundle_roots


def find_bundle(start: Path | None = None) -> Path:
    """The nearest directory with a Truss bundle: config.yaml and model/model.py.

    Args:
        start: where to search, upwards; default: the working directory, then the bundle of this
            package, which may lack `packages/` (see `complete_bundle`).

    Raises:
        ServerError: no bundle was found.
    """
    path = (start or Path.cwd()).resolve()
    own = bundle_roots()[1:] if start is None else []
    for directory in (path, *path.parents, *own):
        if (directory / "config.yaml").is_file() and (directory / "model/model.py").is_file():
            return directory
    raise ServerError(
        f"no Truss bundle (config.yaml and model/model.py) in or above {path}"
        f"{''.join(f', or in {root}' for root in own)}; run this inside a clone of the repository, "
        f"or install {DISTRIBUTION} again"
    )


def read_config(bundle_dir: Path) -> Any:
    """The bundle's configuration, a `truss.base.truss_config.TrussConfig`.

    Raises:
        ServerError: config.yaml is missing, not valid, or has an unknown key, which Truss itself
            would ignore.
    """
    path = bundle_dir / "config.yaml"
    with _truss() as truss:
        try:
            config = truss.base.truss_config.TrussConfig.from_yaml(path)
            config.validate_forbid_extra()
        except (ValueError, OSError) as error:
            raise ServerError(f"{path} is not a valid Truss configuration: {error}") from error
    return config


def build_context(bundle_dir: Path, directory: Path) -> Any:
    """Arrange `directory`/app as in the image; return the bundle's configuration.

    Raises:
        ServerError: the bundle is not valid.
    """
    config = read_config(bundle_dir)
    context = directory / "context"
    with _truss() as truss:
        try:
            _prepare(truss.load(bundle_dir).gather(), context)
        except (ValueError, OSError) as error:
            raise ServerError(f"bundle={bundle_dir} cannot be built by Truss: {error}") from error
    app = directory / "app"
    (context / "server").rename(app)
    for name in (config.model_module_dir, config.data_dir, "config.yaml"):
        if (context / name).exists():
            (context / name).rename(app / name)
    shutil.rmtree(context / "build_hash", ignore_errors=True)  # it is a second copy of everything
    return config


def _prepare(bundle_dir: Path, context: Path) -> None:
    """Write the context as Truss does, but without a hash of the whole folder.

    Only a live reload in the cloud uses it, and for it Truss reads all of .venv and
    web/node_modules, too, at each start of the server.
    """
    from truss.base.truss_spec import TrussSpec
    from truss.contexts.image_builder.serving_image_builder import ServingImageBuilder

    class SpecWithoutHash(TrussSpec):  # type: ignore[misc] # truss is not typed
        hash_ignore_patterns = ("*",)

    builder = ServingImageBuilder(bundle_dir)
    builder._spec = SpecWithoutHash(bundle_dir)
    builder.prepare_image_build_dir(context)


@contextmanager
def _truss() -> Iterator[Any]:
    """The truss package, without deprecation warnings of its own and its dependencies' code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import truss  # takes seconds, so it is imported only when needed
        import truss.base.truss_config

        yield truss
