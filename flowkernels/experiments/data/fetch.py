"""Downloads: over HTTP, or from a Debian package."""

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
# Clear the hooks that some systems run after an update: they need root.
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


def download(url: str, *, most: int, timeout: float = 15.0) -> bytes:
    """The content of ``url``; the caller verifies its checksum.

    Args:
        url: http or https (or file, in tests).
        most: the largest number of bytes to accept.
        timeout: in seconds.

    Raises:
        DataError: the download failed, or there is more than ``most``.
    """
    parts, left = [], most
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            while chunk := answer.read(min(_CHUNK, left + 1)):
                parts.append(chunk)
                left -= len(chunk)
                if left < 0:
                    raise DataError(f"{url}: expected at most {most} bytes, got more")
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(f"{url}: could not be fetched ({reason})") from error
    return b"".join(parts)


def apt_extract(package: str, destination: Path) -> Path:
    """Download a Debian package and unpack it under ``destination``, without root.

    apt uses package lists and a cache in a temporary folder, so it needs neither the system's
    lists (which a fresh machine lacks) nor permissions. apt verifies the distribution's
    signatures.

    Args:
        package: the name of the package.
        destination: an existing folder; gets the package's tree (``usr/share/...``).

    Returns:
        ``destination``.

    Raises:
        DataError: apt is missing, or it could not download the package.
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
        # apt only warns if one of several sources is unreachable; the download may still succeed.
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
