"""What SQLite says about one file, as one clear line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import apsw

from genome.errors import DamagedError, Error

if TYPE_CHECKING:
    from pathlib import Path


@contextmanager
def sqlite_errors(path: "Path | str") -> Iterator[None]:
    """Turns what SQLite says about one file into one clear line; misuse by this program passes through."""
    try:
        yield
    except apsw.FullError as error:
        raise Error(f"no space left for {path}; free some, or set GENOME_HOME to a larger disk") from error
    except (apsw.CorruptError, apsw.NotADBError, apsw.FormatError, UnicodeDecodeError) as error:
        raise DamagedError(f"{path} is damaged ({_line(error)}); build or copy it again") from error
    except (apsw.ReadOnlyError, apsw.PermissionsError, apsw.CantOpenError) as error:
        raise Error(
            f"{path} cannot be opened or written ({_line(error)}); check the folder's permissions"
        ) from error
    except (apsw.BusyError, apsw.LockedError) as error:
        raise Error(f"{path} is in use by another process ({_line(error)}); wait for it, or end it") from error
    except apsw.IOError as error:
        raise Error(f"{path}: the disk refused ({_line(error)}); check its space and health") from error
    except apsw.TooBigError as error:
        raise Error(
            f"{path}: a value is too large ({_line(error)}); check its source, then build it again"
        ) from error
    except (apsw.ConstraintError, apsw.MismatchError) as error:
        raise Error(
            f"{path}: the source does not fit a database ({_line(error)}); check it, or fetch it again"
        ) from error
    except apsw.ExtensionLoadingError as error:
        raise Error(
            f"sqlite-vec does not load ({_line(error)}); `pip install --force-reinstall sqlite-vec`"
        ) from error
    except apsw.NoMemError as error:
        raise Error(f"{path}: no memory left; close other programs, or use a smaller database") from error
    except apsw.SQLError as error:
        raise DamagedError(f"{path}: SQLite refused ({_line(error)}); build or copy it again") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
