"""Verifying, decrypting and parsing one callback: ours against wechatpy's.

    python -m benchmarks.decrypt [--rounds 15] [--events 500]

Both verify the signature, decrypt, check the receiver and parse the outer and the inner XML. They take turns round by
round, and the fastest round of each counts, which other load on the machine disturbs least.
"""

import argparse
import json
import time
from collections.abc import Callable

from wechatpy.enterprise.crypto import WeChatCrypto
from wechatpy.enterprise.parser import parse_message

from app.core.ports import CallbackPair
from app.simulator import Company, render
from app.simulator.crypto import encrypt, sign
from app.sources.kinds import KINDS

TOKEN, AES_KEY = "benchmark", "6qkdMrq68nTKduznJYO1A37W2oEgpkMUvkttRToqhUt"

Callback = tuple[dict[str, str], bytes]


def callbacks(company: Company, number: int) -> list[Callback]:
    """Authentic callbacks about people who join."""
    made = []
    for count in range(number):
        event = company.join(f"user{count:06}", "张三", (1,))[0]
        sealed = encrypt(AES_KEY, render(event, company.corp_id, "ids").encode(), company.corp_id)
        query = {"msg_signature": sign(TOKEN, "1700000000", "42", sealed), "timestamp": "1700000000", "nonce": "42"}
        envelope = (
            f"<xml><ToUserName><![CDATA[{company.corp_id}]]></ToUserName><Encrypt><![CDATA[{sealed}]]></Encrypt></xml>"
        )
        made.append((query, envelope.encode()))
    return made


def ours(company: Company) -> Callable[[Callback], object]:
    """What our callback route does with a request before it stores it."""
    listener, pairs = KINDS["wecom"].listener, [CallbackPair(TOKEN, AES_KEY, company.corp_id)]
    return lambda one: listener.receive(pairs, one[0], one[1])


def theirs(company: Company) -> Callable[[Callback], object]:
    """The same by wechatpy."""
    crypto = WeChatCrypto(TOKEN, AES_KEY, company.corp_id)

    def receive(one: Callback) -> object:
        query = one[0]
        xml = crypto.decrypt_message(one[1], query["msg_signature"], query["timestamp"], query["nonce"])
        return parse_message(xml)

    return receive


def seconds(receive: Callable[[Callback], object], told: list[Callback]) -> float:
    """CPU time for all of them."""
    began = time.process_time()
    for one in told:
        receive(one)
    return time.process_time() - began


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--events", type=int, default=500)
    arguments = parser.parse_args()
    company = Company()
    told = callbacks(company, arguments.events)
    sides = {"ours": ours(company), "wechatpy": theirs(company)}
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(arguments.rounds):
        for name, receive in sides.items():
            best[name] = min(best[name], seconds(receive, told))
    micro = {name: round(took / arguments.events * 1e6, 1) for name, took in best.items()}
    print(
        json.dumps(
            {"microseconds_per_event": micro, "ours_to_wechatpy": round(best["ours"] / best["wechatpy"], 2)}, indent=2
        )
    )


if __name__ == "__main__":
    main()
