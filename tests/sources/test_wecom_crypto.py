"""The vectors of WeCom's own samples, and everything a stranger may send instead."""

import base64
import os
import tracemalloc
from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.ports import CallbackPair, CallbackRefused
from app.sources.wecom.crypto import CANONICAL_LAST, decrypt, encrypt, fresh_pair, open_message, signature
from app.sources.wecom.listener import WeComListener

A = CallbackPair(
    "hJqcu3uJ9Tn2gXPmxx2w9kkCkCE2EPYo", "6qkdMrq68nTKduznJYO1A37W2oEgpkMUvkttRToqhUt", "ww1436e0e65a779aee"
)
B = CallbackPair("QDG6eK", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C", "wx5823bf96d3bd56c7")
E = CallbackPair("123456", "kWxPEV2UEDyxWpmPdKC3F4dgPDmOvfKX1HGnEUDS1aR", "wx49f0ab532d5d035a")

A1 = {
    "msg_signature": "012bc692d0a58dd4b10f8dfe5c4ac00ae211ebeb",
    "timestamp": "1476416373",
    "nonce": "47744683",
    "echostr": "fsi1xnbH4yQh0+PJxcOdhhK6TDXkjMyhEPA7xB2TGz6b+g7xyAbEkRxN/3cNXW9qdqjnoVzEtpbhnFyq6SVHyA==",
}
A2 = {"msg_signature": "0c3914025cb4b4d68103f6bfc8db550f79dcf48e", "timestamp": "1476422779", "nonce": "1597212914"}
A2_ENCRYPT = (
    "Kl7kjoSf6DMD1zh7rtrHjFaDapSCkaOnwu3bqLc5tAybhhMl9pFeK8NslNPVdMwmBQTNoW4mY7AIjeLvEl3NyeTkAgGzBhzTtRLNshw2AEew+kkY"
    "cD+Fq72Kt00fT0WnN87hGrW8SqGc+NcT3mu87Ha3dz1pSDi6GaUA6A0sqfde0VJPQbZ9U+3JWcoD4Z5jaU0y9GSh010wsHF8KZD24YhmZH4ch4Ka"
    "7ilEbjbfvhKkNL65HHL0J6EYJIZUC2pFrdkJ7MhmEbU2qARR4iQHE7wy24qy0cRX3Mfp6iELcDNfSsPGjUQVDGxQDCWjayJOpcwocugux082f49H"
    "KYg84EpHSGXAyh+/oxwaWbvL6aSDPOYuPDGOCI8jmnKiypE+"
)
A2_XML = (
    "<xml><ToUserName>ww1436e0e65a779aee</ToUserName><FromUserName>ChenJiaShun</FromUserName>"
    "<CreateTime>1476422779</CreateTime><MsgType>text</MsgType><Content>你好</Content>"
    "<MsgId>1456453720</MsgId><AgentID>1000002</AgentID></xml>"
)
B_QUERY = {
    "msg_signature": "477715d11cdb4164915debcba66cb864d751f3e6",
    "timestamp": "1409659813",
    "nonce": "1372623149",
}
B_ENCRYPT = (
    "RypEvHKD8QQKFhvQ6QleEB4J58tiPdvo+rtK1I9qca6aM/wvqnLSV5zEPeusUiX5L5X/0lWfrf0QADHHhGd3QczcdCUpj911L3vg3W/sYYvuJTs3"
    "TUUkSUXxaccAS0qhxchrRYt66wiSpGLYL42aM6A8dTT+6k4aSknmPj48kzJs8qLjvd4Xgpue06DOdnLxAUHzM6+kDZ+HMZfJYuR+LtwGc2hgf5gs"
    "ijff0ekUNXZiqATP7PF5mZxZ3Izoun1s4zG4LUMnvw2r+KqCKIw+3IQH03v+BCA9nMELNqbSf6tiWSrXJB3LAVGUcallcrw8V2t9EL4EhzJWrQUa"
    "x5wLVMNS0+rUPA3k22Ncx4XXZS9o0MBH27Bo6BpNelZpS+/uh9KsNlY6bHCmJU9p8g7m3fVKn28H3KDYA5Pl/T8Z1ptDAVe0lXdQ2YoyyH2uyPIG"
    "HBZZIs2pDBS8R07+qN+E7Q=="
)
D_QUERY = {
    "msg_signature": "e3647471e395139e2308c1fa963f2d648a00b90e",
    "timestamp": "1409659813",
    "nonce": "1372623149",
}
D_ENCRYPT = (
    "cjhLUX7UU4yCSelv1vz7T0zT8huF51bAMVWriNvO1FMegHrQZNrtvRxbwf0fUPsFvwqR0U0fgiJNEA5Y30F2MoI2S7vv3EjVQ68C0cjw9frBoUE2"
    "Hj0BvFp9h3u6Vbsg4lc1C8AtHdaN8orKuNKkLRLuYEL52R1J3v8olJGZRLnRdVKIivixmX/eQpzgeExtp20jI1HxRP1AAZ6xZoILdqDPO549LO4W"
    "eG+685JRUTdiwcY5fjZlqeMxuT4PpMn1X9OWsS7NRj06Wa5E3Tvg4twjWp39KPfOdRte6P1T4JU="
)
E1 = {
    "msg_signature": "dd6b9c95b495b3f7e2901bfbc76c664930ffdb96",
    "timestamp": "1411443780",
    "nonce": "437374425",
    "echostr": "4ByGGj+sVCYcvGeQYhaKIk1o0pQRNbRjxybjTGblXrBaXlTXeOo1+bXFXDQQb1o6co6Yh9Bv41n7hOchLF6p+Q==",
}
S0 = {
    "msg_signature": "a5c76e46138f68d40523c4047e045343b50612cd",
    "timestamp": "1403610513",
    "nonce": "1372623149",
    "echostr": "scEag1243Fmy/fYz4Ux8Dy4Qg50XFRDoSNetcJ8NS3lOVK0lfYlKHRDz0veeQZi4TMviRnAxJXn2Mo9pMpUamg==",
}
S2 = {"msg_signature": "3aae65e17b4a67e72710212c206a46ac0359fb97", "timestamp": "1403610513", "nonce": "1372623149"}
S2_ENCRYPT = (
    "scEag1243Fmy/fYz4Ux8D+kyQZ11Zk0ohATRG2pCmcfU3dyTb1DfHKnX/SX+VJV6Qt3FtOVyVXwNYn17DOhKN6IVDcGmGxogWICPCJCUNicQugGY"
    "Qf+FKmzLI/wzUz0EGGDLVvr7dhNuxIyCTYpcBxuiRB30OSZXkzgJGw49XaEHNsvGAljOkh92gnUto937rzVQVAaDbRF6rFAEd2FioYu/JxrMS5Cp"
    "jeLiHc01cu+rvyw3Ook3DSeAq59MbmkyHfEDCeBKJUdMyy8+LBy+c8vXChlasvtpfY045SCNoOiRTub1Yb6ntOlFHcxefs/FrQFGQoJnmVEvfJsv"
    "MsYmD5uKWoXnqSqqxpPiB60CmEpxheNpJN517umZ4/G1aATDQVpB/giPpzBkQQJfsSwgXupDaAWCuhyGmcIfBBhE+ao="
)

listener = WeComListener()


def envelope(encrypted: str) -> bytes:
    return f"<xml><ToUserName><![CDATA[w]]></ToUserName><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>".encode()


def signed(pair: CallbackPair, encrypted: str, **more: str) -> dict[str, str]:
    return {"msg_signature": signature(pair.token, "1", "2", encrypted), "timestamp": "1", "nonce": "2", **more}


def refusal(call: object, *args: object) -> tuple[int, str]:
    with pytest.raises(CallbackRefused) as refused:
        call(*args)
    return refused.value.status, refused.value.code


@pytest.mark.parametrize(
    ("pair", "query", "plain"),
    [(A, A1, b"1288432023552776189"), (E, E1, b"5927782489442352469"), (A, S0, b"1616140317555161061")],
    ids=["A1", "E1", "S0"],
)
def test_the_echo_of_a_verification_is_its_decrypted_bytes(pair: CallbackPair, query: dict, plain: bytes) -> None:
    assert listener.verify([pair], query) == (plain, 0)


@pytest.mark.parametrize(
    ("pair", "query", "encrypted", "content"),
    [
        (A, A2, A2_ENCRYPT, A2_XML),
        (B, B_QUERY, B_ENCRYPT, "<Content><![CDATA[hello]]></Content>"),
        (A, S2, S2_ENCRYPT, "<ChangeType><![CDATA[delete_party]]></ChangeType><Id>2</Id>"),
    ],
    ids=["A2", "B", "S2"],
)
def test_a_posted_message_is_decrypted(pair: CallbackPair, query: dict, encrypted: str, content: str) -> None:
    event, index = listener.receive([pair], query, envelope(encrypted))
    assert content in event.payload
    assert index == 0


def test_the_sample_in_json_is_authentic_but_no_xml() -> None:
    assert b'"FromUserName": :mycreate"' in decrypt(A, D_ENCRYPT)
    assert refusal(listener.receive, [A], D_QUERY, envelope(D_ENCRYPT)) == (400, "callback.not_envelope")


def test_the_sample_in_json_names_another_receiver_than_its_envelope() -> None:
    other = CallbackPair(A.token, A.encoding_aes_key, "wx5823bf96d3bd56c7")
    assert refusal(listener.receive, [other], D_QUERY, envelope(D_ENCRYPT)) == (403, "callback.refused")


def test_another_nonce_breaks_the_signature() -> None:
    assert refusal(listener.verify, [E], E1 | {"nonce": "437374424"}) == (403, "callback.refused")


@pytest.mark.parametrize("name", ["msg_signature", "timestamp", "nonce", "echostr"])
def test_a_missing_parameter_is_refused(name: str) -> None:
    assert refusal(listener.verify, [A], {k: v for k, v in A1.items() if k != name}) == (403, "callback.refused")


@pytest.mark.parametrize("name", ["msg_signature", "timestamp", "nonce"])
def test_a_missing_parameter_is_refused_before_the_body_is_read(name: str) -> None:
    query = {k: v for k, v in A2.items() if k != name}
    assert refusal(listener.receive, [A], query, b"\xff") == (403, "callback.refused")


def test_the_signature_is_lower_case_hex_and_nothing_else() -> None:
    assert refusal(listener.verify, [A], A1 | {"msg_signature": A1["msg_signature"].upper()})[0] == 403
    assert refusal(listener.verify, [A], A1 | {"msg_signature": ""})[0] == 403
    assert refusal(listener.verify, [A], A1 | {"msg_signature": "\udcff漢"})[0] == 403


def test_the_signature_picks_the_pair() -> None:
    pairs = [B, E, A]
    assert listener.verify(pairs, A1) == (b"1288432023552776189", 2)
    assert listener.receive(pairs, B_QUERY, envelope(B_ENCRYPT))[1] == 0
    assert refusal(listener.verify, [B, E], A1) == (403, "callback.refused")
    assert refusal(listener.verify, [], A1) == (403, "callback.refused")


def test_two_pairs_may_share_a_token() -> None:
    renewed = CallbackPair(A.token, B.encoding_aes_key, A.receiver)
    assert listener.verify([renewed, A], A1) == (b"1288432023552776189", 1)


def test_wrong_token_key_and_receiver_look_the_same() -> None:
    encrypted = encrypt(A, b"hello")
    for pair in (
        CallbackPair("other", A.encoding_aes_key, A.receiver),
        CallbackPair(A.token, B.encoding_aes_key, A.receiver),
        CallbackPair(A.token, A.encoding_aes_key, "wwother"),
        CallbackPair(A.token, A.encoding_aes_key, ""),
        CallbackPair(A.token, "short", A.receiver),
    ):
        assert refusal(listener.verify, [pair], signed(A, encrypted, echostr=encrypted)) == (403, "callback.refused")


@pytest.mark.parametrize("length", range(201))
def test_every_length_comes_back(length: int) -> None:
    message = os.urandom(length)
    encrypted = encrypt(A, message)
    assert listener.verify([A], signed(A, encrypted, echostr=encrypted)) == (message, 0)


def test_the_key_may_differ_in_its_spare_bits() -> None:
    """Only the upper four bits of the 43rd character count."""
    sibling = CallbackPair(A.token, A.encoding_aes_key[:-1] + "s", A.receiver)
    assert A.encoding_aes_key[-1] == "t"
    assert decrypt(sibling, encrypt(A, b"hello")) == b"hello"


def raw_ciphertext(plain: bytes) -> str:
    key = base64.b64decode(A.encoding_aes_key + "=")
    encryptor = Cipher(algorithms.AES(key), modes.CBC(key[:16])).encryptor()
    return base64.b64encode(encryptor.update(plain) + encryptor.finalize()).decode()


RECEIVER = A.receiver.encode()


@pytest.mark.parametrize(
    "plain",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(bytes(16), id="pad 0"),
        pytest.param(b"\x21" * 48, id="pad 33"),
        pytest.param(b"\x20" * 32, id="only padding"),
        pytest.param(bytes(16) + b"\x00\x00\x00\x02hi" + RECEIVER + b"\x01" * 7 + b"\x08", id="unequal padding"),
        pytest.param(bytes(16) + b"\xff\xff\xff\xffhi" + RECEIVER + b"\x08" * 8, id="too long a length"),
        pytest.param(bytes(16) + b"\x00\x00\x00\x15hi" + RECEIVER + b"\x08" * 8, id="length into the padding"),
        pytest.param(bytes(16) + b"\x00\x00\x00\x01hi" + RECEIVER + b"\x08" * 8, id="length too short by one"),
        pytest.param(bytes(12) + b"\x04" * 4, id="shorter than its head"),
    ],
)
def test_a_malformed_plaintext_is_refused(plain: bytes) -> None:
    encrypted = raw_ciphertext(plain)
    assert refusal(listener.verify, [A], signed(A, encrypted, echostr=encrypted)) == (403, "callback.refused")


