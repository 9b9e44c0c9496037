"""What every error code means, in three languages. A code is stable; its sentences may be improved at any time.

Placeholders in braces are filled from an error's `params`. The codes of a provider are in `sources/`, next to what
raises them; `said` knows both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.api.language import DEFAULT, Language
from app.sources.kinds import KINDS
from app.targets.kinds import KINDS as TARGET_KINDS


@dataclass(frozen=True, slots=True)
class Said:
    """The texts of one code in one language: what kind of thing happened, what exactly, and what to do about it."""

    title: str
    detail: str
    hint: str = ""


Texts = Mapping[Language, Said]


def _texts(en: Said, zh: Said, fr: Said) -> Texts:
    return {"en": en, "zh-CN": zh, "fr": fr}


REQUESTS: Final[Mapping[str, Texts]] = {
    "request.invalid": _texts(
        Said("Invalid input", "Some of what was sent cannot be used; `errors` names each place."),
        Said("输入无效", "提交的内容有一部分无法使用；`errors` 指出了每一处。"),
        Said("Entrée non valide", "Une partie de l'envoi est inutilisable ; `errors` indique chaque endroit."),
    ),
    "request.malformed": _texts(
        Said("Malformed request", "The request could not be read."),
        Said("请求格式错误", "无法读取该请求。"),
        Said("Requête mal formée", "La requête n'a pas pu être lue."),
    ),
    "request.unauthorized": _texts(
        Said("Not authorized", "This needs `Authorization: Bearer` with a valid token."),
        Said("未授权", "需要在 `Authorization: Bearer` 中提供有效的令牌。"),
        Said("Non autorisé", "Il faut `Authorization: Bearer` avec un jeton valable."),
    ),
    "request.not_found": _texts(
        Said("Not found", "There is nothing at this address."),
        Said("未找到", "该地址没有任何内容。"),
        Said("Introuvable", "Il n'y a rien à cette adresse."),
    ),
    "request.method_not_allowed": _texts(
        Said("Method not allowed", "This address does not take that method; `Allow` lists the ones that it takes."),
        Said("方法不被允许", "该地址不接受此方法；`Allow` 列出了可用的方法。"),
        Said("Méthode non permise", "Cette adresse n'accepte pas cette méthode ; `Allow` énumère les autres."),
    ),
    "request.too_large": _texts(
        Said("Body too large", "The body is larger than 1 MiB."),
        Said("请求体过大", "请求体超过 1 MiB。"),
        Said("Corps trop volumineux", "Le corps dépasse 1 Mio."),
    ),
    "request.not_acceptable": _texts(
        Said("Request refused", "The request cannot be carried out in this form."),
        Said("请求被拒绝", "该请求无法以这种形式执行。"),
        Said("Requête refusée", "La requête ne peut pas être exécutée sous cette forme."),
    ),
    "server.error": _texts(
        Said(
            "Internal error",
            "Something went wrong in the service itself.",
            "Try again; if it persists, look for the request id in the log.",
        ),
        Said("内部错误", "服务自身发生了错误。", "请重试；如果仍然出现，请在日志中查找该请求编号。"),
        Said(
            "Erreur interne",
            "Le service lui-même a rencontré un problème.",
            "Réessayez ; si cela persiste, cherchez l'identifiant de la requête dans le journal.",
        ),
    ),
    "server.busy": _texts(
        Said("Try again", "Somebody else is working on this right now.", "Try again in a moment."),
        Said("请稍后重试", "此刻有其他进程正在处理。", "请稍后重试。"),
        Said("Réessayez", "Quelqu'un d'autre y travaille en ce moment.", "Réessayez dans un instant."),
    ),
    "server.not_ready": _texts(
        Said("Not ready", "A check has failed; `checks` names it."),
        Said("未就绪", "有一项检查未通过；`checks` 指出了它。"),
        Said("Pas prêt", "Une vérification a échoué ; `checks` l'indique."),
    ),
    "database.unavailable": _texts(
        Said("Database unavailable", "The database cannot be used at the moment.", "Try again in a moment."),
        Said("数据库不可用", "目前无法使用数据库。", "请稍后重试。"),
        Said(
            "Base de données indisponible",
            "La base de données est inutilisable pour le moment.",
            "Réessayez dans un instant.",
        ),
    ),
    "cursor.invalid": _texts(
        Said("Invalid cursor", "The cursor is not one that this list gave out.", "Start again without a cursor."),
        Said("游标无效", "该游标不是此列表给出的。", "请不带游标重新开始。"),
        Said("Curseur non valable", "Ce curseur ne vient pas de cette liste.", "Recommencez sans curseur."),
    ),
}

TARGETS: Final[Mapping[str, Texts]] = {
    "target.not_found": _texts(
        Said("Target not found", "There is no such target."),
        Said("未找到目标", "没有这个目标。"),
        Said("Cible introuvable", "Cette cible n'existe pas."),
    ),
    "target.version_mismatch": _texts(
        Said("Changed meanwhile", "`If-Match` does not name the present version.", "Read it again, then change it."),
        Said("期间已被修改", "`If-Match` 与当前版本不符。", "请重新读取后再修改。"),
        Said("Modifiée entre-temps", "`If-Match` ne nomme pas la version actuelle.", "Relisez-la, puis modifiez-la."),
    ),
    "delivery.not_found": _texts(
        Said("Delivery not found", "There is no such delivery; what was delivered is kept for a week."),
        Said("未找到投递", "没有这个投递；已送达的投递保留一周。"),
        Said("Livraison introuvable", "Cette livraison n'existe pas ; une livraison faite est gardée une semaine."),
    ),
    "delivery.not_waiting": _texts(
        Said("Nothing to retry", "The delivery does not wait for another try."),
        Said("无需重试", "该投递不在等待重试。"),
        Said("Rien à réessayer", "La livraison n'attend pas de nouvel essai."),
    ),
    "target.no_secret": _texts(
        Said("No signing secret", "This kind of target has no signing secret of ours."),
        Said("没有签名密钥", "此类目标没有由本系统生成的签名密钥。"),
        Said("Pas de secret de signature", "Ce type de cible n'a pas de secret de signature de notre part."),
    ),
}

SOURCES: Final[Mapping[str, Texts]] = {
    "source.not_found": _texts(
        Said("Source not found", "There is no such source."),
        Said("未找到来源", "没有这个来源。"),
        Said("Source introuvable", "Cette source n'existe pas."),
    ),
    "source.disabled": _texts(
        Said("Source disabled", "The source is disabled.", "Enable it first."),
        Said("来源已停用", "该来源已停用。", "请先启用。"),
        Said("Source désactivée", "La source est désactivée.", "Activez-la d'abord."),
    ),
    "source.version_mismatch": _texts(
        Said(
            "It has changed meanwhile",
            "`If-Match` does not name the present version.",
            "Read it again and repeat the change.",
        ),
        Said("期间已被修改", "`If-Match` 与当前版本不符。", "请重新读取后再修改。"),
        Said(
            "Modifié entre-temps",
            "`If-Match` ne désigne pas la version actuelle.",
            "Relisez-le, puis refaites la modification.",
        ),
    ),
    "source.corp_id_fixed": _texts(
        Said(
            "The company is fixed",
            "The company of a source cannot change once it has people.",
            "Add another source for the other company.",
        ),
        Said("企业不可更改", "来源中已有成员，不能再更改其企业。", "请为另一个企业添加新的来源。"),
        Said(
            "L'entreprise est fixée",
            "L'entreprise d'une source ne peut plus changer dès qu'elle a des membres.",
            "Ajoutez une autre source pour l'autre entreprise.",
        ),
    ),
    "keys.cannot_open": _texts(
        Said(
            "A stored secret cannot be opened",
            "It was sealed with a key that is not among the encryption keys.",
            "Add the former key to WECOM_SYNC_ENCRYPTION_KEYS, or enter the secret again.",
        ),
        Said(
            "无法解开已保存的密钥",
            "它是用不在当前加密密钥之列的密钥封存的。",
            "请把原来的密钥加入 WECOM_SYNC_ENCRYPTION_KEYS，或重新填写。",
        ),
        Said(
            "Un secret enregistré ne s'ouvre pas",
            "Il a été scellé avec une clé qui n'est pas parmi les clés de chiffrement.",
            "Ajoutez l'ancienne clé à WECOM_SYNC_ENCRYPTION_KEYS, ou saisissez le secret à nouveau.",
        ),
    ),
}

RUNS: Final[Mapping[str, Texts]] = {
    "idempotency.key_reused": _texts(
        Said(
            "Key used before",
            "This Idempotency-Key was used with another request body.",
            "Use a new key for a new request.",
        ),
        Said("键已被使用", "该 Idempotency-Key 曾用于内容不同的请求。", "新的请求请使用新的键。"),
        Said(
            "Clé déjà utilisée",
            "Cette Idempotency-Key a servi avec un autre corps de requête.",
            "Prenez une nouvelle clé pour une nouvelle requête.",
        ),
    ),
    "run.not_found": _texts(
        Said("Run not found", "There is no such run."),
        Said("未找到运行", "没有这次运行。"),
        Said("Exécution introuvable", "Cette exécution n'existe pas."),
    ),
    "run.already_active": _texts(
        Said(
            "A run is already active",
            "A full run of this source, or a resync of this target, is queued or running; `run_id` names it.",
            "Wait for it, or cancel it.",
        ),
        Said(
            "已有运行在进行",
            "该来源的一次全量同步或该目标的一次重新同步正在排队或运行；`run_id` 为其编号。",
            "请等待其结束，或取消它。",
        ),
        Said(
            "Une exécution est déjà active",
            "Une synchronisation complète de cette source, ou une resynchronisation de cette cible, attend ou "
            "s'exécute ; `run_id` la désigne.",
            "Attendez-la ou annulez-la.",
        ),
    ),
    "run.not_awaiting_approval": _texts(
        Said("Nothing to decide", "The run is not awaiting approval."),
        Said("无需审批", "这次运行不在等待审批。"),
        Said("Rien à décider", "L'exécution n'attend pas d'approbation."),
    ),
    "run.digest_mismatch": _texts(
        Said(
            "The plan is another",
            "The digest is not that of the run's present plan.",
            "Look at its changes again and send the present digest.",
        ),
        Said("计划已不同", "该摘要与这次运行当前的计划不符。", "请重新查看其变更，并提交当前的摘要。"),
        Said(
            "Le plan a changé",
            "L'empreinte n'est pas celle du plan actuel de l'exécution.",
            "Revoyez ses modifications et envoyez l'empreinte actuelle.",
        ),
    ),
    "run.finished": _texts(
        Said("The run has finished", "The run has already finished."),
        Said("运行已结束", "这次运行已经结束。"),
        Said("Exécution terminée", "L'exécution est déjà terminée."),
    ),
    "run.not_finished": _texts(
        Said("The run has not finished", "The run has not finished yet.", "Wait for its end, or cancel it."),
        Said("运行尚未结束", "这次运行还没有结束。", "请等待其结束，或取消它。"),
        Said("Exécution en cours", "L'exécution n'est pas encore terminée.", "Attendez sa fin ou annulez-la."),
    ),
    "rejected": _texts(
        Said("Rejected", "An administrator rejected what the run would have removed."),
        Said("已拒绝", "管理员拒绝了这次运行将要移除的内容。"),
        Said("Rejetée", "Un administrateur a refusé ce que l'exécution aurait retiré."),
    ),
    "expired": _texts(
        Said("Expired", "Nobody decided in time.", "Start a new run."),
        Said("已过期", "无人及时作出决定。", "请开始新的运行。"),
        Said("Expirée", "Personne n'a décidé à temps.", "Lancez une nouvelle exécution."),
    ),
    "superseded": _texts(
        Said("Superseded", "A later run has made a new plan.", "Look at that run."),
        Said("已被取代", "之后的一次运行制定了新的计划。", "请查看那次运行。"),
        Said("Remplacée", "Une exécution ultérieure a établi un nouveau plan.", "Voyez cette exécution."),
    ),
}

DIRECTORY: Final[Mapping[str, Texts]] = {
    "user.not_found": _texts(
        Said("User not found", "There is no such user."),
        Said("未找到成员", "没有这个成员。"),
        Said("Utilisateur introuvable", "Cet utilisateur n'existe pas."),
    ),
    "department.not_found": _texts(
        Said("Department not found", "There is no such department."),
        Said("未找到部门", "没有这个部门。"),
        Said("Service introuvable", "Ce service n'existe pas."),
    ),
    "event.not_found": _texts(
        Said("Event not found", "There is no such event."),
        Said("未找到事件", "没有这个事件。"),
        Said("Événement introuvable", "Cet événement n'existe pas."),
    ),
    "changes.gone": _texts(
        Said(
            "Changes no longer kept",
            "The changes right after `after` have been purged.",
            "Read the whole directory, then go on from its newest change.",
        ),
        Said("变更已不再保留", "`after` 之后的变更已被清除。", "请读取整个通讯录，然后从最新的变更继续。"),
        Said(
            "Modifications effacées",
            "Les modifications qui suivent `after` ont été effacées.",
            "Lisez tout l'annuaire, puis reprenez à sa dernière modification.",
        ),
    ),
}

WARNINGS: Final[Mapping[str, Texts]] = {
    "guard.tripped": _texts(
        Said(
            "More would be removed than allowed",
            "More would be removed than the limits allow; that part is withheld.",
            "Look at the changes of the run, then approve or reject them.",
        ),
        Said(
            "将移除的内容超过限制",
            "将要移除的内容超过限制；这一部分已被暂缓。",
            "请查看这次运行的变更，然后批准或拒绝。",
        ),
        Said(
            "Trop de suppressions",
            "Il serait retiré plus que les limites ne le permettent ; cette partie est retenue.",
            "Voyez les modifications de l'exécution, puis approuvez-les ou refusez-les.",
        ),
    ),
    "guard.would_trip": _texts(
        Said(
            "More would be removed than allowed",
            "More would be removed than the limits allow; a real run would withhold that part.",
        ),
        Said("将移除的内容超过限制", "将要移除的内容超过限制；正式运行时这一部分会被暂缓。"),
        Said(
            "Trop de suppressions",
            "Il serait retiré plus que les limites ne le permettent ; une vraie exécution retiendrait cette partie.",
        ),
    ),
    "range.changed": _texts(
        Said(
            "The visible range changed",
            "The visible range changed while it was read; nobody is counted as gone.",
        ),
        Said("可见范围已变化", "读取期间可见范围发生了变化；不会把任何人视为已离开。"),
        Said(
            "La visibilité a changé",
            "Le périmètre visible a changé pendant la lecture ; personne n'est considéré comme parti.",
        ),
    ),
    "range.partial": _texts(
        Said(
            "Only a part is visible",
            "The app does not see the root department: people outside its range are not read.",
            "Widen its 可见范围 under 应用管理, or add a contacts secret.",
        ),
        Said(
            "只能看到一部分",
            "应用看不到根部门：可见范围之外的成员不会被读取。",
            "请在「应用管理」中扩大其「可见范围」，或添加通讯录同步的 Secret。",
        ),
        Said(
            "Visible en partie",
            "L'application ne voit pas le service racine : les personnes hors de son périmètre ne sont pas lues.",
            "Élargissez son 可见范围 (périmètre visible) sous 应用管理, ou ajoutez un secret de contacts.",
        ),
    ),
    "details.unreadable": _texts(
        Said(
            "Only ids can be read",
            "Only ids can be read: the contacts secret may not read details.",
            "Add the secret of an app.",
        ),
        Said("只能读取编号", "只能读取编号：通讯录同步的 Secret 不能读取详情。", "请添加一个应用的 Secret。"),
        Said(
            "Seuls les identifiants sont lisibles",
            "Seuls les identifiants sont lisibles : le secret de contacts ne peut lire les détails.",
            "Ajoutez le secret d'une application.",
        ),
    ),
    "user.unnamed": _texts(
        Said("A record without a userid", "A record without a userid was skipped; nobody is counted as gone."),
        Said("有记录缺少 userid", "跳过了一条没有 userid 的记录；不会把任何人视为已离开。"),
        Said(
            "Une fiche sans userid",
            "Une fiche sans userid a été ignorée ; personne n'est considéré comme parti.",
        ),
    ),
    "department.bad_record": _texts(
        Said("A department record cannot be used", "The record of a department was skipped."),
        Said("有部门记录无法使用", "跳过了一个部门的记录。"),
        Said("La fiche d'un service est inutilisable", "La fiche d'un service a été ignorée."),
    ),
    "department.cycle": _texts(
        Said("Departments in a circle", "Some departments were their own ancestors; they are kept at the top."),
        Said("部门关系成环", "有些部门成了自己的上级；它们暂时放在顶层。"),
        Said("Services en boucle", "Des services étaient leurs propres ancêtres ; ils sont placés au sommet."),
    ),
    "department.unreadable": _texts(
        Said("Departments could not be read", "The members of some departments could not be read."),
        Said("有部门无法读取", "有些部门的成员无法读取。"),
        Said("Des services sont illisibles", "Les membres de certains services n'ont pas pu être lus."),
    ),
    "record.unusable": _texts(
        Said("A record cannot be used", "The record that WeCom answered cannot be used.", "Look at it in WeCom."),
        Said("记录无法使用", "企业微信返回的记录无法使用。", "请在企业微信中查看该记录。"),
        Said(
            "Une fiche est inutilisable",
            "La fiche renvoyée par WeCom est inutilisable.",
            "Regardez-la dans WeCom.",
        ),
    ),
    "run.gave_up": _texts(
        Said("Interrupted too often", "The run was interrupted too many times.", "Look at the service's log."),
        Said("中断次数过多", "这次运行被中断的次数过多。", "请查看服务的日志。"),
        Said(
            "Interrompue trop souvent",
            "L'exécution a été interrompue trop de fois.",
            "Consultez le journal du service.",
        ),
    ),
    "internal": _texts(
        Said("Unexpected error", "Something unexpected happened.", "Look at the service's log."),
        Said("意外错误", "发生了意外错误。", "请查看服务的日志。"),
        Said("Erreur inattendue", "Un problème inattendu est survenu.", "Consultez le journal du service."),
    ),
}

COMMANDS: Final[Mapping[str, Texts]] = {
    "service.not_started": _texts(
        Said("Not started", "The service did not start.", "The log says why."),
        Said("未能启动", "服务未能启动。", "原因见日志。"),
        Said("Pas démarré", "Le service n'a pas démarré.", "Le journal dit pourquoi."),
    ),
    "demo.sync": _texts(
        Said("The demonstration stopped", "Its full sync did not succeed.", "The log says why."),
        Said("演示已中止", "演示中的全量同步没有成功。", "原因见日志。"),
        Said("La démonstration s'arrête", "Sa synchronisation complète a échoué.", "Le journal dit pourquoi."),
    ),
    "demo.callback": _texts(
        Said("The demonstration stopped", "The simulated WeCom could not verify the callback.", "The log says why."),
        Said("演示已中止", "模拟的企业微信未能验证回调地址。", "原因见日志。"),
        Said(
            "La démonstration s'arrête",
            "Le WeCom simulé n'a pas pu vérifier l'URL de rappel.",
            "Le journal dit pourquoi.",
        ),
    ),
}

PROVIDED: Final = [*(kind.texts for kind in KINDS.values()), *(kind.texts for kind in TARGET_KINDS.values())]
TEXTS: Final[Mapping[str, Texts]] = {**REQUESTS, **SOURCES, **TARGETS, **RUNS, **DIRECTORY, **WARNINGS, **COMMANDS}


def said(code: str, language: Language, params: Mapping[str, str | int], message: str, hint: str) -> Said:
    """The texts of a code with its placeholders filled; `message` and `hint` stand in for a code without texts."""
    texts = TEXTS.get(code)
    if texts is not None:
        own = texts[language]
        return Said(_fill(own.title, params), _fill(own.detail, params), _fill(own.hint, params))
    for words in PROVIDED:
        provider = words.get(code, {})
        if text := provider.get(language) or provider.get(DEFAULT):
            title = _fill(text.title, params)
            return Said(title, title, _fill(text.hint, params))
    return Said(message, message, hint)


def _fill(text: str, params: Mapping[str, str | int]) -> str:
    return text.format_map(_Known(params)) if "{" in text else text


class _Known(dict[str, str | int]):
    """A placeholder that an old record has no value for stays readable."""

    def __missing__(self, name: str) -> str:
        return "…"
