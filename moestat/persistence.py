"""Save and load fitted estimators as JSON or npz: a schema and a version in the file, never pickle."""

from __future__ import annotations

import io
import json
import os
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

#: What the file says it is, and the newest layout that this code writes and reads.
SCHEMA = "moestat/estimator"
VERSION = 1

_MEMBER = "document"

#: What the readers of JSON, zip and npy raise on content that is no such file.
_UNREADABLE = (
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    OSError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)


class PersistenceWarning(UserWarning):
    """Something of the estimator could not be written and is left out."""


def save(estimator: Any, path: str | os.PathLike[str]) -> Path:
    """Write a fitted estimator to ``path``; `load` gives back one that predicts the same, bit for bit.

    The file holds the class by name, the constructor's parameters and the fitted state.  Floats are exact.  It is
    written beside ``path`` and moved into place, so that a reader never sees half a file.  ``random_state`` is kept
    if it is an integer or None; a generator's state is not part of a fit, and is stored as None with a warning.

    Parameters
    ----------
    estimator : fitted estimator of moestat
    path : path ending in ``.json`` (readable) or ``.npz`` (compact)

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ValueError
        If the ending is another one.
    FileNotFoundError
        If the folder of ``path`` does not exist.
    TypeError
        If the class is not an estimator of moestat, or a parameter cannot be written as plain data.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    """
    from sklearn.utils.validation import check_is_fitted

    target = Path(path)
    write = _codec(target)[0]
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"No folder {str(target.parent)!r} to save {target.name!r} in; create the folder first."
        )
    name = type(estimator).__name__
    if _estimators().get(name) is not type(estimator):
        raise TypeError(f"Cannot save a {name}: not one of the estimators {', '.join(sorted(_estimators()))}.")
    check_is_fitted(estimator)
    params = estimator.get_params(deep=False)
    if "random_state" in params:
        params["random_state"] = _plain_seed(params["random_state"])
    document = {
        "schema": SCHEMA,
        "version": VERSION,
        "written_by": f"moestat {_package_version()}",
        "class": name,
        "params": _encode(params, "params"),
        "state": _encode(estimator._to_state(), "state"),
    }
    _write_atomically(target, write(document))
    return target


def load(path: str | os.PathLike[str]) -> Any:
    """Read an estimator that `save` wrote.

    Nothing in the file is executed: classes are looked up in a fixed list and arrays are read without pickle.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is empty, cut short, of another schema, written by a newer moestat, or names an unknown class.
    """
    source = Path(path)
    read = _codec(source)[1]
    if not source.is_file():
        raise FileNotFoundError(f"No file {str(source)!r} to load; give a file written by an estimator's save().")
    content = source.read_bytes()
    if not content:
        raise ValueError(f"{str(source)!r} is empty: the write that made it did not finish. Save the estimator again.")
    try:
        document = read(content)
    except _UNREADABLE as error:
        raise ValueError(
            f"{str(source)!r} is damaged or cut short ({error}); it is no complete file of moestat. Save it again."
        ) from error
    _check_header(document, source)
    estimators = _estimators()
    name = str(document["class"])
    if name not in estimators:
        raise ValueError(
            f"{str(source)!r} holds an estimator of class {name!r}; this moestat knows {', '.join(sorted(estimators))}."
        )
    try:
        estimator = estimators[name](**_decode(document["params"]))
        estimator._from_state(_decode(document["state"]))
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{str(source)!r} has the right schema but not the right content ({error!r}).") from error
    return estimator


def _check_header(document: Any, source: Path) -> None:
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"{str(source)!r} has schema {schema!r}; a saved estimator has schema {SCHEMA!r}.")
    version = document.get("version")
    if not isinstance(version, int) or version < 1:
        raise ValueError(f"{str(source)!r} has version {version!r}; versions are integers from 1 to {VERSION}.")
    if version > VERSION:
        raise ValueError(
            f"{str(source)!r} has version {version} (written by {document.get('written_by')}); this moestat "
            f"{_package_version()} reads versions up to {VERSION}. Upgrade moestat."
        )
    missing = [key for key in ("class", "params", "state") if key not in document]
    if missing:
        raise ValueError(f"{str(source)!r} lacks {', '.join(missing)}: it is no complete file of moestat.")


# -- what may be written ---------------------------------------------------------------------------------
def _estimators() -> dict[str, type[Any]]:
    from moestat import estimators

    classes = {name: getattr(estimators, name) for name in estimators.__all__}
    return {name: cls for name, cls in classes.items() if isinstance(cls, type)}


def _components() -> dict[str, type[Any]]:
    """Classes that may stand among the constructor's parameters, by name."""
    from moestat import registry
    from moestat.fitting import Start

    tables = (registry.GATES, registry.EXPERTS, registry.MEANS)
    return {cls.__name__: cls for cls in (Start, *(cls for table in tables for cls in table.values()))}


def _plain_seed(seed: Any) -> int | None:
    if seed is None or isinstance(seed, (int, np.integer)):
        return None if seed is None else int(seed)
    warnings.warn(
        f"random_state={seed!r} is a generator, whose state is not part of the fit; it is saved as None. Use an "
        "integer random_state to keep it.",
        PersistenceWarning,
        stacklevel=3,
    )
    return None