def test_the_malformed_plaintexts_differ_from_a_good_one_in_one_thing() -> None:
    assert decrypt(A, raw_ciphertext(bytes(16) + b"\x00\x00\x00\x02hi" + RECEIVER + b"\x08" * 8)) == b"hi"


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e[:-4],
        lambda e: e + "=",
        lambda e: e + "====",
        lambda e: e.replace("+", "-"),
        lambda e: e[:8] + "\n" + e[8:],
        lambda e: "漢" + e,
        lambda e: e[:-2],
    ],
)
def test_base64_is_strict(change: object) -> None:
    encrypted = change(A2_ENCRYPT)
    assert refusal(listener.verify, [A], signed(A, encrypted, echostr=encrypted)) == (403, "callback.refused")


def test_a_plus_that_became_a_space_is_refused_here() -> None:
    """The caller parses the query so that a bare plus stays one."""
    assert refusal(listener.verify, [A], A1 | {"echostr": A1["echostr"].replace("+", " ")})[0] == 403


def test_fresh_credentials_have_wecoms_form_and_work() -> None:
    pairs = [fresh_pair("ww1") for _ in range(200)]
    assert len({pair.token for pair in pairs} | {pair.encoding_aes_key for pair in pairs}) == 400
    for pair in pairs:
        assert (len(pair.token), len(pair.encoding_aes_key)) == (32, 43)
        assert (pair.token + pair.encoding_aes_key).isalnum()
        assert pair.encoding_aes_key[-1] in CANONICAL_LAST
        assert base64.b64encode(base64.b64decode(pair.encoding_aes_key + "=")).decode() == pair.encoding_aes_key + "="
    assert decrypt(pairs[0], encrypt(pairs[0], b"hello")) == b"hello"


