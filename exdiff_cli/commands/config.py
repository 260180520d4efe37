"""Options from `exdiff.toml` and the environment, for every command; and `exdiff config show`."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand

from exdiff_cli.commands.options import say
from exdiff_cli.config import (
    FILE_VARIABLE,
    MAIN,
    Command,
    find_config,
    read_config,
    suggestion,
    unknown_variables,
    variable,
)
from exdiff_cli.errors import UsageError
from exdiff_cli.stdout import print_table, print_text
from exdiff_cli.text import printable

SOURCES = {"DEFAULT": "default", "DEFAULT_MAP": "file", "ENVIRONMENT": "environment", "COMMANDLINE": "flag"}
"""Where a value may come from, in rising order: typer's names and ours."""

UNSEEN = ("file", "environment")
"""Sources that a refused call does not show, so that the refusal has to name them."""

ALTERNATIVES = (("preset", "steps"),)
"""Options that say the same thing: one from a stronger source replaces the other from a weaker one."""

NAMES_OR_PATHS = frozenset({"bundle", "query", "against"})
"""Options whose text is a path only where it has a slash."""

LISTS_OF_PATHS = frozenset({"files-from"})
"""Options whose text is a path unless it is ``-``."""


class Configured(TyperCommand):
    """A command whose options may stand in a file and in the environment too; flags are stronger than both.

    All that is known of an option comes from its declaration, so that none is named twice, and typer checks every
    value as it checks a flag's.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.options: dict[str, Any] = {
            _key(param): param for param in self.params if param.param_type_name == "option"
        }
        self.params = [*self.params, _config_option()]
        self.file: Path | None = None
        self.file_is_named = False

    # The contexts are Any, as typer has no public name for the type that it declares here.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        if "help" not in given:
            self._configure(ctx, given)
        try:
            rest = super().parse_args(ctx, args)
        except typer.BadParameter as error:
            key = next((key for key, param in self.options.items() if param is error.param), "")
            if self._source(ctx, key) not in UNSEEN:
                raise
            raise UsageError(f"{self._origin(ctx, key)}: {key}: {error.message}") from error
        self._settle_alternatives(ctx)
        return rest

    def invoke(self, ctx: Any) -> Any:
        sources = {setting.source for setting in self.settings(ctx)}
        if "file" in sources and not self.file_is_named and not ctx.params.get("quiet"):
            say(f"exdiff: settings from {self.file}")
        try:
            return super().invoke(ctx)
        except UsageError as error:
            key = str(error).removeprefix("--").split(" ")[0].rstrip(":")
            if self._source(ctx, key) not in UNSEEN:
                raise
            raise UsageError(f"{error} (--{key} is from {self._origin(ctx, key)})") from error

    def settings(self, ctx: Any) -> list[Setting]:
        """Every option with its value, once the arguments are parsed."""
        return [
            Setting(key, ctx.params.get(param.name), self._source(ctx, key), self._origin(ctx, key))
            for key, param in self.options.items()
        ]

    def _configure(self, ctx: Any, given: Mapping[str, Any]) -> None:
        commands = configured(ctx.find_root().command)
        mine = next(name for name, command in commands.items() if command is self)
        for key, param in self.options.items():
            param.envvar = variable(mine, key)
            param.show_envvar = False
        known = {name: command.options.keys() for name, command in commands.items()}
        for line in unknown_variables(os.environ, known):
            say(f"exdiff: {line}")
        named = given.get("config") or os.environ.get(FILE_VARIABLE)
        self.file_is_named = bool(named)
        self.file = Path(named) if named else find_config(self._inputs(given))
        if self.file is None:
            return
        values = read_config(self.file, known).get(mine, {})
        hints = get_type_hints(inspect.unwrap(self.callback)) if self.callback else {}
        ctx.default_map = {
            self.options[key].name: _as_given(self.file, key, value, self.options[key], hints)
            for key, value in values.items()
        }

    def _inputs(self, given: Mapping[str, Any]) -> list[Path]:
        """The paths beside which a file is looked for: those of the first argument."""
        argument = next((param for param in self.params if param.param_type_name == "argument"), None)
        value = given.get(argument.name) if argument is not None else None
        paths = [value] if isinstance(value, str) else value or ()
        return [Path(path) for path in paths if path != "-"]

    def _source(self, ctx: Any, key: str) -> str:
        source = ctx.get_parameter_source(self.options[key].name) if key in self.options else None
        return SOURCES[source.name] if source is not None else "default"

    def _origin(self, ctx: Any, key: str) -> str:
        """The file, the variable or the flag that a value comes from; nothing for a default."""
        origins = {"file": str(self.file), "environment": self.options[key].envvar, "flag": f"--{key}"}
        return origins.get(self._source(ctx, key), "")

    def _settle_alternatives(self, ctx: Any) -> None:
        order = list(SOURCES.values())
        for keys in ALTERNATIVES:
            ranks = {key: order.index(self._source(ctx, key)) for key in keys}
            for key, rank in ranks.items():
                if 0 < rank < max(ranks.values()):
                    param = self.options[key]
                    ctx.params[param.name] = param.default
                    weaker = ctx.get_parameter_source(param.name)
                    ctx.set_parameter_source(param.name, type(weaker)["DEFAULT"])


@dataclass(frozen=True)
class Setting:
    """An option's value; ``source`` is one of :data:`SOURCES`, ``origin`` names the file, variable or flag."""

    option: str
    value: object
    source: str
    origin: str

    def as_json(self, command: Command) -> dict[str, object]:
        named = {"option": self.option, "value": self.value, "source": self.source, "origin": self.origin or None}
        return {"message_type": "setting", "command": " ".join(command), **named}


