"""Addresses of cameras, receivers and requests, as people and browsers give them."""

from urllib.parse import SplitResult, urlsplit


def split_address(address: str) -> SplitResult:
    """The parts of an address; all of them empty if it is not valid, such as one with the port abc.

    >>> split_address("modbus://10.0.0.9:502/100").port, split_address("http://host:abc/").scheme
    (502, '')
    """
    try:
        parts = urlsplit(address)
        return parts if parts.port is None or parts.port else urlsplit("")
    except ValueError:
        return urlsplit("")


def host_and_port(parts: SplitResult, port: int) -> str:
    """Host and port of an address, by default this port.

    >>> host_and_port(split_address("opc.tcp://[fe80::1]"), 4840)
    '[fe80::1]:4840'
    """
    host = parts.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{parts.port or port}"


def without_secrets(address: str) -> str:
    """An address for messages, without user and password.

    >>> without_secrets("rtsp://admin:secret@10.0.0.5:554/one"), without_secrets("0")
    ('rtsp://10.0.0.5:554/one', '0')
    """
    scheme, mark, rest = address.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{mark}{place.rpartition('@')[2]}{slash}{path}" if mark else address
