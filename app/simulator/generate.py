"""A company out of a seed: departments, people with Chinese names, leaders, tags; up to a million people."""

from __future__ import annotations

import random
import re
from typing import Any

from app.simulator.company import DEPTH, FIRST_ORDER, Company
from app.simulator.records import ROOT, Department, Membership, Op, Tag, User

DIGITS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_PAIR = re.compile(r"([^a-z ]+)([a-z]+)")
SURNAMES = _PAIR.findall(
    "王wang李li张zhang刘liu陈chen杨yang黄huang赵zhao吴wu周zhou徐xu孙sun马ma朱zhu胡hu郭guo何he林lin高gao罗luo郑zheng"
    "梁liang谢xie宋song唐tang许xu韩han邓deng冯feng曹cao彭peng曾zeng肖xiao田tian董dong潘pan袁yuan蔡cai蒋jiang余yu于yu"
    "杜du叶ye程cheng魏wei苏su吕lv丁ding任ren卢lu姚yao沈shen钟zhong欧阳ouyang司马sima上官shangguan诸葛zhuge慕容murong"
)
GIVEN = _PAIR.findall(
    "伟wei芳fang娜na敏min静jing丽li强qiang磊lei军jun洋yang勇yong艳yan杰jie娟juan涛tao明ming超chao秀xiu霞xia平ping"
    "刚gang桂gui英ying华hua玉yu兰lan红hong建jian文wen辉hui力li鹏peng飞fei波bo斌bin宇yu浩hao凯kai健jian俊jun帆fan"
    "雪xue婷ting雨yu晨chen欣xin佳jia怡yi梦meng思si子zi轩xuan涵han睿rui泽ze嘉jia"
)
RARE = (
    "阿卜杜拉·买买提",
    "𠮷田太郎",
    "Zoë Müller",
    "O'Neill & Söhne <test>",
    "䶮䶮",
    "김민준",
    "赵 一 曼",
    "Ахметов Ержан",
)
AREAS = ("华东", "华南", "华北", "西南", "西北", "东北", "华中", "海外", "北京", "上海", "广州", "深圳", "成都", "武汉")
TRADES = (
    "研发",
    "销售",
    "市场",
    "财务",
    "人力资源",
    "法务",
    "客服",
    "运维",
    "产品",
    "设计",
    "采购",
    "物流",
    "质量",
    "行政",
)
UNITS = ("中心", "部", "组", "处", "科", "团队")
TITLES = ("工程师", "高级工程师", "经理", "总监", "主管", "专员", "助理", "顾问", "分析师", "实习生", "")
CITIES = ("广州市海珠区", "北京市海淀区", "上海市浦东新区", "深圳市南山区", "")


def generate_company(users: int = 500, departments: int = 40, seed: int = 1, *, corp_id: str | None = None) -> Company:
    """A company of so many people and departments (root included), the same for the same arguments.

    `users` 0 to 1,000,000, `departments` 1 to 30,000 (WeCom's cap); 20,000 people a department at most, so that none
    grows over the 30,000 that one answer may hold. Raises ValueError outside of that.
    """
    if not (0 <= users <= 1_000_000 and 1 <= departments <= 30_000 and users <= 20_000 * departments):
        raise ValueError("at most 1,000,000 people, 30,000 departments, and 20,000 people a department on average")
    dice = random.Random(seed)
    company = Company(
        corp_id or f"ww{dice.getrandbits(64):016x}",
        "示例科技有限公司",
        app_secret="".join(dice.choices(DIGITS, k=43)),
        contacts_secret="".join(dice.choices(DIGITS, k=43)),
    )
    with company.quiet():
        _departments(company, departments, dice)
        _people(company, users, dice)
        _tags(company, dice)
    return company


def person(dice: random.Random) -> tuple[str, str]:
    """A name and a userid made of it (not unique)."""
    parts = [dice.choice(SURNAMES), *(dice.choice(GIVEN) for _ in range(2 if dice.random() < 0.7 else 1))]
    return "".join(part[0] for part in parts), "".join(part[1] for part in parts)


