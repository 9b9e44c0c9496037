"""The words for every code that reading or checking a WeCom source can end with, in three languages; pure.

The names of WeCom's menus stay in Chinese everywhere, because its console is in Chinese.
"""

from collections.abc import Mapping
from typing import Final

from app.core.texts import Text, say

_WAIT: Final = (
    "Nothing to do: it is tried again by itself.",
    "无需操作，系统会自动重试。",
    "Rien à faire : une nouvelle tentative est faite automatiquement.",
)

_PASSING: Final = {
    "wecom.busy": say(
        ("WeCom is busy.", _WAIT[0]),
        ("企业微信系统繁忙。", _WAIT[1]),
        ("WeCom est occupé.", _WAIT[2]),
    ),
    "wecom.conflict": say(
        ("WeCom was changing the same data at that moment.", _WAIT[0]),
        ("企业微信当时正在修改同一数据。", _WAIT[1]),
        ("WeCom modifiait les mêmes données à ce moment-là.", _WAIT[2]),
    ),
    "wecom.too_many_at_once": say(
        ("Too many calls of {api} were running at once.", f"{_WAIT[0]} Does another program use the same company?"),
        ("同时进行的 {api} 调用过多。", f"{_WAIT[1]}请检查是否有其他程序在使用同一企业。"),
        (
            "Trop d'appels de {api} étaient en cours en même temps.",
            f"{_WAIT[2]} Un autre programme utilise-t-il la même entreprise ?",
        ),
    ),
    "wecom.frequency_limit": say(
        (
            "WeCom's limit on calls of {api} has been reached.",
            "This API waits until WeCom opens it again, the others go on. If it happens often, see whether another "
            "program calls WeCom for the same company or from the same address.",
        ),
        (
            "{api} 的调用频率已达企业微信上限。",
            "该接口会等待企业微信解除限制，其他接口照常工作。如果经常出现，"
            "请检查是否有其他程序使用同一企业或同一出口 IP 调用接口。",
        ),
        (
            "La limite d'appels de {api} fixée par WeCom est atteinte.",
            "Cette API attend que WeCom la rouvre, les autres continuent. Si cela se répète, vérifiez si un autre "
            "programme appelle WeCom pour la même entreprise ou depuis la même adresse.",
        ),
    ),
    "wecom.data_access_limited": say(
        (
            "WeCom limits access to data after unusual traffic.",
            "It is tried again later. If it lasts, look for notices in WeCom's console.",
        ),
        ("检测到异常流量，企业微信限制了数据访问。", "稍后会自动重试。如果持续出现，请查看企业微信管理后台的通知。"),
        (
            "WeCom limite l'accès aux données après un trafic inhabituel.",
            "Une nouvelle tentative sera faite plus tard. Si cela dure, consultez les avis dans la console de WeCom.",
        ),
    ),
    "wecom.token_rejected": say(
        (
            "WeCom rejected an access token that it had just issued.",
            "It is tried again by itself. If it lasts, another program that uses the same secret may be resetting it.",
        ),
        (
            "企业微信拒绝了刚刚签发的 access_token。",
            "系统会自动重试。如果持续出现，可能有其他程序使用同一 Secret 并使令牌失效。",
        ),
        (
            "WeCom a rejeté un jeton d'accès qu'il venait de délivrer.",
            "Une nouvelle tentative est faite automatiquement. Si cela dure, un autre programme qui utilise le même "
            "Secret l'invalide peut-être.",
        ),
    ),
    "wecom.cursor_invalid": say(
        ("WeCom did not accept the position in a list that it had given.", "The list is read again from its start."),
        ("企业微信不接受它返回的分页游标。", "系统会从头重新读取该列表。"),
        ("WeCom n'a pas accepté la position de liste qu'il avait donnée.", "La liste est relue depuis le début."),
    ),
    "wecom.unreachable": say(
        (
            "WeCom could not be reached ({cause}).",
            "It is tried again by itself. If it lasts, check this server's network, DNS and firewall, and the "
            "base_url of the source.",
        ),
        (
            "无法连接企业微信（{cause}）。",
            "系统会自动重试。如果持续出现，请检查本服务器的网络、DNS、防火墙以及来源的 base_url。",
        ),
        (
            "WeCom est injoignable ({cause}).",
            "Une nouvelle tentative est faite automatiquement. Si cela dure, vérifiez le réseau, le DNS et le pare-feu "
            "de ce serveur, et le base_url de la source.",
        ),
    ),
    "wecom.proxy_failed": say(
        (
            "The proxy of this source did not carry the call ({cause}).",
            "It is tried again by itself. If it lasts, check the proxy's address, user name and password.",
        ),
        ("该来源的代理未能转发调用（{cause}）。", "系统会自动重试。如果持续出现，请检查代理的地址、用户名和密码。"),
        (
            "Le proxy de cette source n'a pas transmis l'appel ({cause}).",
            "Une nouvelle tentative est faite automatiquement. Si cela dure, vérifiez l'adresse, le nom d'utilisateur "
            "et le mot de passe du proxy.",
        ),
    ),
    "wecom.server_error": say(
        ("WeCom answered {api} with HTTP status {status}.", _WAIT[0]),
        ("企业微信对 {api} 返回了 HTTP 状态 {status}。", _WAIT[1]),
        ("WeCom a répondu à {api} par le statut HTTP {status}.", _WAIT[2]),
    ),
    "wecom.bad_answer": say(
        (
            "The answer to {api} is not what WeCom answers.",
            "It is tried again by itself; nothing was taken from it. If it lasts, check base_url and the proxy: "
            "something else may be answering.",
        ),
        (
            "{api} 的返回不是企业微信应有的内容。",
            "系统会自动重试，未采用其中任何数据。如果持续出现，请检查 base_url 和代理，可能是其他服务在应答。",
        ),
        (
            "La réponse à {api} n'est pas celle de WeCom.",
            "Une nouvelle tentative est faite automatiquement ; rien n'en a été repris. Si cela dure, vérifiez "
            "base_url "
            "et le proxy : autre chose répond peut-être.",
        ),
    ),
}