# -- values to plain data and back ---------------------------------------------------------------------------------
# Plain JSON values stand for themselves; everything else is an object with one key that starts with "$".
def _encode(value: Any, where: str) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _encode_component(value, where)
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiubU":
            raise TypeError(f"{where} is an array of dtype {value.dtype}; numbers, booleans or text can be saved.")
        return {"$array": value}
    if isinstance(value, (list, tuple)):
        items = [_encode(item, f"{where}[{i}]") for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, slice):
        return {"$slice": _encode([value.start, value.stop, value.step], where)}
    if isinstance(value, dict):
        bad = [key for key in value if not isinstance(key, str) or key.startswith("$")]
        if bad:
            raise TypeError(f"{where} has the key {bad[0]!r}; keys that can be saved are text not starting with '$'.")
        return {key: _encode(item, f"{where}[{key!r}]") for key, item in value.items()}
    if hasattr(value, "columns") and hasattr(value, "to_numpy"):
        return _encode(value.to_numpy(), where)
    raise TypeError(
        f"{where} is a {type(value).__name__}, which cannot be saved as plain data. Use numbers, text, arrays, lists, "
        "dictionaries or moestat's own components."
    )


def _encode_component(value: Any, where: str) -> dict[str, Any]:
    name = type(value).__name__
    if _components().get(name) is not type(value):
        raise TypeError(f"{where} is a {name}, not a component of moestat; it cannot be saved.")
    content = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
    return {"$component": name, "fields": {key: _encode(item, f"{where}.{key}") for key, item in content.items()}}


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "$array" in value:
        return value["$array"]
    if "$float" in value:
        return float(value["$float"])
    if "$tuple" in value:
        return tuple(_decode(item) for item in value["$tuple"])
    if "$slice" in value:
        return slice(*_decode(value["$slice"]))
    if "$component" in value:
        content = {key: _decode(item) for key, item in value["fields"].items()}
        return _lookup(value["$component"])(**content)
    return {key: _decode(item) for key, item in value.items()}


def _lookup(name: str) -> Any:
    known = _components()
    if name not in known:
        raise ValueError(f"The file names a class {name!r}; this moestat knows {', '.join(sorted(known))}.")
    return known[name]


def _map_arrays(value: Any, change: Callable[[Any], Any]) -> Any:
    """Copy of encoded data with ``change`` applied to what stands under every ``$array``."""
    if isinstance(value, list):
        return [_map_arrays(item, change) for item in value]
    if isinstance(value, dict):
        if "$array" in value:
            return {"$array": change(value["$array"])}
        return {key: _map_arrays(item, change) for key, item in value.items()}
    return value


# -- encoded data to bytes and back ---------------------------------------------------------------------------------
def _write_json(document: dict[str, Any]) -> bytes:
    def listed(array: np.ndarray[Any, Any]) -> dict[str, Any]:
        flat = array.ravel().tolist()
        if array.dtype.kind == "f":  # repr, which json uses, is exact; JSON has no words for what is not finite
            flat = [float(item) if np.isfinite(item) else repr(float(item)) for item in flat]
        return {"dtype": array.dtype.str, "shape": list(array.shape), "data": flat}

    text = json.dumps(_map_arrays(document, listed), indent=1, allow_nan=False)
    return (text + "\n").encode("utf-8")


def _read_json(content: bytes) -> Any:
    def array(entry: dict[str, Any]) -> np.ndarray[Any, Any]:
        dtype = np.dtype(entry["dtype"])
        if dtype.kind not in "fiubU":
            raise ValueError(f"array of dtype {dtype}")
        data = [float(item) for item in entry["data"]] if dtype.kind == "f" else entry["data"]
        return np.array(data, dtype=dtype).reshape(entry["shape"])

    return _map_arrays(json.loads(content.decode("utf-8")), array)


def _write_npz(document: dict[str, Any]) -> bytes:
    arrays: dict[str, Any] = {}

    def numbered(array: np.ndarray[Any, Any]) -> str:
        key = f"array_{len(arrays)}"
        arrays[key] = array
        return key

    text = json.dumps(_map_arrays(document, numbered), allow_nan=False)
    buffer = io.BytesIO()
    arrays[_MEMBER] = np.frombuffer(text.encode("utf-8"), dtype=np.uint8)
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _read_npz(content: bytes) -> Any:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        document = json.loads(bytes(archive[_MEMBER]).decode("utf-8"))
        return _map_arrays(document, lambda key: archive[key])


_Writer = Callable[[dict[str, Any]], bytes]
_Reader = Callable[[bytes], Any]


def _codec(path: Path) -> tuple[_Writer, _Reader]:
    codecs: dict[str, tuple[_Writer, _Reader]] = {".json": (_write_json, _read_json), ".npz": (_write_npz, _read_npz)}
    if path.suffix not in codecs:
        raise ValueError(f"{str(path)!r} ends in {path.suffix!r}; a saved estimator ends in '.json' or '.npz'.")
    return codecs[path.suffix]


def _write_atomically(path: Path, content: bytes) -> None:
    """Write beside the target, flush to disk, then rename: the target is the old file or the new one, whole."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _package_version() -> str:
    from moestat import __version__

    return __version__