def _departments(company: Company, count: int, dice: random.Random) -> None:
    """Half of them hang below one of the latest, so that a large company reaches all fifteen levels."""
    depth = {ROOT: 1}
    children = {ROOT: 0}
    for id in range(ROOT + 1, count + 1):
        parent = dice.randrange(max(1, id - 6), id) if dice.random() < 0.5 else dice.randrange(1, id)
        while depth[parent] >= DEPTH:
            parent = company.records.departments[parent].parent
        name = dice.choice(AREAS) + dice.choice(TRADES) + dice.choice(UNITS) + str(id)
        order = FIRST_ORDER - 1000 * children[parent]
        depth[id], children[id] = depth[parent] + 1, 0
        children[parent] += 1
        english = f"Department {id}" if dice.random() < 0.3 else ""
        company.records.apply(Op("department", id, Department(id, name, parent, order, english)))
    company.next_department = count + 1


def _people(company: Company, count: int, dice: random.Random) -> None:
    ids = list(company.records.departments)
    bosses: dict[int, str] = {}
    alone = {id: (Membership(id),) for id in ids}
    for number in range(count):
        home = ids[number] if number < len(ids) else ids[int(dice.random() * len(ids))]
        places = alone[home] if dice.random() < 0.8 else _several(home, ids, dice)
        name, userid = person(dice)
        userid = _styled(userid, number, dice)
        if home not in bosses and dice.random() < 0.9:
            places = (places[0]._replace(leader=True), *places[1:])
            superior = bosses.get(company.records.departments[home].parent)
            bosses[home] = userid
        else:
            superior = bosses.get(home)
        user = _person(userid, name, places, superior, number, dice)
        company.records.apply(Op("user", user.key, user))


def _several(home: int, ids: list[int], dice: random.Random) -> tuple[Membership, ...]:
    others = dice.choices(ids, k=dice.choice((0, 1, 1, 2)))
    places = [home, *(id for id in dict.fromkeys(others) if id != home)]
    return tuple(Membership(id, dice.choice((0, 1, 100, 2**31, 2**32 - 1)), dice.random() < 0.05) for id in places)


def _styled(userid: str, number: int, dice: random.Random) -> str:
    style = int(dice.random() * 6)
    plain = f"{userid}{number}"
    return (plain, plain.capitalize(), f"{userid}.{number}", f"U{number:07d}", f"{userid}_{number}", f"{plain}@x")[
        style
    ]


def _person(
    userid: str, name: str, places: tuple[Membership, ...], superior: str | None, number: int, dice: random.Random
) -> User:
    chance = dice.random()
    return User(
        userid=userid,
        name=RARE[number % len(RARE)] if chance < 0.01 else name,
        memberships=places,
        main_department=None if 0.3 < chance < 0.33 else places[0].department,
        position=TITLES[int(dice.random() * len(TITLES))],
        mobile=f"13{number * 7919 % 10**9:09d}" if chance < 0.97 else f"+8526{number:07d}",
        gender="012"[int(dice.random() * 3)],
        email=f"{userid.replace('@', '-').lower()}@example.com" if chance < 0.6 else "",
        biz_mail=f"m{number}@example.wecom.work",
        direct_leaders=(superior,) if superior else (),
        avatar=f"https://wework.qpic.cn/wwpic/{number}/0" if chance < 0.5 else "",
        telephone=f"020-{number:08d}" if 0.4 < chance < 0.5 else "",
        alias=name[-1] + "哥" if 0.5 < chance < 0.55 else "",
        status=_status(dice.random()),
        address=CITIES[int(dice.random() * len(CITIES))],
        extattrs=_extattrs(number) if 0.7 < chance < 0.85 else (),
    )


def _status(chance: float) -> int:
    return 1 if chance < 0.85 else 4 if chance < 0.95 else 2 if chance < 0.98 else 5


def _extattrs(number: int) -> tuple[dict[str, Any], ...]:
    text = {"type": 0, "name": "爱好", "text": {"value": ("旅游", "摄影", "跑步", "")[number % 4]}}
    web = {"type": 1, "name": "主页", "web": {"url": f"https://example.com/{number}", "title": "个人主页"}}
    return (text, web) if number % 3 else (text,)


def _tags(company: Company, dice: random.Random) -> None:
    keys, ids = list(company.records.users), list(company.records.departments)
    for number, name in enumerate(("党员", "篮球俱乐部", "管理层"), start=1):
        people = frozenset(dice.sample(keys, min(len(keys), 12)))
        company.records.apply(
            Op("tag", number, Tag(number, name, people, frozenset(dice.sample(ids, min(len(ids), 1)))))
        )