_APP_SECRET: Final = "应用管理 → 应用 → Secret → 查看"  # noqa: S105 - the name of a menu
_RANGE: Final = "应用管理 → 应用 → 可见范围"
_CONTACTS: Final = "安全与管理 → 管理工具 → 通讯录同步"

_CREDENTIALS: Final = {
    "wecom.wrong_secret": say(
        (
            "WeCom does not accept the secret.",
            f"Copy it anew: for an app from {_APP_SECRET}, for the contacts secret from {_CONTACTS} → Secret. It "
            "may have been "
            "reset, or the app may be disabled (应用管理 → 应用 → 启用应用). No call is made with it until it is "
            "corrected.",
        ),
        (
            "企业微信不接受该 Secret。",
            f"请重新复制：应用的 Secret 在「{_APP_SECRET}」，通讯录 Secret 在「{_CONTACTS} → Secret」。"
            "Secret 可能已被重置，或应用已被停用（应用管理 → 应用 → 启用应用）。更正之前不会再用它发起调用。",
        ),
        (
            "WeCom n'accepte pas le Secret.",
            f"Copiez-le à nouveau : pour une application depuis {_APP_SECRET}, pour les contacts depuis "
            f"{_CONTACTS} → Secret. "
            "Il a peut-être été réinitialisé, ou l'application est désactivée (应用管理 → 应用 → 启用应用). "
            "Aucun appel n'est fait avec lui tant qu'il n'est pas corrigé.",
        ),
    ),
    "wecom.secret_of_other_corp": say(
        (
            "The secret does not belong to this company.",
            f"Check that 企业ID (我的企业 → 企业信息) and the secret ({_APP_SECRET}) come from the same company.",
        ),
        ("该 Secret 不属于此企业。", f"请确认企业ID（我的企业 → 企业信息）与 Secret（{_APP_SECRET}）来自同一企业。"),
        (
            "Le Secret n'appartient pas à cette entreprise.",
            f"Vérifiez que le 企业ID (我的企业 → 企业信息) et le Secret ({_APP_SECRET}) viennent de la même "
            "entreprise.",
        ),
    ),
    "wecom.wrong_corp_id": say(
        ("WeCom does not know this company id.", "Copy 企业ID from 我的企业 → 企业信息. It begins with ww or wx."),
        ("企业微信找不到此企业ID。", "请从「我的企业 → 企业信息」复制企业ID，以 ww 或 wx 开头。"),
        (
            "WeCom ne connaît pas cet identifiant d'entreprise.",
            "Copiez le 企业ID depuis 我的企业 → 企业信息. Il commence par ww ou wx.",
        ),
    ),
    "wecom.corp_id_missing": say(
        ("WeCom received no company id.", "Enter 企业ID from 我的企业 → 企业信息 as corp_id."),
        ("企业微信未收到企业ID。", "请将「我的企业 → 企业信息」中的企业ID填入 corp_id。"),
        (
            "WeCom n'a pas reçu d'identifiant d'entreprise.",
            "Saisissez le 企业ID de 我的企业 → 企业信息 dans corp_id.",
        ),
    ),
    "wecom.secret_missing": say(
        ("WeCom received no secret.", f"Enter the app's secret from {_APP_SECRET}."),
        ("企业微信未收到 Secret。", f"请填写应用的 Secret（{_APP_SECRET}）。"),
        ("WeCom n'a pas reçu de Secret.", f"Saisissez le Secret de l'application depuis {_APP_SECRET}."),
    ),
    "wecom.weak_secret": say(
        (
            "WeCom considers the secret not safe enough.",
            f"Reset it under {_APP_SECRET.rsplit(' → ', 1)[0]} and enter the new one here.",
        ),
        ("企业微信认为该 Secret 不够安全。", f"请在「{_APP_SECRET.rsplit(' → ', 1)[0]}」重置，并在此填写新的 Secret。"),
        (
            "WeCom juge le Secret trop peu sûr.",
            f"Réinitialisez-le sous {_APP_SECRET.rsplit(' → ', 1)[0]} et saisissez le nouveau ici.",
        ),
    ),
    "wecom.wrong_agent_id": say(
        (
            "WeCom does not know this agent id.",
            "Copy AgentId from the page of the app (应用管理 → 应用), or leave agent_id empty: it is then found by "
            "itself.",
        ),
        ("企业微信找不到此 AgentId。", "请从应用页面（应用管理 → 应用）复制 AgentId，或将 agent_id 留空以自动识别。"),
        (
            "WeCom ne connaît pas cet agent_id.",
            "Copiez l'AgentId depuis la page de l'application (应用管理 → 应用), ou laissez agent_id vide : il est "
            "alors trouvé automatiquement.",
        ),
    ),
    "wecom.not_this_agent": say(
        (
            "The agent id belongs to another app than the secret.",
            "Take AgentId and Secret from the same page (应用管理 → 应用), or leave agent_id empty.",
        ),
        (
            "该 AgentId 与 Secret 不属于同一应用。",
            "请从同一应用页面（应用管理 → 应用）获取 AgentId 和 Secret，或将 agent_id 留空。",
        ),
        (
            "L'agent_id appartient à une autre application que le Secret.",
            "Prenez AgentId et Secret sur la même page (应用管理 → 应用), ou laissez agent_id vide.",
        ),
    ),
    "wecom.agent_unknown": say(
        (
            "It could not be found out which app the secret belongs to.",
            "Enter AgentId from the page of the app (应用管理 → 应用) as agent_id.",
        ),
        ("无法确定该 Secret 属于哪个应用。", "请将应用页面（应用管理 → 应用）中的 AgentId 填入 agent_id。"),
        (
            "Impossible de déterminer à quelle application appartient le Secret.",
            "Saisissez l'AgentId de la page de l'application (应用管理 → 应用) dans agent_id.",
        ),
    ),
    "wecom.ip_not_trusted": say(
        (
            "WeCom refused requests coming from {ip}.",
            "Add this address under 应用管理 → 应用 → 企业可信IP (trusted IPs); for the contacts secret under "
            f"{_CONTACTS} → 企业可信IP. If the field is locked, finish the callback URL step first. It takes about "
            "a minute.",
        ),
        (
            "企业微信拒绝了来自 {ip} 的请求。",
            f"请在「应用管理 → 应用 → 企业可信IP」添加该地址；通讯录 Secret 则在「{_CONTACTS} → 企业可信IP」添加。"
            "若该处不可编辑，请先完成回调 URL 验证。约一分钟后生效。",
        ),
        (
            "WeCom refuse les requêtes venant de {ip}.",
            "Ajoutez cette adresse dans 应用管理 → 应用 → 企业可信IP (IP de confiance) ; pour le Secret des "
            "contacts dans "
            f"{_CONTACTS} → 企业可信IP. Si le champ est verrouillé, terminez d'abord l'étape « URL de rappel ». "
            "L'effet prend environ une minute.",
        ),
    ),
    "wecom.ip_not_listed": say(
        (
            "This server's address is not in a list of allowed addresses.",
            "Add it in WeCom's console where {api} has its own list (管理工具).",
        ),
        ("本服务器的地址不在允许列表中。", "请在企业微信管理后台（管理工具）中 {api} 对应的 IP 列表里添加。"),
        (
            "L'adresse de ce serveur n'est pas dans une liste d'adresses autorisées.",
            "Ajoutez-la dans la console de WeCom, là où {api} a sa propre liste (管理工具).",
        ),
    ),
    "wecom.bad_ip_list": say(
        (
            "The list of trusted addresses is not valid.",
            "Correct it under 应用管理 → 应用 → 企业可信IP: addresses separated by semicolons.",
        ),
        ("可信 IP 列表无效。", "请在「应用管理 → 应用 → 企业可信IP」更正，多个地址以分号分隔。"),
        (
            "La liste des adresses de confiance n'est pas valide.",
            "Corrigez-la sous 应用管理 → 应用 → 企业可信IP : adresses séparées par des points-virgules.",
        ),
    ),
    "source.no_credentials": say(
        (
            "The source has no secret to read the directory with.",
            f"Enter an app secret ({_APP_SECRET}) or a contacts secret ({_CONTACTS} → Secret). Callbacks work without.",
        ),
        (
            "该来源没有可用于读取通讯录的 Secret。",
            f"请填写应用 Secret（{_APP_SECRET}）或通讯录 Secret（{_CONTACTS} → Secret）。回调无需 Secret 即可工作。",
        ),
        (
            "La source n'a pas de Secret pour lire l'annuaire.",
            f"Saisissez un Secret d'application ({_APP_SECRET}) ou de contacts ({_CONTACTS} → Secret). Les rappels "
            "fonctionnent sans.",
        ),
    ),
    "source.no_contacts_secret": say(
        (
            "Listing the ids of the whole company needs the contacts secret.",
            f"Enter it from {_CONTACTS} → Secret as contacts_secret.",
        ),
        ("列出全企业成员 ID 需要通讯录 Secret。", f"请将「{_CONTACTS} → Secret」填入 contacts_secret。"),
        (
            "Lister les identifiants de toute l'entreprise exige le Secret des contacts.",
            f"Saisissez celui de {_CONTACTS} → Secret dans contacts_secret.",
        ),
    ),
}

