"""`compodiff serve`: the API and the page, on this machine unless told otherwise."""

from pathlib import Path
from typing import Annotated

import typer

from compodiff.cli.options import Model, Rerank, RerankTop, open_reranking
from compodiff.cli.output import echo, show_work
from compodiff.errors import InputInvalid
from compodiff.index import MANIFEST

Port = Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")]

app = typer.Typer()


def _require_networks(proxies: list[str] | None) -> list[str] | None:
    """Refuse a --proxy that is neither address nor network as a wrong use of the command."""
    if proxies:
        from compodiff.serving.doorway import require_network

        try:
            for proxy in proxies:
                require_network(proxy)
        except InputInvalid as error:
            raise typer.BadParameter(str(error)) from error
    return proxies


@app.command("serve")
def serve(
    folder: Annotated[
        Path | None, typer.Argument(help="Pictures of yours: indexed while they are searched already.")
    ] = None,
    *,
    index: Annotated[
        Path | None, typer.Option(help="A folder after `compodiff index build`, as it is. Default: the model's own.")
    ] = None,
    model: Model = None,
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback want a token.")] = "127.0.0.1",
    port: Port = 8000,
    token: Annotated[
        str, typer.Option(envvar="COMPODIFF_TOKEN", help="Asked of every request.", show_default=False)
    ] = "",
    rerank: Rerank = None,
    rerank_top: RerankTop = 10,
    refresh: Annotated[float, typer.Option(min=0.1, help="Seconds between looks for a newer model or index.")] = 2.0,
    shadow: Annotated[
        str, typer.Option(help="A model that is asked a share of the queries when idle; its answers are compared.")
    ] = "",
    canary: Annotated[
        str, typer.Option(help="A model that answers a share of the clients, until it fails or is slower.")
    ] = "",
    share: Annotated[float, typer.Option(min=0, max=1, help="Of queries, or of clients, for either.")] = 0.1,
    trial_log: Annotated[str, typer.Option(help="File of JSON lines on shadow and canary; - for stdout.")] = "",
    keep_queries: Annotated[
        Path | None, typer.Option(help="File for embeddings of queries, which `compodiff drift` looks at.")
    ] = None,
    rate: Annotated[str, typer.Option(help="How often one client may ask, such as 120/minute.")] = "",
    access_log: Annotated[str, typer.Option(help="File of JSON lines, one a request; - for stdout.")] = "",
    proxy: Annotated[
        list[str] | None,
        typer.Option(help="Proxy, or network of them, whose X-Forwarded-For is believed.", callback=_require_networks),
    ] = None,
) -> None:
    """Serve search over one index, or over FOLDER: an API and a page for people."""
    from compodiff.serving.doorway import Doorway
    from compodiff.serving.running import ServePlan, run_server
    from compodiff.serving.trials import Trial
    from compodiff.storage.ownership import is_marked

    if folder is not None and index is not None:
        raise InputInvalid(f"FOLDER {folder} is indexed, --index {index} is served as it is; give one of them")
    if folder is not None and not folder.is_dir():
        raise InputInvalid(f"{folder} is no folder; name one with pictures")
    if folder is not None and is_marked(folder) and (folder / MANIFEST).is_file():
        raise InputInvalid(f"{folder} is an index, which is served as it is: --index {folder}")
    if trial_log and not (shadow or canary):
        raise InputInvalid(f"--trial-log {trial_log} is of --shadow or --canary; give one of them")
    if trial_log not in ("", "-") and access_log and Path(trial_log).absolute() == Path(access_log).absolute():
        raise InputInvalid(f"--trial-log and --access-log are both {trial_log}; name two files")
    pictures = None if folder is None else folder.resolve()
    with show_work("waking up") as show:
        plan = ServePlan(
            model,
            None if index is None else index.absolute(),
            None if pictures is None else lambda tell: pictures,
            host,
            port,
            token,
            refresh,
            reranking=None if rerank is None else lambda: open_reranking(rerank, rerank_top),
            trial=Trial(shadow, canary, share, trial_log, keep_queries),
            doorway=Doorway(rate, access_log, proxy or ()),
            say=echo,
            show=show,
        )
        run_server(plan)
