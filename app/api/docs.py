"""The reading room: `/docs` (Swagger UI, all of it from this host), `/docs/errors`, `/openapi.json`.

Every script and style is a file of ours, so that the pages work with no internet and under a strict policy.
"""

import html
from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse

from app.api.language import Language, negotiate
from app.api.texts import TEXTS, said
from app.sources.kinds import KINDS

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_OURS: Final = Path(__file__).parent / "static"
_SWAGGER: Final = Path(str(files("fastapi_offline"))) / "static"
_ASSETS: Final = {
    "docs.js": _OURS / "docs.js",
    "docs.css": _OURS / "docs.css",
    "swagger-ui-bundle.js": _SWAGGER / "swagger-ui-bundle.js",
    "swagger-ui.css": _SWAGGER / "swagger-ui.css",
    "favicon.png": _SWAGGER / "favicon.png",
}

# Addresses are relative, so that the page works behind a proxy that adds a prefix.
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>WeCom Sync API</title>
<link rel="icon" href="docs/assets/favicon.png">
<link rel="stylesheet" href="docs/assets/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript. The same document as JSON: <a href="openapi.json">openapi.json</a></noscript>
<script src="docs/assets/swagger-ui-bundle.js"></script>
<script src="docs/assets/docs.js"></script>
</body>
</html>
"""

_HEADINGS: Final[dict[Language, tuple[str, str, str, str]]] = {
    "en": ("Error codes", "Code", "What happened", "What to do"),
    "zh-CN": ("错误代码", "代码", "发生了什么", "怎么办"),
    "fr": ("Codes d'erreur", "Code", "Ce qui s'est passé", "Que faire"),
}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def get_root(request: Request) -> Response:
    return RedirectResponse(f"{request.scope.get('root_path', '')}/docs", 307)


@router.get("/docs")
async def get_docs() -> Response:
    return _page(_PAGE)


@router.get("/openapi.json")
async def get_openapi_document(request: Request) -> Response:
    return JSONResponse(request.app.openapi())


@router.get("/docs/errors")
async def get_error_codes(request: Request) -> Response:
    language = negotiate(request.headers.get("accept-language"))
    response = _page(_error_codes(language))
    response.headers["Vary"] = "Accept-Language"
    return response


@router.get("/docs/assets/{name}")
async def get_docs_asset(name: str) -> Response:
    if name not in _ASSETS:
        raise HTTPException(404)
    return FileResponse(_ASSETS[name], headers={"Cache-Control": "public, max-age=86400"})


def _page(content: str) -> Response:
    return HTMLResponse(content, headers={"Content-Security-Policy": POLICY})


def _error_codes(language: Language) -> str:
    title, *headings = _HEADINGS[language]
    codes = sorted({*TEXTS, *(code for kind in KINDS.values() for code in kind.texts)})
    head = "".join(f"<th>{html.escape(text)}</th>" for text in headings)
    return (
        f'<!doctype html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{html.escape(title)}</title>\n"
        '<link rel="icon" href="assets/favicon.png">\n<link rel="stylesheet" href="assets/docs.css">\n</head>\n'
        f"<body>\n<h1>{html.escape(title)}</h1>\n<table>\n<tr>{head}</tr>\n"
        f"{''.join(_row(code, language) for code in codes)}</table>\n</body>\n</html>\n"
    )


def _row(code: str, language: Language) -> str:
    texts = said(code, language, {}, "", "")
    cells = "".join(f"<td>{html.escape(text)}</td>" for text in (texts.detail, texts.hint))
    return f'<tr id="{html.escape(code)}"><td><code>{html.escape(code)}</code></td>{cells}</tr>\n'
