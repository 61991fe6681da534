# SPDX-License-Identifier: Apache-2.0
"""What users write becomes what tasks work with: texts as they were written, and paths as places.

Where a DAG has ``render_template_as_native_obj=True``, Airflow reads the result of a template as Python would: the
package ``0x84e5`` would be 34021, and the prefix ``2026_11_23`` would be 20261123. A value that is missing becomes the
text ``None``. Either could put customers into another package, or import them twice.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import ObjectStoragePath
from jinja2 import Undefined

from airflow_provider_wxbank._compat import render_template_to_string
from airflow_provider_wxbank.places import check_no_secret, place
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context
    from jinja2 import Environment

    from airflow_provider_wxbank.agreements.storage import Location

    _Operator = BaseOperator
else:
    _Operator = object

_NOTHING = frozenset({"none", "nan", "null"})
"""What programs write for a missing value, in lower case."""

_NOTHING_INSIDE = re.compile(r"(?<![A-Za-z0-9])(?:None|nan|NaN)(?![A-Za-z0-9])")
"""What Python writes for a missing value, as a word in a name."""

_NOTHING_IN_PATH = re.compile(r"(?<![A-Za-z0-9])None(?![A-Za-z0-9])|(?<=[/=])(?:nan|NaN)(?=$|/)")
"""The same in a path. Others have chosen the names of its parts, so it looks for less: he-nan is a province."""

WHY_NONE = "a task that was skipped or returned nothing, or a parameter that is not set, becomes None"


class TextParameters(_Operator):
    """An operator whose text parameters keep the text that was written, however its DAG renders templates.

    :cvar texts: templated parameters that are one text each.
    :cvar paths: those among them that are paths or URLs; these may also be objects.
    :cvar or_numbers: those among them that may also be numbers, or several numbers, where they are used.
    :cvar of_texts: templated parameters that are lists or mappings of texts. A template may give a whole one.
    """

    texts: ClassVar[Collection[str]] = ()
    paths: ClassVar[Collection[str]] = ()
    or_numbers: ClassVar[Collection[str]] = ()
    of_texts: ClassVar[Collection[str]] = ()

    def _do_render_template_fields(
        self, parent: Any, template_fields: Iterable[str], context: Context, jinja_env: Environment, seen_oids: set[int]
    ) -> None:
        """Render as Airflow does, but texts always as texts. Airflow calls this for mapped tasks, too.

        :param seen_oids: the values that other tasks gave, which are data and not templates.
        :raises InvalidInput: a text is made from None, from a number with a fraction, or from a list.
        """
        # Fields of another parent, such as the objects that an argument holds, are left to Airflow.
        for name in template_fields:
            written = getattr(parent, name)
            is_text = name in self.texts and isinstance(written, str)
            if parent is self and (
                is_text or (name in self.of_texts and isinstance(written, (list, tuple, set, frozenset, dict)))
            ):
                setattr(self, name, self._rendered(name, written, context, jinja_env, seen_oids))
                continue
            super()._do_render_template_fields(parent, [name], context, jinja_env, seen_oids)
            if parent is self and written is not None and getattr(self, name) is None:
                raise InvalidInput(f"{name} became None: {WHY_NONE}")

    def check_texts(self) -> None:
        """Check all texts that were given; paths become texts.

        :raises InvalidInput: one is not a text, is empty, or is what programs write for a missing value.
        """
        for name in sorted(self.texts):
            value = getattr(self, name)
            if value is not None and (isinstance(value, str) or name not in self.or_numbers):
                setattr(self, name, (path_text if name in self.paths else text)(value, name))

    def _rendered(self, name: str, written: Any, context: Context, jinja_env: Environment, seen_oids: set[int]) -> Any:
        if id(written) in seen_oids:
            return written
        if isinstance(written, str):
            return self._of_template(name, written, context, jinja_env)
        if isinstance(written, dict):
            return {
                key: self._rendered(f"{name}[{key!r}]", value, context, jinja_env, seen_oids)
                for key, value in written.items()
            }
        if isinstance(written, (list, tuple, set, frozenset)):
            values = [
                self._rendered(f"{name}[{index}]", value, context, jinja_env, seen_oids)
                for index, value in enumerate(written)
            ]
            # The type is kept: for drivers a tuple, for IN, is something else than a list.
            return type(written)(*values) if hasattr(written, "_fields") else type(written)(values)
        value = self.render_template(written, context, jinja_env, seen_oids)
        if written is not None and value is None:
            raise InvalidInput(f"{name} became None: {WHY_NONE}")
        return value

    def _of_template(self, name: str, written: str, context: Context, jinja_env: Environment) -> Any:
        """The text that a template gives. In a native DAG a parameter of a query may also be something else."""
        dag = self.get_dag()
        env = jinja_env if dag is None else dag.get_template_env(force_sandboxed=True)
        is_parameter = name.startswith("parameters[")
        given: list[object] = []

        def checked(value: object) -> object:
            given.append(value)
            if is_parameter or name == "sql":
                return _not_none(name, value)
            # If the text is one expression and nothing else, it may be empty: another check says so better.
            return _printable(name, value, is_whole=_ONE_EXPRESSION.fullmatch(written) is not None)

        env = env.overlay(finalize=checked)
        is_file = written.endswith(tuple(self.template_ext))
        template = env.get_template(written) if is_file else env.from_string(written)
        rendered = render_template_to_string(template, context)
        is_native = dag is not None and dag.render_template_as_native_obj
        if is_native and is_parameter and len(given) == 1 and _ONE_EXPRESSION.fullmatch(written):
            return given[0]
        return rendered


_ONE_EXPRESSION = re.compile(r"\s*\{\{(?:(?!\{\{|\}\}).)*\}\}\s*", re.DOTALL)


def _not_none(name: str, value: object) -> object:
    if value is None:
        raise InvalidInput(f"{name} has a template that gives None: {WHY_NONE}")
    return value


def _printable(name: str, value: object, *, is_whole: bool) -> object:
    """A value that a template puts into a text.

    :param is_whole: whether it is all of the text.
    :raises InvalidInput: the text of the value would not be what was meant.
    """
    if not is_whole and (isinstance(value, Undefined) or value == ""):
        what = "something that is not defined" if isinstance(value, Undefined) else "an empty text"
        raise InvalidInput(
            f"{name} has a template that gives {what}, and without that part it would name something else: a path "
            "without its last part is a folder with all lists. Let it give a text; for a part that may be missing, "
            "write {% if ... %}...{% endif %} around it"
        )
    if isinstance(value, float):
        raise InvalidInput(
            f"{name} has a template that gives a number with a fraction, of which Python keeps no last zero: "
            "write it as a text, in quotes"
        )
    if isinstance(value, (Mapping, AbstractSet)) or (isinstance(value, Sequence) and not isinstance(value, str)):
        raise InvalidInput(
            f"{name} has a template that gives a {type(value).__name__}, and takes one text: for the results of a "
            "mapped task use .partial(...).expand(...), which makes a task for each"
        )
    return _not_none(name, value)


def text(value: object, name: str) -> str:
    """A parameter that is an id or a name.

    :raises InvalidInput: it is not a text, is empty, or is what programs write for a missing value.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"{name} {_what_it_is(value)}: it must be a text, in quotes")
    if not value.strip():
        raise InvalidInput(f"{name} is empty")
    if value.strip().lower() in _NOTHING:
        raise InvalidInput(f"{name} is the text {value.strip()!r}, which a template makes of nothing: {WHY_NONE}")
    return value


