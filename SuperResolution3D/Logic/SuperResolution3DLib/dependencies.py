"""Python packages that a run needs: asked for at Apply, never earlier.

torch comes through the PyTorch extension's way (light-the-torch, which picks the build for
the graphics driver); the small rest through ``slicer.packaging``.  Nothing here is imported
to find out whether it is there: a half-installed torch would stay loaded, and the worker
tells it better.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from slicer.i18n import tr as _
from superres3d.errors import DeviceError

from .request import Request

REQUESTER = "SuperResolution3D"
#: what the downloads take, in MB, as of 2026; one that is not named here takes less than 1
_MEGABYTES = {"openvino": 59, "pillow": 7}
MINIMUM_TORCH = "2.2"


class Installer(Protocol):
    """What may change Slicer's Python; the panel's asks the user, the logic's refuses."""

    def ensure_packages(self, requirements: Path) -> None:
        """The packages of a requirements file (DeviceError with what to do)."""

    def ensure_torch(self, minimum: str) -> None:
        """PyTorch of at least this version (DeviceError with what to do)."""


def ensure_packages_for(request: Request, resources: Path, installer: Installer) -> None:
    """What a run needs (DeviceError with what to do).

    Args:
        request: the run.
        resources: folder of the requirements files.
        installer: installs, or refuses.
    """
    installer.ensure_packages(resources / ("requirements-networks.txt" if request.catalogued.networks else "requirements.txt"))
    if request.needs_torch:
        installer.ensure_torch(MINIMUM_TORCH)


def download_question(missing: list[str]) -> str:
    """What would be downloaded, by name, how much it is, and what it changes."""
    names = [line.split(">=")[0] for line in missing]
    told = ", ".join(f"{name} ({_MEGABYTES[name]} MB)" if name in _MEGABYTES else name for name in names)
    return _("Before the first run {count} Python packages have to be installed in Slicer: {names}. That is a download of about {size} MB from PyPI; your scans are not sent anywhere. Install them now?").format(
        count=len(names), names=told, size=sum(_MEGABYTES.get(name, 1) for name in names)
    )


def missing_packages(requirements: Path) -> list[str]:
    """Lines of a requirements file (``name>=version``) that are not met."""
    return [line for line in _lines(requirements) if not _is_met(*line.split(">="))]