def configure(app: typer.Typer) -> None:
    """Let every command of an application, and of the groups in it, take its options from everywhere."""
    for command in app.registered_commands:
        command.cls = Configured
    for group in app.registered_groups:
        if group.typer_instance is not None:
            configure(group.typer_instance)


def configured(root: Any, above: Command = ()) -> dict[Command, Configured]:
    """Every configured command below a group, by its words."""
    found: dict[Command, Configured] = {}
    for name, command in root.commands.items():
        if isinstance(command, Configured):
            found[*above, name] = command
        elif hasattr(command, "commands"):
            found |= configured(command, (*above, name))
    return found


def _config_option() -> Any:
    """`--config` as typer makes it of a function, so that not every command has to declare it."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def command(
        config: Annotated[
            Path | None,
            typer.Option(
                help="File of settings, in place of exdiff.toml in or beside the input.", envvar=FILE_VARIABLE
            ),
        ] = None,
    ) -> None: ...

    (option,) = typer.main.get_command(app).params
    option.expose_value = False
    return option


def _key(param: Any) -> str:
    """An option's name as on the command line."""
    return max(param.opts, key=len).lstrip("-")


def _as_given(file: Path, key: str, value: object, param: Any, hints: Mapping[str, Any]) -> object:
    """A file's value as a flag would give it: text, or true or false, or a list of texts."""
    hint = hints.get(param.name)
    types = {hint, *get_args(hint)}
    if param.multiple:
        several = value if isinstance(value, list) else [value]
        return [_text(file, key, each, types) for each in several]
    if bool in types:
        if not isinstance(value, bool):
            raise UsageError(f"{file}: {key}: {value!r} is neither true nor false")
        return value
    return _text(file, key, value, types)


def _text(file: Path, key: str, value: object, types: set[Any]) -> str:
    if isinstance(value, bool | list | dict):
        raise UsageError(f"{file}: {key}: {json.dumps(value, default=str)} is not one text or number")
    text = str(value)
    is_path = Path in types or (key in LISTS_OF_PATHS and text != "-") or (key in NAMES_OR_PATHS and "/" in text)
    return str(file.parent / os.path.expanduser(text)) if is_path else text


config = typer.Typer(no_args_is_help=True, help="The settings that a call would have.")


@config.command("show", context_settings={"ignore_unknown_options": True})
def show(
    ctx: typer.Context,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[PATHS]", help="Paths and options, as the command would get them.")
    ] = None,
    command: Annotated[str, typer.Option(help="Whose, as 'train extract'.")] = " ".join(MAIN),
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
) -> None:
    """Say what every option of a command is set to, and whether a file, the environment or a flag set it."""
    root = ctx.find_root()
    commands = configured(root.command)
    words = tuple(command.split())
    if words not in commands:
        names = [" ".join(name) for name in commands]
        raise UsageError(f"--command {command}: {suggestion(command, names) or 'there is ' + ', '.join(names)}")
    target = commands[words]
    for param in target.params:
        param.required = False
    settings = target.settings(target.make_context(words[-1], list(arguments or ()), parent=root))
    if as_json:
        file = {"message_type": "config", "command": command, "file": target.file}
        for line in (file, *(setting.as_json(words) for setting in settings)):
            print_text(json.dumps(line, default=str))
    else:
        print_table(settings_table(settings, target.file))


def settings_table(settings: list[Setting], file: Path | None) -> Table:
    """For people; what is no default stands out."""
    title = f"from {file}" if file else "no exdiff.toml"
    table = Table("option", "value", "from", title=Text(printable(title)), title_justify="left")
    for setting in settings:
        value = "" if setting.value is None else json.dumps(setting.value, default=str)
        shown = (setting.option, value.strip('"'), setting.origin or setting.source)
        style = "" if setting.source == "default" else "bold"
        table.add_row(*(Text(printable(text)) for text in shown), style=style)
    return table
