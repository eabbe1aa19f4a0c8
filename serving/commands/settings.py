"""`settings`: what can be set, and what is."""

from serving.commands.output import command, json_option, print_json, print_table, read_settings


@command("settings")
@json_option
def settings(as_json: bool) -> None:
    """Print every setting with its value, default and meaning."""
    rows = read_settings().rows()
    if as_json:
        print_json([dict(zip(("name", "value", "default", "meaning"), row, strict=True)) for row in rows])
    else:
        print_table([("NAME", "VALUE", "DEFAULT", "MEANING"), *rows])