def _lines(requirements: Path) -> list[str]:
    lines = [line.strip() for line in requirements.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _is_met(name: str, minimum: str) -> bool:
    found = installed_version(name)
    return found is not None and _release(found) >= _release(minimum)


def _release(version: str) -> tuple[int, ...]:
    """(2, 13, 0) of "2.13.0+cpu"."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[+a-z-]", version)[0]))


def installed_version(name: str) -> str | None:
    """The version in the package's metadata, None where there is none or it is damaged."""
    try:
        return importlib.metadata.version(name)
    except (importlib.metadata.PackageNotFoundError, TypeError, KeyError, OSError):
        return None


def versions_text(requirements: Path) -> str:
    """The version of the package, and of all that its networks need, in one line."""
    from superres3d import __version__

    names = [line.split(">=")[0] for line in _lines(requirements)]
    told = [f"{name} {installed_version(name) or _('not installed')}" for name in [*names, "torch"]]
    return ", ".join([f"superres3d {__version__}", *told])


def torch_is_usable(version: str | None) -> bool:
    """True for 2.2 and newer.  Whether it also loads, only the worker can tell."""
    if not version:
        return False
    return _release(version) >= _release(MINIMUM_TORCH)


class NoInstaller:
    """For scripts: says what is missing and changes nothing."""

    def ensure_packages(self, requirements: Path) -> None:
        """Refuse if one of the small packages is missing or too old (DeviceError)."""
        missing = missing_packages(requirements)
        if missing:
            raise DeviceError(
                _("The Python packages {names} are missing or too old; click Apply once in the SuperResolution3D module, or run: PythonSlicer -m pip install {words}")
                .format(names=", ".join(line.split(">=")[0] for line in missing), words=" ".join(f'"{line}"' for line in missing))
            )  # fmt: skip

    def ensure_torch(self, minimum: str) -> None:
        """Refuse if torch is missing or too old (DeviceError)."""
        if not torch_is_usable(installed_version("torch")):
            raise DeviceError(_("A graphics card needs PyTorch {minimum} or newer, which is not installed; install it with the module PyTorch Util, or use the device auto or cpu.").format(minimum=minimum))


class SlicerInstaller:
    """Asks the user, then installs with a visible log.

    Args:
        ask: shows a question and returns the answer.
        log: shows a line of the installation.

    Attributes:
        installed: whether the small packages were brought just now.
    """

    def __init__(self, ask: Callable[[str], bool], log: Callable[[str], None]):
        self._ask = ask
        self._log = log
        self.installed = False

    def ensure_packages(self, requirements: Path) -> None:
        """The small packages (DeviceError if they are declined or cannot be had)."""
        import slicer.packaging

        missing = missing_packages(requirements)
        if not missing:
            return
        if not self._ask(download_question(missing)):
            raise DeviceError(_("The Python packages that this module needs were declined; click Apply again and confirm, or ask your administrator to install them."))
        try:
            slicer.packaging.pip_ensure(slicer.packaging.load_requirements(requirements), requester=REQUESTER, prompt_install=False)
        except Exception as error:  # pip, the network and the disk each raise their own kinds
            raise DeviceError(_("The Python packages could not be installed ({reason}); check the internet connection and the free disk space, then click Apply again.").format(reason=_first_line(error))) from error
        NoInstaller().ensure_packages(requirements)  # in testing mode Slicer installs nothing
        self.installed = True

    def update_packages(self, requirements: Path) -> bool:
        """Bring the small packages to their newest versions; False if it is declined (DeviceError if they cannot be had)."""
        import slicer.packaging

        names = ", ".join(line.split(">=")[0] for line in _lines(requirements))
        if not self._ask(_("The Python packages {names} will be brought to their newest versions from PyPI; your scans are not sent anywhere. Update them now?").format(names=names)):
            return False
        try:
            slicer.packaging.pip_install(["--upgrade", *_lines(requirements)], requester=REQUESTER)
        except Exception as error:  # pip, the network and the disk each raise their own kinds
            raise DeviceError(_("The Python packages could not be updated ({reason}); check the internet connection and the free disk space.").format(reason=_first_line(error))) from error
        return True

    def ensure_torch(self, minimum: str) -> None:
        """torch by way of the PyTorch extension (DeviceError if declined, offline or half-installed)."""
        if torch_is_usable(installed_version("torch")):
            return
        if importlib.util.find_spec("PyTorchUtils") is None:
            raise DeviceError(_("A graphics card needs the PyTorch extension; install it in the Extensions Manager and restart Slicer, or use the device auto or cpu."))
        question = _("A graphics card needs PyTorch, which is not installed yet. Downloading and installing it takes several minutes and up to several GB of disk. Install it now?")
        if not self._ask(question):
            raise DeviceError(_("PyTorch was declined; click Apply again and confirm, or use the device auto or cpu, which work without it."))
        self._install_torch(minimum)
        NoInstaller().ensure_torch(minimum)

    def _install_torch(self, minimum: str) -> None:
        """light-the-torch picks the build for the graphics driver; torchvision is not needed and left out."""
        import slicer.packaging
        import slicer.util

        try:
            slicer.packaging.pip_install(["light-the-torch>=0.5"], requester=REQUESTER)
            slicer.util.executePythonModule("light_the_torch", ["install", f"torch>={minimum}"], blocking=True, logCallback=self._log)
        except Exception as error:  # pip, the network and the disk each raise their own kinds
            raise DeviceError(
                _("PyTorch could not be installed ({reason}); check the internet connection and the free disk space (several GB), restart Slicer and try again, or use the device auto or cpu.")
                .format(reason=_first_line(error))
            ) from error  # fmt: skip


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