def test_secrets_are_not_in_a_printed_pair() -> None:
    assert A.token not in repr(A)
    assert A.encoding_aes_key not in repr(A)


texts = st.text(max_size=200)


@given(
    query=st.fixed_dictionaries(
        {}, optional={"msg_signature": texts, "timestamp": texts, "nonce": texts, "echostr": texts}
    )
)
def test_whatever_a_stranger_asks_is_refused(query: Mapping[str, str]) -> None:
    assert refusal(listener.verify, [A, B], query) == (403, "callback.refused")


@given(
    encrypted=st.text(alphabet=st.characters(codec=None), max_size=300)
    | st.binary(max_size=300).map(lambda b: base64.b64encode(b).decode())
)
def test_whatever_is_signed_is_decrypted_or_refused(encrypted: str) -> None:
    query = signed(A, encrypted)
    with pytest.raises(CallbackRefused):
        open_message([A], signed=query["msg_signature"], timestamp="1", nonce="2", encrypted=encrypted)


@given(body=st.binary(max_size=2000) | st.text().map(str.encode))
def test_whatever_a_stranger_posts_is_refused(body: bytes) -> None:
    assert refusal(listener.receive, [A], A2, body)[0] in (400, 403)


@settings(max_examples=300)
@given(content=st.text(alphabet="<>/!&;[]?=\"' axEncrypt\0\ud800", max_size=120))
def test_whatever_looks_like_xml_is_refused(content: str) -> None:
    body = f"<xml>{content}</xml>".encode("utf-8", "surrogatepass")
    assert refusal(listener.receive, [A], A2, body)[0] in (400, 403)


