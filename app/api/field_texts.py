"""What is wrong with one field of a request, in three languages, by the type of pydantic's error.

Only limits that we set ourselves are filled in; what was sent is never repeated.
"""

from collections.abc import Mapping
from typing import Final

from app.api.language import Language

Messages = Mapping[Language, str]


def _messages(en: str, zh: str, fr: str) -> Messages:
    return {"en": en, "zh-CN": zh, "fr": fr}


_INTEGER = _messages("must be a whole number", "必须是整数", "doit être un nombre entier")
_NUMBER = _messages("must be a number", "必须是数字", "doit être un nombre")
_TEXT = _messages("must be text", "必须是文本", "doit être un texte")
_TRUTH = _messages("must be true or false", "必须是 true 或 false", "doit être true ou false")
_OBJECT = _messages("must be an object", "必须是对象", "doit être un objet")
_LIST = _messages("must be a list", "必须是列表", "doit être une liste")
_LONG_LIST = _messages(
    "must not hold more than {max_length} items",
    "不得超过 {max_length} 项",
    "ne peut compter plus de {max_length} éléments",
)

OTHERWISE: Final = _messages("is not valid", "无效", "n'est pas valable")

FIELD_TEXTS: Final[Mapping[str, Messages]] = {
    "missing": _messages("is required", "必填", "est obligatoire"),
    "extra_forbidden": _messages("is not known here", "此处不认识该字段", "est inconnu ici"),
    "json_invalid": _messages("is not valid JSON", "不是有效的 JSON", "n'est pas du JSON valable"),
    "string_type": _TEXT,
    "int_type": _INTEGER,
    "int_parsing": _INTEGER,
    "int_from_float": _INTEGER,
    "int_parsing_size": _INTEGER,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "bool_type": _TRUTH,
    "bool_parsing": _TRUTH,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "dict_type": _OBJECT,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "too_long": _LONG_LIST,
    "string_too_short": _messages(
        "must have at least {min_length} characters",
        "至少需要 {min_length} 个字符",
        "doit compter au moins {min_length} caractères",
    ),
    "string_too_long": _messages(
        "must not have more than {max_length} characters",
        "不得超过 {max_length} 个字符",
        "ne peut dépasser {max_length} caractères",
    ),
    "string_pattern_mismatch": _messages(
        "does not have the expected form", "格式不符合要求", "n'a pas la forme attendue"
    ),
    "greater_than_equal": _messages("must not be less than {ge}", "不得小于 {ge}", "ne peut être inférieur à {ge}"),
    "greater_than": _messages("must be more than {gt}", "必须大于 {gt}", "doit être supérieur à {gt}"),
    "less_than_equal": _messages("must not be more than {le}", "不得大于 {le}", "ne peut dépasser {le}"),
    "less_than": _messages("must be less than {lt}", "必须小于 {lt}", "doit être inférieur à {lt}"),
    "literal_error": _messages("must be one of {expected}", "必须是 {expected} 之一", "doit être {expected}"),
    "enum": _messages("must be one of {expected}", "必须是 {expected} 之一", "doit être {expected}"),
    "unstorable": _messages(
        "must not hold NUL or half a surrogate pair",
        "不得包含 NUL 或不成对的代理字符",
        "ne peut contenir ni NUL ni moitié de paire de substitution",
    ),
    "not_null": _messages("cannot be removed", "不能移除", "ne peut être retiré"),
    "unknown_kind": _messages("there is no such kind", "没有这种类型", "ce type n'existe pas"),
    "kind_fixed": _messages(
        "the kind of a source cannot change", "来源的类型不能更改", "le type d'une source ne peut changer"
    ),
    "secret_again": _messages(
        "must be sent again, because the address that it goes to changes",
        "由于它将被发送到新的地址，必须重新填写",
        "doit être renvoyé, car l'adresse à laquelle il part change",
    ),
    "cron": _messages(
        "must be a cron expression of five fields that comes due",
        "必须是会到期的五段 cron 表达式",
        "doit être une expression cron à cinq champs qui arrive à échéance",
    ),
    "timezone": _messages(
        "must be a time zone such as Asia/Shanghai",
        "必须是时区名称，例如 Asia/Shanghai",
        "doit être un fuseau horaire comme Asia/Shanghai",
    ),
    "distinguished_name": _messages(
        "must be a distinguished name such as dc=example,dc=com",
        "必须是可分辨名称，例如 dc=example,dc=com",
        "doit être un nom distinctif comme dc=example,dc=com",
    ),
    "needs_source": _messages(
        "needs source_id, because WeCom's ids are those of one source",
        "需要 source_id，因为企业微信的编号只在一个来源内有效",
        "exige source_id, car les identifiants de WeCom sont ceux d'une source",
    ),
    "purge_confirm": _messages("must be the name of the source", "必须是来源的名称", "doit être le nom de la source"),
}


def field_message(kind: str, context: Mapping[str, object], language: Language) -> str:
    """The sentence for one error; the general one where the type is not in the table."""
    values = {name: value for name, value in context.items() if isinstance(value, str | int | float)}
    try:
        return FIELD_TEXTS.get(kind, OTHERWISE)[language].format(**values)
    except KeyError:
        return OTHERWISE[language]