_PERMISSIONS: Final = {
    "wecom.contacts_secret_ids_only": say(
        (
            "This is the contacts secret, and from this address WeCom gives it ids only.",
            "Since 2022-08-15 the contacts secret may not read names and details from a new IP. Enter the secret of an "
            f"app as well ({_APP_SECRET}): the app secret must read the details. Its range ({_RANGE}) decides whom "
            "it sees.",
        ),
        (
            "这是通讯录 Secret，企业微信对此 IP 只返回 ID。",
            "自 2022-08-15 起，通讯录 Secret 不能从新 IP 读取姓名等详情。请另外填写一个应用的 Secret"
            f"（{_APP_SECRET}），由应用 Secret 读取详情；可读取的成员取决于其可见范围（{_RANGE}）。",
        ),
        (
            "C'est le Secret des contacts, et depuis cette adresse WeCom ne lui donne que des identifiants.",
            "Depuis le 2022-08-15, le Secret des contacts ne peut plus lire noms et détails depuis une nouvelle IP. "
            f"Saisissez aussi le Secret d'une application ({_APP_SECRET}) : c'est lui qui doit lire les détails. "
            "Sa visibilité "
            f"({_RANGE}) décide de qui il voit.",
        ),
    ),
    "wecom.api_not_authorised": say(
        ("This app is not authorised for {api}.", "Give the app this permission in 应用管理 → 应用."),
        ("该应用未获得 {api} 的权限。", "请在「应用管理 → 应用」中为应用授予该权限。"),
        (
            "Cette application n'est pas autorisée pour {api}.",
            "Donnez cette permission à l'application dans 应用管理 → 应用.",
        ),
    ),
    "wecom.api_forbidden": say(
        (
            "WeCom does not allow {api} with this secret.",
            "See whether the two secrets were interchanged: app_secret is the one of the app "
            f"({_APP_SECRET}), contacts_secret the one of {_CONTACTS}. There, 权限 must at least be API 读取通讯录.",
        ),
        (
            "该 Secret 不允许调用 {api}。",
            f"请检查两个 Secret 是否填反：app_secret 是应用的 Secret（{_APP_SECRET}），"
            f"contacts_secret 是「{_CONTACTS}」的 Secret，其权限至少应为「API 读取通讯录」。",
        ),
        (
            "WeCom n'autorise pas {api} avec ce Secret.",
            "Vérifiez si les deux Secrets ont été intervertis : app_secret est celui de l'application "
            f"({_APP_SECRET}), contacts_secret celui de {_CONTACTS}. Là, 权限 doit être au moins API 读取通讯录.",
        ),
    ),
    "wecom.authorisation_cancelled": say(
        ("The authorisation is not valid any more.", "Authorise the app again in 应用管理 → 应用."),
        ("授权已失效或被取消。", "请在「应用管理 → 应用」中重新授权该应用。"),
        ("L'autorisation n'est plus valable.", "Autorisez à nouveau l'application dans 应用管理 → 应用."),
    ),
    "wecom.app_idle": say(
        (
            "The app lay idle and WeCom took back its API rights.",
            "Open the app in 应用管理 → 应用 and enable its API again.",
        ),
        ("应用长期未使用，企业微信已收回其接口权限。", "请打开「应用管理 → 应用」，重新启用该应用的接口。"),
        (
            "L'application est restée inactive et WeCom lui a retiré l'accès à l'API.",
            "Ouvrez l'application dans 应用管理 → 应用 et réactivez son API.",
        ),
    ),
    "wecom.partial_grant": say(
        (
            "The permission on contacts does not cover {api}.",
            f"Extend it under {_CONTACTS} → 权限, or let an app secret read.",
        ),
        ("通讯录权限不包含 {api}。", f"请在「{_CONTACTS} → 权限」中扩大权限，或改用应用 Secret 读取。"),
        (
            "La permission sur les contacts ne couvre pas {api}.",
            f"Étendez-la sous {_CONTACTS} → 权限, ou laissez lire un Secret d'application.",
        ),
    ),
    "wecom.tls_too_old": say(
        ("WeCom does not accept this TLS version.", "Update this server's OpenSSL, or the proxy in between."),
        ("企业微信不支持此 TLS 版本。", "请升级本服务器的 OpenSSL 或中间的代理。"),
        (
            "WeCom n'accepte pas cette version de TLS.",
            "Mettez à jour OpenSSL sur ce serveur, ou le proxy intermédiaire.",
        ),
    ),
    "wecom.members_inactive": say(
        (
            "WeCom asks for more active members before it allows this.",
            "Let more people activate WeCom, see the notice in 应用管理 → 应用.",
        ),
        ("成员活跃度未达到企业微信的要求。", "请让更多成员激活企业微信，详见「应用管理 → 应用」中的提示。"),
        (
            "WeCom demande davantage de membres actifs avant de permettre cela.",
            "Faites activer WeCom par plus de personnes, voir l'avis dans 应用管理 → 应用.",
        ),
    ),
    "wecom.app_disabled": say(
        ("The app is disabled.", "Enable it: 应用管理 → 应用 → 启用应用."),
        ("应用已停用。", "请启用：应用管理 → 应用 → 启用应用。"),
        ("L'application est désactivée.", "Activez-la : 应用管理 → 应用 → 启用应用."),
    ),
    "wecom.app_barred": say(
        (
            "WeCom has barred this app from the API.",
            "Look for the reason in 应用管理 → 应用, or read with another app.",
        ),
        ("企业微信已禁止该应用调用接口。", "请在「应用管理 → 应用」中查看原因，或换用其他应用读取。"),
        (
            "WeCom a exclu cette application de l'API.",
            "Cherchez-en la raison dans 应用管理 → 应用, ou lisez avec une autre application.",
        ),
    ),
    "wecom.out_of_range": say(
        (
            "What {api} asked for is outside the app's visible range.",
            f"Add it under {_RANGE}; for a full sync choose the root department there.",
        ),
        ("{api} 请求的对象不在应用可见范围内。", f"请在「{_RANGE}」中添加；如需全量同步，请选择根部门。"),
        (
            "Ce que {api} a demandé est hors de la visibilité de l'application.",
            f"Ajoutez-le sous {_RANGE} ; pour une synchronisation complète, choisissez-y le département racine.",
        ),
    ),
    "wecom.sensitive_fields_forbidden": say(
        (
            "The app has no right to sensitive data such as phone or e-mail.",
            "Apps made after 2022-06-20 do not get them. All other fields are read.",
        ),
        ("应用无权读取手机、邮箱等敏感信息。", "2022-06-20 之后创建的应用无法获取这些字段，其他字段照常读取。"),
        (
            "L'application n'a pas droit aux données sensibles comme le téléphone ou l'e-mail.",
            "Les applications créées après le 2022-06-20 ne les reçoivent pas. Tous les autres champs sont lus.",
        ),
    ),
    "wecom.tag_forbidden": say(
        ("The secret has no right on this tag.", "Let the app use the tag: 通讯录 → 标签."),
        ("该 Secret 对此标签没有权限。", "请在「通讯录 → 标签」中允许应用使用该标签。"),
        (
            "Le Secret n'a pas de droit sur cette étiquette.",
            "Autorisez l'application à utiliser l'étiquette : 通讯录 → 标签.",
        ),
    ),
    "wecom.domain_not_trusted": say(
        ("The address is not in a trusted domain of the app.", "Enter the domain under 应用管理 → 应用 → 可信域名."),
        ("该地址不在应用的可信域名内。", "请在「应用管理 → 应用 → 可信域名」中填写域名。"),
        (
            "L'adresse n'est pas dans un domaine de confiance de l'application.",
            "Saisissez le domaine sous 应用管理 → 应用 → 可信域名.",
        ),
    ),
    "wecom.callback_url_needed": say(
        (
            "WeCom wants the app to have a callback URL first.",
            "Enter it under 应用管理 → 应用 → 接收消息 → 设置API接收.",
        ),
        ("企业微信要求先为应用设置回调 URL。", "请在「应用管理 → 应用 → 接收消息 → 设置API接收」中设置。"),
        (
            "WeCom veut d'abord une URL de rappel pour l'application.",
            "Saisissez-la sous 应用管理 → 应用 → 接收消息 → 设置API接收.",
        ),
    ),
    "wecom.callback_url_refused": say(
        (
            "WeCom could not verify the callback URL.",
            "It must be reachable from the internet, and Token and EncodingAESKey must be the same here and in "
            "接收消息 → 设置API接收.",
        ),
        (
            "企业微信无法验证回调 URL。",
            "该 URL 必须可从互联网访问，且此处与「接收消息 → 设置API接收」中的 Token、EncodingAESKey 必须一致。",
        ),
        (
            "WeCom n'a pas pu vérifier l'URL de rappel.",
            "Elle doit être accessible depuis Internet, et Token et EncodingAESKey doivent être les mêmes ici et dans "
            "接收消息 → 设置API接收.",
        ),
    ),
    "wecom.corp_not_verified": say(
        ("The company is not verified with WeCom.", "Verify it: 我的企业 → 企业信息 → 企业认证."),
        ("企业尚未认证。", "请完成认证：我的企业 → 企业信息 → 企业认证。"),
        ("L'entreprise n'est pas vérifiée auprès de WeCom.", "Faites-la vérifier : 我的企业 → 企业信息 → 企业认证."),
    ),
    "wecom.corp_closed": say(
        (
            "WeCom has dissolved or banned this company.",
            "Ask WeCom's support; the directory stays here as it was read last.",
        ),
        ("该企业已被企业微信解散或封禁。", "请联系企业微信客服；此处的通讯录保持最后一次读取的状态。"),
        (
            "WeCom a dissous ou banni cette entreprise.",
            "Adressez-vous à l'assistance de WeCom ; l'annuaire reste ici tel qu'il a été lu en dernier.",
        ),
    ),
    "wecom.headcount_limit": say(
        (
            "The company has reached WeCom's limit of members.",
            "Have it raised (我的企业 → 企业信息), or remove people who left.",
        ),
        ("企业人数已达上限。", "请申请提高人数上限（我的企业 → 企业信息），或移除已离职成员。"),
        (
            "L'entreprise a atteint la limite de membres de WeCom.",
            "Faites-la relever (我的企业 → 企业信息), ou retirez les personnes parties.",
        ),
    ),
    "wecom.delete_protection": say(
        (
            "WeCom's own protection against mass deletion has stopped an import.",
            "Another program imports contacts: check its file. This service only reads.",
        ),
        ("企业微信的批量删除保护阻止了一次导入。", "有其他程序在导入通讯录，请检查其文件。本服务只读取。"),
        (
            "La protection de WeCom contre les suppressions en masse a arrêté une importation.",
            "Un autre programme importe des contacts : vérifiez son fichier. Ce service ne fait que lire.",
        ),
    ),
    "wecom.import_job": say(
        (
            "WeCom refused a batch import of contacts.",
            "Another program imports contacts: check its file and whether one is still running. This service only "
            "reads.",
        ),
        (
            "企业微信拒绝了一次通讯录批量导入。",
            "有其他程序在导入通讯录，请检查其文件以及是否仍有导入任务在运行。本服务只读取。",
        ),
        (
            "WeCom a refusé une importation de contacts.",
            "Un autre programme importe des contacts : vérifiez son fichier et si une importation est encore en cours. "
            "Ce service ne fait que lire.",
        ),
    ),
    "wecom.answer_too_large": say(
        (
            "The answer to {api} is too large.",
            "Split departments with very many direct members in 通讯录, or narrow 可见范围.",
        ),
        ("{api} 的返回数据过大。", "请在「通讯录」中拆分直属成员过多的部门，或缩小可见范围。"),
        (
            "La réponse à {api} est trop grande.",
            "Divisez dans 通讯录 les départements qui ont un très grand nombre de membres directs, ou réduisez "
            "可见范围.",
        ),
    ),
    "wecom.http_refused": say(
        (
            "{api} was answered with HTTP status {status}, which WeCom does not use.",
            "Check base_url (with https) and the proxy: something else is answering.",
        ),
        (
            "{api} 返回了企业微信不会使用的 HTTP 状态 {status}。",
            "请检查 base_url（应为 https）和代理，可能是其他服务在应答。",
        ),
        (
            "{api} a reçu le statut HTTP {status}, que WeCom n'emploie pas.",
            "Vérifiez base_url (avec https) et le proxy : autre chose répond.",
        ),
    ),
    "wecom.unknown_errcode": say(
        (
            "WeCom refused {api} with errcode {errcode}.",
            "Look it up at https://open.work.weixin.qq.com/devtool/query?e={errcode}",
        ),
        (
            "企业微信以错误码 {errcode} 拒绝了 {api}。",
            "请查询 https://open.work.weixin.qq.com/devtool/query?e={errcode}",
        ),
        (
            "WeCom a refusé {api} avec l'errcode {errcode}.",
            "Consultez https://open.work.weixin.qq.com/devtool/query?e={errcode}",
        ),
    ),
}

