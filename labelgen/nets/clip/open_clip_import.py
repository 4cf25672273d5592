"""The one door to open_clip: it is imported when a model is wanted, and a broken installation is explained."""

from types import ModuleType

from labelgen.errors import WeightsError

__all__ = ["import_open_clip"]


def import_open_clip() -> ModuleType:
    """Import open_clip, which takes seconds and imports torchvision.

    Raises
    ------
    WeightsError
        When it is not installed, or dies at import because torch and torchvision are not of the same build.
    """
    try:
        import open_clip
    except Exception as error:  # a torchvision of another build raises RuntimeError, AttributeError or OSError
        raise _explained(error) from error
    return open_clip


def _explained(error: Exception) -> WeightsError:
    text = " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = {"open_clip": "open_clip_torch"}.get(error.name, error.name)
        return WeightsError(
            f"image-text models need the package {package}, which is not installed", hint=f"pip install {package}"
        )
    if "torchvision" in text:
        return WeightsError(
            f"open_clip cannot be imported because torchvision does not fit torch ({text})",
            hint="install torch and torchvision as a matching pair: pip install --force-reinstall torch torchvision",
        )
    return WeightsError(
        f"open_clip cannot be imported ({type(error).__name__}: {text})", hint="reinstall open_clip_torch"
    )
