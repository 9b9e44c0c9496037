"""The settings' texts of the translated READMEs, by the English text: one that changes asks for a new translation."""

ZH = {
    "| Setting | Default | Meaning |": "| 设置 | 默认值 | 含义 |",
    " One of {}.": "可选：{}。",
    "Where the database, the keys and the admin token are kept.": "数据库、密钥和管理员令牌的存放目录。",
    "Empty: SQLite in DATA_DIR. postgresql://user:password@host/name for PostgreSQL 14 or newer.": (
        "留空：使用 DATA_DIR 中的 SQLite。PostgreSQL 14 及以上：postgresql://user:password@host/name。"
    ),
    "Bearer token of the administrator. Empty: made on first start, kept in DATA_DIR/admin-token.": (
        "管理员的 Bearer 令牌。留空：首次启动时生成，保存在 DATA_DIR/admin-token。"
    ),
    "Fernet keys, comma-separated; the first seals, all open. Empty: made on first start, kept in "
    "DATA_DIR/encryption-keys.": (
        "Fernet 密钥，用逗号分隔；第一个用于加密，全部可用于解密。"
        "留空：首次启动时生成，保存在 DATA_DIR/encryption-keys。"
    ),
    "The address under which WeCom reaches this service.": "企业微信访问本服务所用的地址。",
    "Address to listen on.": "监听地址。",
    "Port to listen on.": "监听端口。",
    "Least level that is logged.": "记录日志的最低级别。",
    "json for machines, console for people.": "json 供程序读取，console 供人阅读。",
    "embedded: `serve` does the work too. none: it only answers, `wecom-sync worker` works.": (
        "embedded：`serve` 同时执行同步工作。none：只应答请求，由 `wecom-sync worker` 执行工作。"
    ),
    "true: /metrics needs no token.": "true：访问 /metrics 不需要令牌。",
    "Hosts, addresses and networks, comma-separated, to which webhooks may be sent though they are not public, such as "
    "10.0.0.0/8,hooks.lan.": ("webhook 可以发送到的非公网主机、地址和网段，以逗号分隔，例如 10.0.0.0/8,hooks.lan。"),
}

FR = {
    "| Setting | Default | Meaning |": "| Paramètre | Par défaut | Signification |",
    " One of {}.": " Au choix : {}.",
    "Where the database, the keys and the admin token are kept.": (
        "Où se trouvent la base de données, les clés et le jeton d'administration."
    ),
    "Empty: SQLite in DATA_DIR. postgresql://user:password@host/name for PostgreSQL 14 or newer.": (
        "Vide : SQLite dans DATA_DIR. postgresql://user:password@host/name pour PostgreSQL 14 ou plus récent."
    ),
    "Bearer token of the administrator. Empty: made on first start, kept in DATA_DIR/admin-token.": (
        "Jeton Bearer de l'administrateur. Vide : créé au premier démarrage, gardé dans DATA_DIR/admin-token."
    ),
    "Fernet keys, comma-separated; the first seals, all open. Empty: made on first start, kept in "
    "DATA_DIR/encryption-keys.": (
        "Clés Fernet séparées par des virgules ; la première chiffre, toutes déchiffrent. Vide : créées au premier "
        "démarrage, gardées dans DATA_DIR/encryption-keys."
    ),
    "The address under which WeCom reaches this service.": "L'adresse sous laquelle WeCom atteint ce service.",
    "Address to listen on.": "Adresse d'écoute.",
    "Port to listen on.": "Port d'écoute.",
    "Least level that is logged.": "Niveau minimal consigné dans le journal.",
    "json for machines, console for people.": "json pour les machines, console pour les humains.",
    "embedded: `serve` does the work too. none: it only answers, `wecom-sync worker` works.": (
        "embedded : `serve` fait aussi le travail. none : il ne fait que répondre, `wecom-sync worker` travaille."
    ),
    "true: /metrics needs no token.": "true : /metrics ne demande pas de jeton.",
    "Hosts, addresses and networks, comma-separated, to which webhooks may be sent though they are not public, such as "
    "10.0.0.0/8,hooks.lan.": (
        "Hôtes, adresses et réseaux non publics, séparés par des virgules, vers lesquels les webhooks peuvent "
        "partir, comme 10.0.0.0/8,hooks.lan."
    ),
}

TEXTS = {"zh-CN": ZH, "fr": FR}
