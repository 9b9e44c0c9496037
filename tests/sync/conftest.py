from collections.abc import AsyncIterator

import pytest

from app.simulator import Company, Simulator, SimulatorSettings
from app.store.db import Database
from tests.sync.harness import Bench, bench

PEOPLE = 30


def small_company() -> Company:
    """研发 (2) with 前端 (3) under it, 销售 (4); thirty people p01 … p30 spread over them."""
    company = Company()
    with company.quiet():
        company.create_department("研发", id=2)
        company.create_department("前端", parent=2, id=3)
        company.create_department("销售", id=4)
        for number in range(1, PEOPLE + 1):
            company.join(f"p{number:02}", f"员工{number}", (2 + number % 3,), mobile=f"138000000{number:02}")
    return company


@pytest.fixture
def company() -> Company:
    return small_company()


@pytest.fixture
async def desk(database: Database, company: Company) -> AsyncIterator[Bench]:
    """A source with both secrets over the small company."""
    async with bench(database, Simulator(company, SimulatorSettings())) as made:
        yield made


@pytest.fixture
async def app_desk(database: Database, company: Company) -> AsyncIterator[Bench]:
    """A source with the app secret only, the root department in range."""
    async with bench(database, Simulator(company, SimulatorSettings()), contacts=False) as made:
        yield made
