"""WeCom's cryptography against published and independently computed vectors."""

import pytest

from app.simulator import crypto

SAMPLE = ("hJqcu3uJ9Tn2gXPmxx2w9kkCkCE2EPYo", "6qkdMrq68nTKduznJYO1A37W2oEgpkMUvkttRToqhUt", "ww1436e0e65a779aee")
PAGE = ("QDG6eK", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C", "wx5823bf96d3bd56c7")
WECHATPY = ("123456", "kWxPEV2UEDyxWpmPdKC3F4dgPDmOvfKX1HGnEUDS1aR", "wx49f0ab532d5d035a")
MESSAGE = (
    "<xml><ToUserName>ww1436e0e65a779aee</ToUserName><FromUserName>ChenJiaShun</FromUserName>"
    "<CreateTime>1476422779</CreateTime><MsgType>text</MsgType><Content>你好</Content><MsgId>1456453720</MsgId>"
    "<AgentID>1000002</AgentID></xml>"
)
DELETED = (
    "<xml><ToUserName><![CDATA[ww1436e0e65a779aee]]></ToUserName><FromUserName><![CDATA[sys]]></FromUserName>"
    "<CreateTime>1403610513</CreateTime><MsgType><![CDATA[event]]></MsgType><Event><![CDATA[change_contact]]></Event>"
    "<ChangeType><![CDATA[delete_party]]></ChangeType><Id>2</Id></xml>"
)
# Each: the parties, signature, timestamp, nonce, ciphertext, plaintext, the 16 bytes in front of it.
VECTORS = {
    "A1": (
        SAMPLE,
        "012bc692d0a58dd4b10f8dfe5c4ac00ae211ebeb",
        "1476416373",
        "47744683",
        "fsi1xnbH4yQh0+PJxcOdhhK6TDXkjMyhEPA7xB2TGz6b+g7xyAbEkRxN/3cNXW9qdqjnoVzEtpbhnFyq6SVHyA==",
        "1288432023552776189",
        "8908d0ff052afda0",
    ),
    "A2": (
        SAMPLE,
        "0c3914025cb4b4d68103f6bfc8db550f79dcf48e",
        "1476422779",
        "1597212914",
        "Kl7kjoSf6DMD1zh7rtrHjFaDapSCkaOnwu3bqLc5tAybhhMl9pFeK8NslNPVdMwmBQTNoW4mY7AIjeLvEl3NyeTkAgGzBhzTtRLNshw2AEew"
        "+kkYcD+Fq72Kt00fT0WnN87hGrW8SqGc+NcT3mu87Ha3dz1pSDi6GaUA6A0sqfde0VJPQbZ9U+3JWcoD4Z5jaU0y9GSh010wsHF8KZD24Yhm"
        "ZH4ch4Ka7ilEbjbfvhKkNL65HHL0J6EYJIZUC2pFrdkJ7MhmEbU2qARR4iQHE7wy24qy0cRX3Mfp6iELcDNfSsPGjUQVDGxQDCWjayJOpcwo"
        "cugux082f49HKYg84EpHSGXAyh+/oxwaWbvL6aSDPOYuPDGOCI8jmnKiypE+",
        MESSAGE,
        "694ce5a83ae07fe3",
    ),
    "E1": (
        WECHATPY,
        "dd6b9c95b495b3f7e2901bfbc76c664930ffdb96",
        "1411443780",
        "437374425",
        "4ByGGj+sVCYcvGeQYhaKIk1o0pQRNbRjxybjTGblXrBaXlTXeOo1+bXFXDQQb1o6co6Yh9Bv41n7hOchLF6p+Q==",
        "5927782489442352469",
        "2304fc2fe146f1f8",
    ),
    "S0": (
        SAMPLE,
        "a5c76e46138f68d40523c4047e045343b50612cd",
        "1403610513",
        "1372623149",
        "scEag1243Fmy/fYz4Ux8Dy4Qg50XFRDoSNetcJ8NS3lOVK0lfYlKHRDz0veeQZi4TMviRnAxJXn2Mo9pMpUamg==",
        "1616140317555161061",
        "0123456789abcdef",
    ),
    "S2": (
        SAMPLE,
        "3aae65e17b4a67e72710212c206a46ac0359fb97",
        "1403610513",
        "1372623149",
        "scEag1243Fmy/fYz4Ux8D+kyQZ11Zk0ohATRG2pCmcfU3dyTb1DfHKnX/SX+VJV6Qt3FtOVyVXwNYn17DOhKN6IVDcGmGxogWICPCJCUNicQ"
        "ugGYQf+FKmzLI/wzUz0EGGDLVvr7dhNuxIyCTYpcBxuiRB30OSZXkzgJGw49XaEHNsvGAljOkh92gnUto937rzVQVAaDbRF6rFAEd2FioYu/"
        "JxrMS5CpjeLiHc01cu+rvyw3Ook3DSeAq59MbmkyHfEDCeBKJUdMyy8+LBy+c8vXChlasvtpfY045SCNoOiRTub1Yb6ntOlFHcxefs/FrQFG"
        "QoJnmVEvfJsvMsYmD5uKWoXnqSqqxpPiB60CmEpxheNpJN517umZ4/G1aATDQVpB/giPpzBkQQJfsSwgXupDaAWCuhyGmcIfBBhE+ao=",
        DELETED,
        "0123456789abcdef",
    ),
}
PADDED_BY_30 = (
    "RypEvHKD8QQKFhvQ6QleEB4J58tiPdvo+rtK1I9qca6aM/wvqnLSV5zEPeusUiX5L5X/0lWfrf0QADHHhGd3QczcdCUpj911L3vg3W/sYYvuJTs3"
    "TUUkSUXxaccAS0qhxchrRYt66wiSpGLYL42aM6A8dTT+6k4aSknmPj48kzJs8qLjvd4Xgpue06DOdnLxAUHzM6+kDZ+HMZfJYuR+LtwGc2hgf5gs"
    "ijff0ekUNXZiqATP7PF5mZxZ3Izoun1s4zG4LUMnvw2r+KqCKIw+3IQH03v+BCA9nMELNqbSf6tiWSrXJB3LAVGUcallcrw8V2t9EL4EhzJWrQUa"
    "x5wLVMNS0+rUPA3k22Ncx4XXZS9o0MBH27Bo6BpNelZpS+/uh9KsNlY6bHCmJU9p8g7m3fVKn28H3KDYA5Pl/T8Z1ptDAVe0lXdQ2YoyyH2uyPIG"
    "HBZZIs2pDBS8R07+qN+E7Q=="
)


@pytest.mark.parametrize("name", VECTORS)
def test_each_published_vector_is_made_and_read_to_the_byte(name):
    (token, key, corp), signature, timestamp, nonce, encrypted, plain, front = VECTORS[name]
    assert crypto.sign(token, timestamp, nonce, encrypted) == signature
    assert crypto.decrypt(key, encrypted) == (plain.encode(), corp)
    assert crypto.encrypt(key, plain.encode(), corp, front.encode()) == encrypted


def test_a_padding_longer_than_a_cipher_block_is_read():
    token, key, corp = PAGE
    assert crypto.sign(token, "1409659813", "1372623149", PADDED_BY_30) == "477715d11cdb4164915debcba66cb864d751f3e6"
    message, receiver = crypto.decrypt(key, PADDED_BY_30)
    assert receiver == corp
    assert b"<Content><![CDATA[hello]]></Content>" in message


@pytest.mark.parametrize("length", range(70))
def test_every_length_comes_back(length):
    _, key, corp = SAMPLE
    assert crypto.decrypt(key, crypto.encrypt(key, b"x" * length, corp)) == (b"x" * length, corp)


def test_another_nonce_makes_another_signature():
    _, signature, timestamp, _, encrypted, _, _ = VECTORS["E1"]
    assert crypto.sign("123456", timestamp, "437374424", encrypted) != signature


@pytest.mark.parametrize("broken", ["", "%%%", "AAAA", PADDED_BY_30])
def test_what_this_key_did_not_encrypt_is_refused(broken):
    with pytest.raises(ValueError, match=r"base64|key|block length"):
        crypto.decrypt(SAMPLE[1], broken)


def test_each_encryption_differs():
    _, key, corp = SAMPLE
    assert crypto.encrypt(key, b"same", corp) != crypto.encrypt(key, b"same", corp)