_OBJECTS: Final = {
    "wecom.user_not_found": say(
        (
            "WeCom does not show this person: gone, or outside the app's visible range.",
            f"If the person should be seen, widen {_RANGE}.",
        ),
        ("企业微信中看不到该成员：已离开，或不在应用可见范围内。", f"如果应能看到该成员，请扩大「{_RANGE}」。"),
        (
            "WeCom ne montre pas cette personne : partie, ou hors de la visibilité de l'application.",
            f"Si elle doit être vue, élargissez {_RANGE}.",
        ),
    ),
    "wecom.user_out_of_range": say(
        ("The person is outside the app's visible range.", f"Widen {_RANGE} if the person should be seen."),
        ("该成员不在应用可见范围内。", f"如果应能看到该成员，请扩大「{_RANGE}」。"),
        (
            "La personne est hors de la visibilité de l'application.",
            f"Élargissez {_RANGE} si elle doit être vue.",
        ),
    ),
    "wecom.department_not_found": say(
        ("The department does not exist any more.", "Nothing to do: the next sync takes it in."),
        ("该部门已不存在。", "无需操作，下次同步会处理。"),
        ("Le département n'existe plus.", "Rien à faire : la prochaine synchronisation en tient compte."),
    ),
    "wecom.tag_not_found": say(
        ("The tag does not exist any more.", f"Remove it from {_RANGE}."),
        ("该标签已不存在。", f"请从「{_RANGE}」中移除该标签。"),
        ("L'étiquette n'existe plus.", f"Retirez-la de {_RANGE}."),
    ),
    "wecom.not_found": say(
        ("WeCom does not know what {api} asked for.", "Nothing to do: it is left out."),
        ("企业微信中不存在 {api} 请求的对象。", "无需操作，已跳过。"),
        ("WeCom ne connaît pas ce que {api} a demandé.", "Rien à faire : cela est laissé de côté."),
    ),
}

