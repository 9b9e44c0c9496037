"""A simulated WeCom (企业微信): a company, its API with all its refusals, and its callbacks, to test software with.

It stands beside the service and shares no code with it, so that one mistake cannot hide on both sides.
"""

from app.simulator.callbacks import Receiver, Saved
from app.simulator.company import Company, CompanyError
from app.simulator.events import Event, render
from app.simulator.faults import Fault
from app.simulator.generate import generate_company
from app.simulator.permissions import SENSITIVE, Credential, Range
from app.simulator.records import Department, Membership, Tag, User
from app.simulator.server import run, running
from app.simulator.settings import DeliverySettings, SimulatorSettings
from app.simulator.simulator import Simulator, create_simulator

__all__ = [
    "SENSITIVE",
    "Company",
    "CompanyError",
    "Credential",
    "DeliverySettings",
    "Department",
    "Event",
    "Fault",
    "Membership",
    "Range",
    "Receiver",
    "Saved",
    "Simulator",
    "SimulatorSettings",
    "Tag",
    "User",
    "create_simulator",
    "generate_company",
    "render",
    "run",
    "running",
]
