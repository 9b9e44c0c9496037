"""The companies that the tests read."""

from collections.abc import Callable

import pytest

from app.simulator import Company, Simulator
from tests.sources.world import World


@pytest.fixture
def world() -> World:
    """A company with the departments 1 > 2 > 3 and 1 > 4 and four people, all in the range of its app."""
    company = Company()
    with company.quiet():
        for number, name, parent in ((2, "研发中心", 1), (3, "产品部", 2), (4, "广州 分公司", 1)):
            company.create_department(name, parent=parent, id=number)
        company.join("ZhangSan", "张三", (2,), mobile="13800000000", position="工程师")
        company.join("lisi", "李四", (2, 3))
        company.join("wangwu", "王五", (4,))
        company.join("zhaoliu", "赵六", (1,))
    return World(Simulator(company))


@pytest.fixture
def make_world() -> Callable[[Company], World]:
    return lambda company: World(Simulator(company))