_CHECKS: Final = {
    "check.not_tried": say(
        ("Not tried, because an earlier check failed.", "Correct that one first."),
        ("前面的检查未通过，因此未执行。", "请先解决前面的问题。"),
        ("Pas essayé, car une vérification précédente a échoué.", "Corrigez d'abord celle-là."),
    ),
    "check.app_token": say(
        ("WeCom accepts the app secret.", ""),
        ("企业微信接受应用 Secret。", ""),
        ("WeCom accepte le Secret de l'application.", ""),
    ),
    "check.no_app_secret": say(
        (
            "No app secret is entered.",
            f"Names and details are read with the secret of an app ({_APP_SECRET}); the contacts secret alone gets "
            "only ids.",
        ),
        ("未填写应用 Secret。", f"姓名等详情由应用的 Secret（{_APP_SECRET}）读取；仅凭通讯录 Secret 只能得到 ID。"),
        (
            "Aucun Secret d'application n'est saisi.",
            f"Noms et détails sont lus avec le Secret d'une application ({_APP_SECRET}) ; celui des contacts seul "
            "ne reçoit "
            "que des identifiants.",
        ),
    ),
    "check.contacts_token": say(
        ("WeCom accepts the contacts secret.", ""),
        ("企业微信接受通讯录 Secret。", ""),
        ("WeCom accepte le Secret des contacts.", ""),
    ),
    "check.no_contacts_secret": say(
        (
            "No contacts secret is entered.",
            f"With it ({_CONTACTS} → Secret) the list of all ids proves who has left; without it people are asked "
            "one by one.",
        ),
        (
            "未填写通讯录 Secret。",
            f"填写后（{_CONTACTS} → Secret）可凭完整 ID 列表确认谁已离开；否则只能逐个查询。",
        ),
        (
            "Aucun Secret des contacts n'est saisi.",
            f"Avec lui ({_CONTACTS} → Secret), la liste de tous les identifiants prouve qui est parti ; sans lui, "
            "chaque "
            "personne est demandée une à une.",
        ),
    ),
    "check.range_everything": say(
        ("The app sees the whole company: the root department is in its range.", ""),
        ("应用可见整个企业：根部门在其可见范围内。", ""),
        ("L'application voit toute l'entreprise : le département racine est dans sa visibilité.", ""),
    ),
    "check.range_partial": say(
        (
            "The app sees a part of the company: departments: {departments}, people: {users}, tags: {tags}.",
            f"People outside are not seen. For the whole company choose the root department under {_RANGE}.",
        ),
        (
            "应用只可见企业的一部分：部门 {departments} 个、成员 {users} 人、标签 {tags} 个。",
            f"范围之外的成员无法看到。如需同步整个企业，请在「{_RANGE}」选择根部门。",
        ),
        (
            "L'application voit une partie de l'entreprise : départements : {departments}, personnes : {users}, "
            "étiquettes : {tags}.",
            f"Qui est en dehors n'est pas vu. Pour toute l'entreprise, choisissez le département racine sous {_RANGE}.",
        ),
    ),
    "check.range_empty": say(
        ("The app sees nobody: its visible range is empty.", f"Choose the root department under {_RANGE}."),
        ("应用看不到任何人：可见范围为空。", f"请在「{_RANGE}」选择根部门。"),
        (
            "L'application ne voit personne : sa visibilité est vide.",
            f"Choisissez le département racine sous {_RANGE}.",
        ),
    ),
    "check.range_contacts": say(
        ("The contacts secret covers the whole company.", ""),
        ("通讯录 Secret 覆盖整个企业。", ""),
        ("Le Secret des contacts couvre toute l'entreprise.", ""),
    ),
    "check.departments": say(
        ("Departments visible: {count}.", ""),
        ("可见部门：{count} 个。", ""),
        ("Départements visibles : {count}.", ""),
    ),
    "check.departments_ids": say(
        ("Departments visible by id only: {count}. Their names cannot be read.", "An app secret reads the names."),
        ("仅可见部门 ID：{count} 个，无法读取名称。", "填写应用 Secret 后可读取名称。"),
        (
            "Départements visibles par identifiant seulement : {count}. Leurs noms ne peuvent être lus.",
            "Un Secret d'application lit les noms.",
        ),
    ),
    "check.departments_none": say(
        (
            "No department is visible.",
            f"If the range names only people this is normal; otherwise choose departments under {_RANGE}.",
        ),
        ("看不到任何部门。", f"如果可见范围只包含成员则属正常；否则请在「{_RANGE}」选择部门。"),
        (
            "Aucun département n'est visible.",
            "C'est normal si la visibilité ne nomme que des personnes ; sinon choisissez des départements sous "
            f"{_RANGE}.",
        ),
    ),
    "check.records_bad": say(
        ("Records that cannot be understood: {count}.", "They are set aside; the rest is synchronised."),
        ("无法识别的记录：{count} 条。", "这些记录会被搁置，其余照常同步。"),
        ("Enregistrements incompréhensibles : {count}.", "Ils sont mis de côté ; le reste est synchronisé."),
    ),
    "check.user_details": say(
        ("Details of people are readable, every field included.", ""),
        ("可读取成员详情，包括全部字段。", ""),
        ("Les détails des personnes sont lisibles, tous champs compris.", ""),
    ),
    "check.user_fields_withheld": say(
        (
            "Details of people are readable, but WeCom gave no value for: {withheld}.",
            "Apps made after 2022-06-20 do not get these fields. What is stored of them is kept.",
        ),
        (
            "可读取成员详情，但企业微信未提供以下字段：{withheld}。",
            "2022-06-20 之后创建的应用无法获取这些字段，已存储的内容会保留。",
        ),
        (
            "Les détails des personnes sont lisibles, mais WeCom n'a rien donné pour : {withheld}.",
            "Les applications créées après le 2022-06-20 ne reçoivent pas ces champs. Ce qui est enregistré est "
            "conservé.",
        ),
    ),
    "check.no_user_seen": say(
        ("No person was found to read.", f"Check who is in {_RANGE}."),
        ("没有找到可读取的成员。", f"请检查「{_RANGE}」中包含哪些成员。"),
        ("Aucune personne à lire n'a été trouvée.", f"Vérifiez qui est dans {_RANGE}."),
    ),
    "check.ids": say(
        ("The ids of the whole company can be listed.", ""),
        ("可以列出全企业的成员 ID。", ""),
        ("Les identifiants de toute l'entreprise peuvent être listés.", ""),
    ),
    "check.clock": say(
        ("This server's clock agrees with WeCom's.", ""),
        ("本服务器的时钟与企业微信一致。", ""),
        ("L'horloge de ce serveur concorde avec celle de WeCom.", ""),
    ),
    "check.clock_skew": say(
        (
            "This server's clock differs from WeCom's by {seconds} seconds.",
            "Switch on time synchronisation (NTP) on this server.",
        ),
        ("本服务器的时钟与企业微信相差 {seconds} 秒。", "请在本服务器上启用时间同步（NTP）。"),
        (
            "L'horloge de ce serveur diffère de {seconds} secondes de celle de WeCom.",
            "Activez la synchronisation de l'heure (NTP) sur ce serveur.",
        ),
    ),
    "check.clock_unknown": say(
        ("WeCom did not say what time it is.", ""),
        ("企业微信未返回时间。", ""),
        ("WeCom n'a pas donné l'heure.", ""),
    ),
    "callback.url_ok": say(
        ("The callback URL has a form that WeCom can call.", ""),
        ("回调 URL 的形式可供企业微信调用。", ""),
        ("L'URL de rappel a une forme que WeCom peut appeler.", ""),
    ),
    "callback.url_private": say(
        (
            "WeCom cannot reach the callback URL: {host} is an address inside your network.",
            "Set PUBLIC_URL to the address under which the internet reaches this service.",
        ),
        ("企业微信无法访问回调 URL：{host} 是内网地址。", "请将 PUBLIC_URL 设置为互联网可访问本服务的地址。"),
        (
            "WeCom ne peut pas atteindre l'URL de rappel : {host} est une adresse interne.",
            "Donnez à PUBLIC_URL l'adresse par laquelle Internet atteint ce service.",
        ),
    ),
    "callback.url_http": say(
        (
            "The callback URL is not encrypted (http).",
            "Put the service behind https and change PUBLIC_URL; messages are encrypted, but their times are visible.",
        ),
        ("回调 URL 未加密（http）。", "请为服务启用 https 并修改 PUBLIC_URL；消息内容已加密，但通信时间可被观察到。"),
        (
            "L'URL de rappel n'est pas chiffrée (http).",
            "Placez le service derrière https et changez PUBLIC_URL ; les messages sont chiffrés, mais leurs "
            "heures sont "
            "visibles.",
        ),
    ),
    "callback.url_port": say(
        (
            "The callback URL names port {port}.",
            "Many firewalls let WeCom in on 443 only. Publish the service on https without a port if callbacks "
            "stay away.",
        ),
        (
            "回调 URL 使用了端口 {port}。",
            "许多防火墙只允许企业微信访问 443 端口。如果收不到回调，请以不带端口的 https 发布服务。",
        ),
        (
            "L'URL de rappel nomme le port {port}.",
            "Beaucoup de pare-feu ne laissent entrer WeCom que par 443. Publiez le service en https sans port si les "
            "rappels n'arrivent pas.",
        ),
    ),
    "callback.not_configured": say(
        (
            "No Token and EncodingAESKey are entered: changes are found by full syncs only.",
            f"Have them made here and enter them with the callback URL under {_CONTACTS} → 设置接收事件服务器.",
        ),
        (
            "未填写 Token 和 EncodingAESKey：只能通过全量同步发现变更。",
            f"请在此生成，并与回调 URL 一起填入「{_CONTACTS} → 设置接收事件服务器」。",
        ),
        (
            "Token et EncodingAESKey ne sont pas saisis : seules les synchronisations complètes trouvent les "
            "changements.",
            f"Faites-les créer ici et saisissez-les avec l'URL de rappel sous {_CONTACTS} → 设置接收事件服务器.",
        ),
    ),
    "callback.never_verified": say(
        (
            "WeCom has not verified the callback URL yet.",
            f"Enter URL, Token and EncodingAESKey under {_CONTACTS} → 设置接收事件服务器 and save: WeCom calls at "
            "that moment.",
        ),
        (
            "企业微信尚未验证回调 URL。",
            f"请在「{_CONTACTS} → 设置接收事件服务器」填写 URL、Token 和 EncodingAESKey 并保存，"
            "企业微信会立即发起验证。",
        ),
        (
            "WeCom n'a pas encore vérifié l'URL de rappel.",
            f"Saisissez URL, Token et EncodingAESKey sous {_CONTACTS} → 设置接收事件服务器 et enregistrez : WeCom "
            "appelle à ce "
            "moment-là.",
        ),
    ),
    "callback.silent": say(
        (
            "No event has come for {days} days.",
            "That may be normal in a small company. Otherwise save the callback once more in WeCom's console.",
        ),
        ("已有 {days} 天未收到事件。", "小型企业可能属正常；否则请在企业微信管理后台重新保存一次回调设置。"),
        (
            "Aucun événement n'est arrivé depuis {days} jours.",
            "Cela peut être normal dans une petite entreprise. Sinon enregistrez de nouveau le rappel dans la console.",
        ),
    ),
    "callback.working": say(
        ("WeCom has verified the callback URL.", ""),
        ("企业微信已验证回调 URL。", ""),
        ("WeCom a vérifié l'URL de rappel.", ""),
    ),
}

TEXTS: Final[Mapping[str, Mapping[str, Text]]] = _PASSING | _CREDENTIALS | _PERMISSIONS | _OBJECTS | _CHECKS
