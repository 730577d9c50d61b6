"""The app as a whole: its pages in their order, and how it is served."""

import os
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from app.browse import add_browse_page
from app.chat import add_chat_page
from app.export import add_export_page
from app.overview import add_overview_page
from app.pages import Project
from app.pictures import picture_route
from app.results import add_results_page
from app.review import add_review_page
from app.runs import add_runs_page
from insightv_core.errors import UserError
from insightv_core.store import open_store

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
    "export": "Export",
}
STYLES = ("style.css", "work.css", "review.css")
SCRIPTS = ("script.js", "work.js", "review.js")


def build_app(project: Project) -> "Blocks":
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
        add_export_page(project)
    return app


def add_header(project: Project) -> None:
    """Lay out the name, the way to each page, and which project is open."""
    import gradio

    links = "".join(f'<a href="?tab={page}" data-page="{page}">{name}</a>' for page, name in PAGES.items())
    gradio.HTML(
        '<header class="top"><a class="skip" href="#">Skip to the page</a><span class="name">Insight-V Workbench'
        f'</span><nav aria-label="Pages">{links}</nav><span class="file soft">{escape(project.file.name)}</span>'
        "</header>",
        elem_id="top",
        apply_default_css=False,
        js_on_load="insightv.start()",
    )


def serve(
    project: Project, *, port: int | None = None, browser: bool = False, wait: bool = True
) -> tuple["Blocks", str]:
    """Serve the app to this machine alone and return it with its address; with `wait`, until it is interrupted.

    A project file that does not exist is started. Raises `UserError` where the port is taken.
    """
    open_store(project.file, create=True).close()
    app = build_app(project)
    try:
        _, address, _ = app.launch(
            server_name=HOST,
            server_port=port or free_port(),
            inbrowser=browser,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            # Pictures leave by their own route, so nothing beside the project file is ever served as a file.
            blocked_paths=[str(project.file.parent.resolve())],
            app_kwargs={"routes": [picture_route(project.file)]},
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


def free_port() -> int | None:
    """Return the usual port, or None to let Gradio look for one beside it."""
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, PORT))
        except OSError:
            return None
    return PORT


def page_head() -> str:
    """Return style and script for the head of the page: from here, as nothing is loaded from elsewhere."""
    style, script = ("\n".join((HERE / name).read_text() for name in names) for names in (STYLES, SCRIPTS))
    return f'<meta name="color-scheme" content="light dark"><style>{style}</style><script>{script}</script>'


def plain_theme():
    """Return a theme without fonts from elsewhere; colours and sizes are those of style.css."""
    import gradio

    fonts = ["system-ui", "sans-serif"]
    return gradio.themes.Base(font=fonts, font_mono=["ui-monospace", "monospace"])
