"""Sentences that a class name is put into before the text tower reads it; light."""

from pathlib import Path

from labelgen.errors import ConfigError

__all__ = ["TEMPLATE_SETS", "load_templates"]

TEMPLATE_SETS = ("imagenet80", "imagenet7", "simple", "none")
"""OpenAI's 80 templates for ImageNet, its best 7 of them, one plain sentence, the bare name."""

SLOT = "{}"


def load_templates(name_or_file: str) -> tuple[str, ...]:
    """Return a set of templates, or those of a text file.

    A file holds one template a line; blank lines and lines that begin with # are left out.

    Parameters
    ----------
    name_or_file
        `imagenet80`, `imagenet7` [1]_, `simple`, `none`, or the path of a file.

    Returns
    -------
    tuple of str
        Each with `{}` once, where the name goes.

    Raises
    ------
    ConfigError
        When there is no such set or file, or a template does not hold `{}` exactly once or is there twice.

    References
    ----------
    .. [1] A. Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021,
       arXiv 2103.00020, section 3.1.4; the lists are those that open_clip carries.

    Examples
    --------
    >>> load_templates("simple")
    ('a photo of a {}.',)
    >>> load_templates("none")
    ('{}',)
    """
    if name_or_file == "simple":
        return ("a photo of a {}.",)
    if name_or_file == "none":
        return (SLOT,)
    if name_or_file in TEMPLATE_SETS:
        return _of_imagenet(name_or_file)
    path = Path(name_or_file).expanduser()
    if not path.is_file():
        raise ConfigError(
            f"templates must be {', '.join(TEMPLATE_SETS)} or a text file, got {name_or_file!r}",
            hint="a file holds one template a line, such as: a satellite photo of {}.",
        )
    return _read(path)


def _of_imagenet(name: str) -> tuple[str, ...]:
    from labelgen.nets.clip.open_clip_import import import_open_clip

    open_clip = import_open_clip()
    lists = {"imagenet80": open_clip.OPENAI_IMAGENET_TEMPLATES, "imagenet7": open_clip.SIMPLE_IMAGENET_TEMPLATES}
    return tuple(template(SLOT) for template in lists[name])


def _read(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the templates in {path} cannot be read: {error}", hint="save them as UTF-8 text") from error
    found: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        template = line.strip()
        if not template or template.startswith("#"):
            continue
        if template.count(SLOT) != 1:
            raise ConfigError(
                f"a template must hold {SLOT} exactly once, got {template!r} in line {number} of {path}",
                hint="{} stands for the class name",
            )
        if template in found:
            raise ConfigError(
                f"a template must be there once, got {template!r} in lines {found[template]} and {number} of {path}"
            )
        found[template] = number
    if not found:
        raise ConfigError(f"there must be at least one template in {path}", hint="such as: a photo of a {}.")
    return tuple(found)
