"""The app as a whole: its pages in their order, and how it is served."""

import os
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.middleware import Middleware

from app.access import VIEWER, Account, handler
from app.browse import add_browse_page
from app.chat import add_chat_page
from app.export import add_export_page
from app.imports import add_import_page, upload_route
from app.login import Door, gate
from app.overview import add_overview_page
from app.pages import Project
from app.pictures import picture_route
from app.results import add_results_page
from app.review import add_review_page
from app.runs import add_runs_page
from app.uploads import Uploads
from insightv_core.errors import UserError
from insightv_core.store import open_store
from insightv_core.store.accounts import has_accounts

if TYPE_CHECKING:
    from gradio import Blocks

HERE = Path(__file__).parent
HOST = "127.0.0.1"
PORT = 7860
PAGES = {
    "overview": "Overview",
    "browse": "Browse",
    "review": "Review",
    "chat": "Chat",
    "runs": "Runs",
    "results": "Results",
    "import": "Import",
    "export": "Export",
}
STYLES = ("style.css", "work.css", "review.css", "access.css", "replay.css")
SCRIPTS = ("script.js", "work.js", "import.js", "review.js", "replay.js")


def build_app(project: Project, uploads: Uploads) -> "Blocks":
    """Return the app over a project file."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
    import gradio

    with gradio.Blocks(title="Insight-V Workbench", analytics_enabled=False) as app:
        add_header(project)
        add_overview_page(project)
        add_browse_page(project)
        add_review_page(project)
        add_chat_page(project)
        add_runs_page(project)
        add_results_page(project)
        add_import_page(project, uploads)
        add_export_page(project)
    return app


def add_header(project: Project) -> None:
    """Lay out the name, the way to each page, and which project is open."""
    import gradio

    links = "".join(f'<a href="?tab={page}" data-page="{page}">{name}</a>' for page, name in PAGES.items())
    gradio.HTML(
        '<header class="top"><a class="skip" href="#">Skip to the page</a><span class="name">Insight-V Workbench'
        f'</span><nav aria-label="Pages">{links}</nav><span class="file soft">{escape(project.file.name)}</span>'
        '<form class="account" method="post" action="/logout" hidden><span></span><button>Log out</button></form>'
        "</header>",
        elem_id="top",
        apply_default_css=False,
        js_on_load="insightv.start(server)",
        server_functions=[handler(VIEWER, who)],
    )


def who(given: object, account: Account) -> dict[str, str]:
    """Return who is logged in; nobody by name where the project has no accounts."""
    return asdict(account)


def serve(
    project: Project,
    *,
    host: str = HOST,
    port: int | None = None,
    open_to_all: bool = False,
    browser: bool = False,
    wait: bool = True,
) -> tuple["Blocks", str]:
    """Serve the app and return it with its address; with `wait`, until it is interrupted.

    It is served to this machine alone unless `host` says else. A project file that does not exist is started. Raises
    `UserError` where the port is taken, or other machines would reach a project without accounts; `open_to_all` lets
    them.
    """
    may_be_open = is_loopback(host) or open_to_all
    with open_store(project.file, create=True) as store:
        if not may_be_open and not has_accounts(store):
            raise UserError(
                f"other machines could reach {host}, and {project.file} has no account: make one with insightv user "
                f"add NAME --role admin --project {project.file}, or give --open-to-all to let anybody in"
            )
    uploads = Uploads()
    app = build_app(project, uploads)
    try:
        _, address, _ = app.launch(
            server_name=host,
            server_port=port or free_port(host),
            inbrowser=browser,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            # Pictures leave by their own route, so nothing beside the project file is ever served as a file.
            blocked_paths=[str(project.file.parent.resolve())],
            app_kwargs=server_parts(project, uploads, may_be_open),
            max_file_size="1mb",
            head=page_head(),
            theme=plain_theme(),
        )
    except OSError as error:
        raise UserError(f"port {port or PORT} is taken: choose another with --port, or stop what uses it") from error
    if wait:
        print(f"{address} shows {project.file}; Ctrl-C ends it", flush=True)
        app.block_thread()
    return app, address


def server_parts(project: Project, uploads: Uploads, may_be_open: bool) -> dict[str, list]:
    """Return what is served beside Gradio's own: pictures and uploads, and the gate before everything."""
    door = Door(project.file, login_style(), may_be_open)
    routes = [picture_route(project.file), upload_route(uploads)]
    return {"routes": routes, "middleware": [Middleware(gate, door=door)]}


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("workbench.example")
    (True, True, False, False)
    """
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def free_port(host: str) -> int | None:
    """Return the usual port, or None to let Gradio look for one beside it."""
    import socket

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, PORT))
        except OSError:
            return None
    return PORT


def login_style() -> str:
    """Return the style of the page that asks for a login."""
    return (HERE / "style.css").read_text() + (HERE / "access.css").read_text()


def page_head() -> str:
    """Return style and script for the head of the page: from here, as nothing is loaded from elsewhere."""
    style, script = ("\n".join((HERE / name).read_text() for name in names) for names in (STYLES, SCRIPTS))
    return f'<meta name="color-scheme" content="light dark"><style>{style}</style><script>{script}</script>'


def plain_theme():
    """Return a theme without fonts from elsewhere; colours and sizes are those of style.css."""
    import gradio

    fonts = ["system-ui", "sans-serif"]
    return gradio.themes.Base(font=fonts, font_mono=["ui-monospace", "monospace"])