MEGABYTE = 1 << 20


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<xml>" + b"<a/>" * (MEGABYTE // 4) + b"</xml>", id="elements"),
        pytest.param(b"<a>" * (MEGABYTE // 3), id="nesting"),
        pytest.param(b"<xml>" + b"<a>" * 20 + b"</a>" * 20 + b"</xml>", id="a little nesting"),
        pytest.param(b"<xml " + b" ".join(b"a%d='1'" % n for n in range(80_000)) + b"/>", id="attributes"),
        pytest.param(b"<xml><Encrypt>" + b"A" * MEGABYTE + b"</Encrypt></xml>", id="ciphertext"),
        pytest.param(b"<xml><Encrypt>" + b"&lt;" * (MEGABYTE // 4) + b"</Encrypt></xml>", id="references"),
        pytest.param(b"<" + b"x" * MEGABYTE + b"/>", id="name"),
        pytest.param(b"<xml><!--" + b"-" * MEGABYTE, id="comment"),
    ],
)
def test_a_megabyte_of_anything_costs_a_few_megabytes(body: bytes) -> None:
    tracemalloc.start()
    try:
        status, _ = refusal(listener.receive, [A], A2, body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert status in (400, 403)
    assert peak < 12 * MEGABYTE


LAUGHS = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><xml><Encrypt>&b;</Encrypt></xml>'


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{}", id="json"),
        pytest.param(b"<xml/>", id="no children"),
        pytest.param(b"<xml>text</xml>", id="only text"),
        pytest.param(b"<xml><A>1</A></xml>", id="no Encrypt"),
        pytest.param(b"<xml><Encrypt/></xml>", id="empty Encrypt"),
        pytest.param(b"<other><Encrypt>x</Encrypt></other>", id="another root"),
        pytest.param(b"<xml><Encrypt>x</Encrypt><Encrypt>x</Encrypt></xml>", id="two Encrypts"),
        pytest.param(b"<xml><Encrypt>x</Encrypt><encrypt>x</encrypt></xml>", id="two Encrypts in different case"),
        pytest.param(b"<xml><Encrypt><a/></Encrypt></xml>", id="Encrypt with children"),
        pytest.param(b"<!DOCTYPE xml><xml><Encrypt>x</Encrypt></xml>", id="DOCTYPE"),
        pytest.param(LAUGHS, id="entities"),
        pytest.param(b"<xml><Encrypt>&unknown;</Encrypt></xml>", id="unknown entity"),
        pytest.param(b"<xml><Encrypt>\xff</Encrypt></xml>", id="invalid UTF-8"),
        pytest.param(b"<xml><Encrypt>\x00</Encrypt></xml>", id="NUL"),
        pytest.param(b"<xml><Encrypt>&#0;</Encrypt></xml>", id="NUL by reference"),
        pytest.param("<?xml version='1.0' encoding='utf-16'?><xml/>".encode("utf-16"), id="UTF-16"),
        pytest.param(b"<xml><Encrypt>x</Encrypt></xml><xml/>", id="two documents"),
        pytest.param(b"<xml><Encrypt>x</Encrypt>", id="cut off"),
    ],
)
def test_what_is_not_the_envelope_is_refused_as_such(body: bytes) -> None:
    assert refusal(listener.receive, [A], A2, body) == (400, "callback.not_envelope")


def test_the_envelopes_names_attributes_and_order_do_not_matter() -> None:
    encrypted = f'<ENCRYPT a="b">{A2_ENCRYPT}</ENCRYPT>'
    body = f'\ufeff<?xml version="1.0" encoding="gbk"?><xml a="b"><AgentID/>{encrypted}</xml>'.encode()
    assert listener.receive([A], A2, body)[0].payload == A2_XML


def test_an_authentic_message_that_is_no_xml_is_refused() -> None:
    for message in (
        b"",
        b"\xff",
        b"<xml>" + b"<a>" * 17 + b"</a>" * 17 + b"</xml>",
        b"<!DOCTYPE xml><xml/>",
        b"<xml>\x00</xml>",
    ):
        encrypted = encrypt(A, message)
        assert refusal(listener.receive, [A], signed(A, encrypted), envelope(encrypted)) == (
            400,
            "callback.not_envelope",
        )


def test_a_mention_of_doctype_in_a_text_is_a_text() -> None:
    message = b"<xml><MsgType>text</MsgType><Content><![CDATA[<!DOCTYPE html>]]></Content></xml>"
    encrypted = encrypt(A, message)
    assert listener.receive([A], signed(A, encrypted), envelope(encrypted))[0].change_type == "text"
