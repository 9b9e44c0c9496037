"""The words for every code that a webhook target can end with, in three languages; pure."""

from typing import Final, TypeVar

from app.core.texts import say
from app.errors import ServiceError

TEXTS: Final = {
    "webhook.ok": say(("Everything is as it should be.", ""), ("一切正常。", ""), ("Tout est en ordre.", "")),
    "webhook.unavailable": say(
        ("The receiver does not answer.", "Nothing to do: it is tried again by itself. Is the address right?"),
        ("接收方没有响应。", "无需操作，系统会自动重试。请确认地址是否正确。"),
        ("Le destinataire ne répond pas.", "Rien à faire : un nouvel essai suit. L'adresse est-elle juste ?"),
    ),
    "webhook.busy": say(
        ("The receiver asks for patience (HTTP {status}).", "Nothing to do: it is tried again by itself."),
        ("接收方要求稍后再试（HTTP {status}）。", "无需操作，系统会自动重试。"),
        ("Le destinataire demande de patienter (HTTP {status}).", "Rien à faire : un nouvel essai suit."),
    ),
    "webhook.unwell": say(
        (
            "The receiver takes no event at all, not even a test event (HTTP {status}).",
            "It is tried again by itself. Look at the receiver's log; does it have the right secret?",
        ),
        (
            "接收方不接受任何事件，连测试事件也不接受（HTTP {status}）。",
            "系统会自动重试。请查看接收方日志，并确认其密钥是否正确。",
        ),
        (
            "Le destinataire ne prend aucun événement, pas même un essai (HTTP {status}).",
            "Un nouvel essai suit. Consultez son journal ; a-t-il le bon secret ?",
        ),
    ),
    "webhook.refused": say(
        (
            "The receiver refuses at this address (HTTP {status}).",
            "Correct the url, or what the receiver allows. Redirects are not followed.",
        ),
        ("接收方在该地址拒绝请求（HTTP {status}）。", "请更正 url 或接收方的权限。系统不跟随重定向。"),
        (
            "Le destinataire refuse à cette adresse (HTTP {status}).",
            "Corrigez l'url, ou ce que le destinataire permet. Les redirections ne sont pas suivies.",
        ),
    ),
    "webhook.event_refused": say(
        ("The receiver did not take this event (HTTP {status}).", "The reason stands in the receiver's log."),
        ("接收方未接受该事件（HTTP {status}）。", "原因见接收方日志。"),
        ("Le destinataire n'a pas pris cet événement (HTTP {status}).", "La raison est dans son journal."),
    ),
    "webhook.unknown_host": say(
        ("The host of the url is not known.", "It is tried again by itself. Is the name spelt right?"),
        ("无法解析 url 中的主机名。", "系统会自动重试。请确认主机名拼写正确。"),
        ("L'hôte de l'url est inconnu.", "Un nouvel essai suit. Le nom est-il bien écrit ?"),
    ),
    "webhook.address_forbidden": say(
        (
            "The url leads to an address that is not public.",
            "If that is meant, add the host or its network to WECOM_SYNC_WEBHOOK_ALLOW and start the service again.",
        ),
        (
            "该 url 指向非公网地址。",
            "如确需使用，请将该主机或网段加入 WECOM_SYNC_WEBHOOK_ALLOW 并重启服务。",
        ),
        (
            "L'url mène à une adresse qui n'est pas publique.",
            "Si c'est voulu, ajoutez l'hôte ou son réseau à WECOM_SYNC_WEBHOOK_ALLOW et relancez le service.",
        ),
    ),
    "target.gone": say(
        ("The receiver has said to send nothing more (HTTP 410).", "Change or enable the target to start again."),
        ("接收方要求不再发送（HTTP 410）。", "如需恢复，请修改或重新启用该目标。"),
        ("Le destinataire ne veut plus rien recevoir (HTTP 410).", "Modifiez ou réactivez la cible pour reprendre."),
    ),
    "webhook.plain_http": say(
        ("People's data travel unencrypted.", "Use https:// for a receiver on another machine."),
        ("人员数据以明文传输。", "如接收方在其他机器上，请使用 https://。"),
        ("Les données circulent en clair.", "Utilisez https:// pour un destinataire sur une autre machine."),
    ),
}

Kind = TypeVar("Kind", bound=ServiceError)


def error(kind: type[Kind], code: str, **params: str | int) -> Kind:
    """An error with its English words."""
    text = TEXTS[code]["en"].filled(params)
    return kind(code, text.title, text.hint, dict(params))
