"""The LDIF export: what a directory server would read out of it, by a reader of this test's own."""

import base64
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.ldif import WIDTH, escaped, is_dn, line
from app.store.tables import DepartmentRow, MembershipRow, UserRow
from tests.api.harness import Api, person, place

Entry = dict[str, list[str]]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=120)


def read(text: str) -> list[Entry]:
    """Entries of an LDIF file (RFC 2849), each attribute with its values in order."""
    entries: list[Entry] = [{}]
    for row in text.replace("\n ", "").split("\n"):
        if not row:
            entries += [{}] if entries[-1] else []
            continue
        name, rest = row.split(":", 1)
        value = base64.b64decode(rest[2:]).decode() if rest.startswith(": ") else rest.removeprefix(" ")
        entries[-1].setdefault(name, []).append(value)
    return [entry for entry in entries if entry and "dn" in entry]


def unescaped(value: str) -> str:
    """The value of one RDN (RFC 4514)."""
    out, rest = "", value
    while rest:
        if rest[0] == "\\" and rest[1] in string.hexdigits and rest[2:3] in string.hexdigits and rest[2:3]:
            out, rest = out + chr(int(rest[1:3], 16)), rest[3:]
        elif rest[0] == "\\":
            out, rest = out + rest[1], rest[2:]
        else:
            out, rest = out + rest[0], rest[1:]
    return out


@given(TEXT)
def test_any_value_is_read_as_it_was(value: str) -> None:
    written = line("cn", value)
    assert written.isascii()
    assert all(len(row) <= WIDTH for row in written.splitlines())
    [entry] = read(line("dn", "dc=x") + written)
    assert entry["cn"] == [value]


@given(TEXT)
def test_any_value_of_a_name_is_escaped(value: str) -> None:
    written = escaped(value)
    assert unescaped(written) == value
    assert not written.startswith(("#", " "))
    assert not set(',+"<>;') & set(unescaped_only(written))


def unescaped_only(written: str) -> str:
    """What stands in it without a backslash before it."""
    kept, skip = "", False
    for letter in written:
        kept += "" if skip or letter == "\\" else letter
        skip = letter == "\\" and not skip
    return kept


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("dc=example,dc=com", True),
        ("o=示例", True),
        ("", False),
        ("example", False),
        ("dc=a,", False),
        ("dc=a\ndn: b", False),
    ],
)
def test_a_base_is_a_distinguished_name(text: str, good: bool) -> None:
    assert is_dn(text) is good


async def company(api: Api) -> str:
    source_id: str = (await api.source())["id"]
    await api.insert(
        DepartmentRow,
        [
            place(source_id, 3, name="研发部", parent_id=2),
            place(source_id, 2, name="总部", parent_id=None),
            place(source_id, 4, name="研发部", parent_id=2),
            place(source_id, 5, name="old", parent_id=2, active=False),
        ],
    )
    rows = [
        person(
            source_id, "Zhang,San", name="张三", position="工程师", mobile="139", email="z@example.com", biz_mail=""
        ),
        person(source_id, "lisi", name="李四", direct_leaders=["Zhang,San"]),
        person(source_id, "gone", active=False),
    ]
    await api.insert(UserRow, rows)
    own = {"source_id": source_id, "department_id": 3}
    seats = [own | {"user_id": rows[0]["id"], "is_leader": True}, own | {"user_id": rows[1]["id"], "is_leader": False}]
    await api.insert(MembershipRow, seats)
    return source_id


async def exported(api: Api, **query: str) -> list[Entry]:
    answer = await api.client.get("/api/v1/export/directory.ldif", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/ldif; charset=utf-8"
    assert answer.text.startswith("version: 1\n\n")
    return read(answer.text)


async def test_departments_people_and_groups(api: Api) -> None:
    entries = await exported(api, source_id=await company(api), base_dn="dc=corp,dc=cn")
    by_dn = {entry["dn"][0]: entry for entry in entries}
    assert len(by_dn) == len(entries)
    top = "ou=2,ou=departments,dc=corp,dc=cn"
    assert by_dn[top]["ou"] == ["2", "总部"]
    assert by_dn[f"ou=3,{top}"]["description"] == ["总部 / 研发部"]
    assert by_dn[f"ou=4,{top}"]["ou"] == ["4", "研发部"]
    assert not any("old" in str(entry) or "gone" in str(entry) for entry in entries)
    zhang = by_dn["uid=Zhang\\,San,ou=people,dc=corp,dc=cn"]
    assert zhang["objectClass"] == ["inetOrgPerson"]
    assert (zhang["uid"], zhang["cn"], zhang["sn"]) == (["Zhang,San"], ["张三"], ["张三"])
    assert (zhang["mail"], zhang["mobile"], zhang["title"]) == (["z@example.com"], ["139"], ["工程师"])
    assert "telephoneNumber" not in zhang
    assert zhang["departmentNumber"] == ["3"]
    assert by_dn["uid=lisi,ou=people,dc=corp,dc=cn"]["manager"] == [zhang["dn"][0]]
    group = by_dn["cn=3,ou=groups,dc=corp,dc=cn"]
    assert sorted(group["member"]) == sorted(dn for dn in by_dn if dn.startswith("uid="))
    assert group["owner"] == zhang["dn"]
    assert "cn=4,ou=groups,dc=corp,dc=cn" not in by_dn


async def test_every_entry_comes_after_what_it_lies_in(api: Api) -> None:
    seen = {"dc=example,dc=com"}
    for entry in await exported(api, source_id=await company(api)):
        [dn] = entry["dn"]
        parent = dn.replace("\\,", "\0").split(",", 1)[1]
        assert parent in seen, dn
        assert all(member in seen for member in entry.get("member", []))
        seen.add(dn)


async def test_a_cycle_of_departments_ends(api: Api) -> None:
    source_id = (await api.source())["id"]
    await api.insert(DepartmentRow, [place(source_id, 6, parent_id=7), place(source_id, 7, parent_id=6)])
    found = await exported(api, source_id=source_id)
    assert len([entry for entry in found if entry["dn"][0].startswith(("ou=6", "ou=7"))]) == 2


async def test_bad_questions_are_named(api: Api) -> None:
    answer = await api.client.get("/api/v1/export/directory.ldif", params={"source_id": "src_x"})
    assert (answer.status_code, answer.json()["code"]) == (404, "source.not_found")
    query: dict[str, Any] = {"source_id": (await api.source())["id"], "base_dn": "nonsense"}
    answer = await api.client.get("/api/v1/export/directory.ldif", params=query)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/query/base_dn")


async def test_departments_as_sheets(api: Api) -> None:
    source_id = await company(api)
    rows = (await api.client.get("/api/v1/export/departments.csv", params={"source_id": source_id})).text.splitlines()
    assert rows[0].removeprefix("\ufeff").startswith("id,source_id,department_id,name,name_en,path,")
    assert [row.split(",")[5] for row in rows[1:]] == ["总部 / 研发部", "总部", "总部 / 研发部", "总部 / old"]
    listed = (await api.client.get("/api/v1/export/departments.json", params={"active": "true"})).json()
    assert listed == (await api.get("/departments", params={"active": "true"}))["items"]
