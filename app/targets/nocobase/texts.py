"""The words for every code that a NocoBase target can end with, in three languages; pure."""

from typing import Final, TypeVar

from app.core.texts import say
from app.errors import ServiceError

TEXTS: Final = {
    "nocobase.ok": say(("Everything is as it should be.", ""), ("一切正常。", ""), ("Tout est en ordre.", "")),
    "nocobase.unavailable": say(
        ("NocoBase does not answer.", "Nothing to do: it is tried again by itself. Does NocoBase run at this address?"),
        ("NocoBase 没有响应。", "无需操作，系统会自动重试。请确认 NocoBase 正在该地址运行。"),
        (
            "NocoBase ne répond pas.",
            "Rien à faire : un nouvel essai suit. NocoBase tourne-t-il à cette adresse ?",
        ),
    ),
    "nocobase.timeout": say(
        ("NocoBase took too long for one push.", "Nothing to do: it is tried again with fewer records at once."),
        ("NocoBase 处理一次推送的时间过长。", "无需操作，系统会减少每次推送的记录数后自动重试。"),
        ("NocoBase a mis trop de temps.", "Rien à faire : une nouvelle tentative suit, avec moins d'enregistrements."),
    ),
    "nocobase.key_refused": say(
        ("NocoBase does not accept the API key ({reason}).", "Make a new key under 设置 → API 密钥 and enter it here."),
        ("NocoBase 不接受该 API 密钥（{reason}）。", "请在 设置 → API 密钥 中新建密钥并在此填写。"),
        ("NocoBase n'accepte pas la clé API ({reason}).", "Créez une clé sous 设置 → API 密钥 et saisissez-la ici."),
    ),
    "nocobase.not_permitted": say(
        (
            "The role of the API key may not push user data.",
            "Give the role the permission 用户数据同步 (snippet pm.user-data-sync) and no denied pm.*.",
        ),
        (
            "API 密钥所属角色无权推送用户数据。",
            "请为该角色开启 用户数据同步（pm.user-data-sync），且不要禁止 pm.*。",
        ),
        (
            "Le rôle de la clé API ne peut pas envoyer de données.",
            "Donnez au rôle la permission 用户数据同步 (pm.user-data-sync), sans refus de pm.*.",
        ),
    ),
    "nocobase.no_departments": say(
        ("NocoBase cannot take departments.", "Enable the plugin Departments (部门) in NocoBase."),
        ("NocoBase 无法接收部门。", "请在 NocoBase 中启用 部门 插件。"),
        ("NocoBase ne prend pas les services.", "Activez l'extension Departments (部门) dans NocoBase."),
    ),
    "nocobase.not_nocobase": say(
        (
            "What answers at this address is not NocoBase's API.",
            "Enter the address at which the browser opens NocoBase.",
        ),
        ("该地址的响应不是 NocoBase 的接口。", "请填写浏览器中打开 NocoBase 时的地址。"),
        (
            "Ce qui répond à cette adresse n'est pas l'API de NocoBase.",
            "Saisissez l'adresse de NocoBase du navigateur.",
        ),
    ),
    "nocobase.unique_conflict": say(
        (
            "Another account in NocoBase has the same user name, e-mail or phone.",
            "Change that account, or set match_key so that it is taken over.",
        ),
        ("NocoBase 中已有账号使用相同的用户名、邮箱或手机号。", "请修改该账号，或设置 match_key 以接管它。"),
        (
            "Un autre compte de NocoBase a le même nom, e-mail ou téléphone.",
            "Modifiez ce compte, ou réglez match_key pour qu'il soit repris.",
        ),
    ),
    "nocobase.refused": say(
        ("NocoBase did not take this record.", "The reason stands in NocoBase's log under user-data-sync."),
        ("NocoBase 未接受该记录。", "原因见 NocoBase 的 user-data-sync 日志。"),
        ("NocoBase n'a pas pris cet enregistrement.", "La raison est dans le journal user-data-sync de NocoBase."),
    ),
    "nocobase.pairing_conflict": say(
        (
            "The account in NocoBase that fits is not clearly this person's.",
            "Look at the list of a dry run; correct the account, or the person, by hand.",
        ),
        ("NocoBase 中匹配的账号不能确定属于此人。", "请查看试运行列表，并手动更正账号或人员信息。"),
        (
            "Le compte de NocoBase qui correspond n'est pas sûrement celui de cette personne.",
            "Consultez la liste d'un essai ; corrigez le compte ou la personne.",
        ),
    ),
    "nocobase.no_reading": say(
        ("The API key may not read users and departments.", "Pairing and proof need it: allow the role 查看 (view)."),
        ("API 密钥无权读取用户和部门。", "配对与核对需要此权限：请为该角色开启 查看。"),
        ("La clé API ne peut pas lire les utilisateurs.", "Le rapprochement en a besoin : autorisez 查看 au rôle."),
    ),
    "nocobase.leavers_sign_in": say(
        ("Who has left keeps an account that can sign in.", "Set leavers to delete if that must not be."),
        ("离职人员的账号仍可登录。", "如不允许，请将 leavers 设为 delete。"),
        ("Qui est parti garde un compte utilisable.", "Réglez leavers sur delete si cela ne doit pas être."),
    ),
    "nocobase.memberships_replaced": say(
        ("Memberships made by hand in NocoBase are removed.", "Keep groups of your own outside of departments."),
        ("在 NocoBase 中手动添加的部门成员关系会被移除。", "请不要在部门中手动维护成员。"),
        ("Les appartenances saisies à la main dans NocoBase sont retirées.", "Tenez vos groupes hors des services."),
    ),
    "nocobase.plain_http": say(
        ("The key and people's data travel unencrypted.", "Use https:// for a NocoBase on another machine."),
        ("密钥和人员数据以明文传输。", "如 NocoBase 在其他机器上，请使用 https://。"),
        ("La clé et les données circulent en clair.", "Utilisez https:// pour un NocoBase sur une autre machine."),
    ),
}


Kind = TypeVar("Kind", bound=ServiceError)


def error(kind: type[Kind], code: str, **params: str | int) -> Kind:
    """An error with its English words."""
    text = TEXTS[code]["en"].filled(params)
    return kind(code, text.title, text.hint, dict(params))