def check_nothing_inside(value: str, name: str) -> None:
    """:raises InvalidInput: a part of a path, or a word of a name, is what is written for a missing value."""
    if word := (_NOTHING_IN_PATH if "/" in value else _NOTHING_INSIDE).search(value):
        raise InvalidInput(f"{name} {value!r} has {word[0]!r} in it, which a template makes of nothing: {WHY_NONE}")


def path_text(value: object, name: str) -> str:
    """A parameter that is a path or a URL, as a text or as an object.

    :raises InvalidInput: as for :func:`text`.
    """
    return text(str(value) if isinstance(value, (PathLike, ObjectStoragePath)) else value, name)


def list_of_texts(values: object, name: str) -> list[str]:
    """A parameter that is a list of ids or names.

    :raises InvalidInput: it is one text, as a rendered template of a list is, or something in it is not a text.
    """
    if isinstance(values, Mapping):
        raise InvalidInput(f"{name} is a mapping, not a list: the result of an UploadTaskOperator goes into upload")
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidInput(
            f"{name} {_what_it_is(values)}, not a list. If it is a template, let the DAG have "
            "render_template_as_native_obj=True, or give the output of a task"
        )
    return [text(value, f"{name}[{index}]") for index, value in enumerate(values)]


def location(uri: str | PathLike[str] | ObjectStoragePath, name: str) -> Location:
    """A local path, or a URL of object storage as Airflow writes it: ``s3://conn_id@bucket/key``.

    :raises InvalidInput: it is empty, relative to a folder that nobody can know, or has None for a part, or as for
        :func:`~airflow_provider_wxbank.places.place`.
    :raises TryLater: the place was not reached.
    """
    written = path_text(uri, name).strip()
    check_no_secret(written, name)
    check_nothing_inside(written, name)
    return place(written, name)


def check_single(value: object, name: str, instead: str) -> None:
    """:raises InvalidInput: it is a list, as the output of a mapped task is.

    :param instead: what to write to handle a list.
    """
    if isinstance(value, Sequence) and not isinstance(value, str):
        raise InvalidInput(f"{name} is a list, and a task takes one: {instead} makes a task for each")


def _what_it_is(value: object) -> str:
    if value is None:
        return f"is None ({WHY_NONE})"
    return "is a text" if isinstance(value, str) else f"is of type {type(value).__name__}"
