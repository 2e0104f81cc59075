"""`compodiff demo`: the page over a demonstration gallery, with the model that the installation carries."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compodiff.cli.output import echo
from compodiff.cli.serve import Port

if TYPE_CHECKING:
    from compodiff.serving.waking import Tell

app = typer.Typer()


@app.command("demo")
def demo(
    *,
    port: Port = 8000,
    opens: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object when it answers; nothing else.")] = False,
) -> None:
    """Try it out: draw some hundred emoji, index them, and serve the page over them; needs no project."""
    started = time.perf_counter()
    from compodiff.search.locate import INSTALLED, choose_model
    from compodiff.serving.running import ServePlan, run_server

    def tell_ready(address: str, count: int) -> None:
        seconds = round(time.perf_counter() - started, 1)
        if as_json:
            typer.echo(json.dumps({"address": address, "pictures": count, "seconds": seconds}))
        else:
            echo(f"open {address} in a browser; it took {seconds:g} s; the rest is indexed meanwhile")
        if opens:
            import webbrowser

            webbrowser.open(address)

    def draw(tell: "Tell") -> Path:
        from compodiff.serving.demonstration import draw_demonstration  # when the port is bound: it imports much

        return draw_demonstration(tell, is_quiet=as_json)

    model = choose_model(INSTALLED).name
    say = (lambda line: None) if as_json else echo
    run_server(ServePlan(model, pictures=draw, port=port, say=say, is_quiet=as_json, on_ready=tell_ready))
