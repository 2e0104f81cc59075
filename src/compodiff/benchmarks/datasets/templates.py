"""Text templates of benchmarks: what a person may put around the relative caption."""

from string import Formatter

from compodiff.errors import InputInvalid


def fill_template(template: str, **fields: str) -> str:
    """Put a query's texts into a template.

    Args:
        template: such as "a photo that {relative_caption}".
        **fields: the texts that it may name.

    Raises:
        InputInvalid: it names another field or none, or its braces do not match.
    """
    there = " and ".join(f"{{{name}}}" for name in fields)
    try:
        named = [(name, spec, kind) for _, name, spec, kind in Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise InputInvalid(f"the template {template!r} does not parse ({error}); its fields are {there}") from error
    if not named:
        raise InputInvalid(f"the template {template!r} has no field, so all texts would be one; its fields are {there}")
    for name, spec, kind in named:
        if name not in fields or spec or kind:
            shown = name + (f"!{kind}" if kind else "") + (f":{spec}" if spec else "")
            raise InputInvalid(f"the template {template!r} has an unknown field {{{shown}}}; its fields are {there}")
    return template.format(**fields)
