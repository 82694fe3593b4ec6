"""Getting a file from elsewhere: over HTTP with a checksum, or out of a Debian package."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from flowkernels.experiments.data.errors import DataError

__all__ = ["apt_extract", "download", "sha256"]

log = logging.getLogger(__name__)

_CHUNK = 1 << 20
# Without the hooks that some systems put behind an update: they write where only root may.
_APT_CONF = """\
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
Dir::State::Lists "{root}/lists";
Dir::Cache "{root}/cache";
Dir::State::status "{status}";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
"""


def sha256(content: bytes) -> str:
    """The SHA-256 of ``content`` in hexadecimal.

    Example:
        >>> sha256(b"")[:8]
        'e3b0c442'
    """
    return hashlib.sha256(content).hexdigest()


def download(url: str, *, timeout: float = 15.0) -> bytes:
    """The bytes behind ``url``; the caller compares their checksum.

    Args:
        url: http or https (or file, which tests use).
        timeout: seconds without an answer after which to give up.

    Raises:
        DataError: nothing usable came back.
    """
    parts = []
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            while chunk := answer.read(_CHUNK):
                parts.append(chunk)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(f"{url}: could not be fetched ({reason})") from error
    return b"".join(parts)


def apt_extract(package: str, destination: Path) -> Path:
    """Fetch a Debian package and unpack it under ``destination``, without root.

    apt works on lists and a cache of its own in a temporary folder, so neither the system's lists
    (which a fresh machine lacks) nor any permission is needed; apt checks the package against the
    distribution's signatures.

    Args:
        package: the name of the package.
        destination: an existing folder; the package's tree (``usr/share/...``) appears in it.

    Returns:
        ``destination``.

    Raises:
        DataError: there is no apt here, or it could not get the package.
    """
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise DataError(f"package {package}: no {' and no '.join(missing)} on this machine")
    with tempfile.TemporaryDirectory(prefix="flowkernels-apt-") as name:
        root = Path(name)
        for folder in ("lists/partial", "cache/archives/partial", "down"):
            (root / folder).mkdir(parents=True)
        status = Path("/var/lib/dpkg/status")
        if not status.exists():
            status = root / "status"
            status.touch()
        conf = root / "apt.conf"
        conf.write_text(_APT_CONF.format(root=root, status=status))
        apt = ["apt-get", "-q", "-c", str(conf)]
        # One unreachable source among several is a warning to apt; the download decides.
        log.info("asking apt for the package %s", package)
        _run([*apt, "update"], package, cwd=root)
        _run([*apt, "download", package], package, cwd=root / "down")
        archive = _only(root.glob("down/*.deb"), package)
        _run(["dpkg-deb", "-x", str(archive), str(destination)], package, cwd=root)
    return destination


def _only(found: Iterable[Path], package: str) -> Path:
    archives = list(found)
    if len(archives) != 1:
        names = [archive.name for archive in archives]
        raise DataError(f"package {package}: expected apt to fetch one file, found {names}")
    return archives[0]


def _run(command: list[str], package: str, *, cwd: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"package {package}: {command[0]} did not end in 10 minutes") from error
    if done.returncode:
        last = " / ".join((done.stderr or done.stdout).strip().splitlines()[-2:])
        raise DataError(
            f"package {package}: '{command[0]} {command[-1]}' ended with status "
            f"{done.returncode}: {last}"
        )
