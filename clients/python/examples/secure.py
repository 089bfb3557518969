"""Connects with TLS, with a client certificate, with an API key: `secure.py CA CERT KEY`."""

import sys

import dashgate


def main(ca: str, certificate: str, key: str) -> None:
    # region tls
    # The system's root certificates, and an API key.
    remote = dashgate.Client("https://gate.example:443", api_key="...")
    # Own root certificates, and a client certificate for mutual TLS.
    tls = dashgate.TLS(ca=ca, certificate=certificate, key=key)
    mutual = dashgate.Client("gate.example:50051", tls=tls)
    # A sidecar.
    sidecar = dashgate.Client("unix:/run/dashgate.sock")
    # endregion
    for client in (remote, mutual, sidecar):
        print(client)
        client.close()


if __name__ == "__main__":
    main(*sys.argv[1:4])
