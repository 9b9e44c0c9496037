"""What WeCom's errcodes mean for a service that reads (page 90313): who acts next, and under which code; pure.

Decide by errcode, never by errmsg, which WeCom may change. The words are in `texts`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from app.core.texts import Text
from app.errors import AskAdmin, ServiceError, SkipOne, TryLater, Upstream
from app.sources.wecom.texts import TEXTS

__all__ = ["TABLE", "TEXTS", "Rule", "Text", "said", "to_error"]

LONGEST_ERRMSG: Final = 500
MINUTE: Final = 60.0
"""How long a limit per minute bars an API (page 90312); a longer bar shows itself when the minute is over."""

OK: Final = 0
TOKEN_OF_NO_USE: Final = frozenset({40014, 42001})
WRONG_SECRET: Final = 40001
"""Of a business call it may be a token reset by somebody else; of gettoken it is the secret."""

BREAKS: Final = frozenset({40001, 40013, 40091, 41002, 41004, 41024, 45031})
"""Refusals of gettoken that only another configuration can end: thousands an hour bar the whole IP (page 90313)."""

LIMITED: Final = frozenset({45009, 45036})
NO_SUCH_DEPARTMENT: Final = frozenset({60003, 60123})
NO_PRIVILEGE: Final = 60011
NO_SUCH_USER: Final = frozenset({60111, 60011, 60021})
"""Gone or out of sight: none of these proves which (page 90313)."""

NO_SUCH_TAG: Final = frozenset({40068})
BAD_CURSOR: Final = frozenset({50100, 60268})
TOO_LARGE: Final = 45029
IDS_ONLY: Final = 48009


@dataclass(frozen=True, slots=True)
class Rule:
    """The meaning of one errcode; `retry` says that the same call may be sent again within seconds."""

    code: str
    who: type[ServiceError]
    retry: bool = False


def _all(errcodes: str, code: str, who: type[ServiceError], *, retry: bool = False) -> dict[int, Rule]:
    return dict.fromkeys(map(int, errcodes.split()), Rule(code, who, retry))


UNKNOWN: Final = Rule("wecom.unknown_errcode", AskAdmin)

TABLE: Final[Mapping[int, Rule]] = (
    _all("-1", "wecom.busy", TryLater, retry=True)
    | _all("6000 45035", "wecom.conflict", TryLater, retry=True)
    | _all("45033", "wecom.too_many_at_once", TryLater, retry=True)
    | _all("45009", "wecom.frequency_limit", TryLater)
    | _all("45036", "wecom.data_access_limited", TryLater)
    | _all("40014 42001", "wecom.token_rejected", TryLater)
    | _all("50100 60268", "wecom.cursor_invalid", TryLater)
    | _all("40001", "wecom.wrong_secret", AskAdmin)
    | _all("40091", "wecom.secret_of_other_corp", AskAdmin)
    | _all("40013", "wecom.wrong_corp_id", AskAdmin)
    | _all("41002", "wecom.corp_id_missing", AskAdmin)
    | _all("41004 41024", "wecom.secret_missing", AskAdmin)
    | _all("45031", "wecom.weak_secret", AskAdmin)
    | _all("40056", "wecom.wrong_agent_id", AskAdmin)
    | _all("301002", "wecom.not_this_agent", AskAdmin)
    | _all("60020", "wecom.ip_not_trusted", AskAdmin)
    | _all("301042", "wecom.ip_not_listed", AskAdmin)
    | _all("85006 85007", "wecom.bad_ip_list", AskAdmin)
    | _all("48009", "wecom.contacts_secret_ids_only", AskAdmin)
    | _all("48001", "wecom.api_not_authorised", AskAdmin)
    | _all("48002", "wecom.api_forbidden", AskAdmin)
    | _all("48004", "wecom.authorisation_cancelled", AskAdmin)
    | _all("48006", "wecom.app_idle", AskAdmin)
    | _all("48008", "wecom.partial_grant", AskAdmin)
    | _all("48010", "wecom.tls_too_old", AskAdmin)
    | _all("48011", "wecom.members_inactive", AskAdmin)
    | _all("50003 50006", "wecom.app_disabled", AskAdmin)
    | _all("60031", "wecom.app_barred", AskAdmin)
    | _all("50002 60011 60030 81013", "wecom.out_of_range", AskAdmin)
    | _all("81011", "wecom.tag_forbidden", AskAdmin)
    | _all("92001", "wecom.sensitive_fields_forbidden", AskAdmin)
    | _all("50001", "wecom.domain_not_trusted", AskAdmin)
    | _all("43012", "wecom.callback_url_needed", AskAdmin)
    | _all("40057 85011", "wecom.callback_url_refused", AskAdmin)
    | _all("43009", "wecom.corp_not_verified", AskAdmin)
    | _all("301007", "wecom.corp_closed", AskAdmin)
    | _all("45024", "wecom.headcount_limit", AskAdmin)
    | _all("45026", "wecom.delete_protection", AskAdmin)
    | _all("302003 302004 302005 302006 302007 302008", "wecom.import_job", AskAdmin)
    | _all("45029", "wecom.answer_too_large", AskAdmin)
    | _all("60111 40003 46004 60136 301021", "wecom.user_not_found", SkipOne)
    | _all("60021 92000", "wecom.user_out_of_range", SkipOne)
    | _all("60003 60123 60004 40066", "wecom.department_not_found", SkipOne)
    | _all("40068", "wecom.tag_not_found", SkipOne)
    | _all("40088 40089 43004 60146 60147 60148", "wecom.not_found", SkipOne)
)

E = TypeVar("E", bound=ServiceError)

_CALLER = re.compile(r"from ip:\s*([0-9A-Fa-f.:]{2,45})")


def said(code: str, who: type[E], *, upstream: Upstream | None = None, **params: str | int) -> E:
    """An error of this class with the English words of its code."""
    text = TEXTS[code]["en"].filled(params)
    return who(code, text.title, text.hint, params, upstream)


def to_error(errcode: int, errmsg: str, api: str) -> ServiceError:
    """What a refused call of `api` means; an unknown errcode is the administrator's, since repeating it eats quota.

    60020 carries the address that WeCom saw as `params["ip"]`.
    """
    rule = TABLE.get(errcode, UNKNOWN)
    params: dict[str, str | int] = {"errcode": errcode, "api": api}
    if rule.code == "wecom.ip_not_trusted":
        caller = _CALLER.search(errmsg)
        params["ip"] = caller.group(1) if caller else "?"
    words = "".join(character for character in errmsg if character.isprintable())[:LONGEST_ERRMSG]
    error = said(rule.code, rule.who, upstream=Upstream(errcode, words), **params)
    if isinstance(error, TryLater) and errcode in LIMITED:
        error.after = MINUTE
    return error
