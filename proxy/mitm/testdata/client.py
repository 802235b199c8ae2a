# Usage: client.py CA_PEM (PORT NAME)... ; prints "ok" or "refused: why" for each.
import socket
import ssl
import sys

ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ctx.verify_flags |= ssl.VERIFY_X509_STRICT
ctx.load_verify_locations(cafile=sys.argv[1])
for port, name in zip(sys.argv[2::2], sys.argv[3::2]):
    try:
        with socket.create_connection(("127.0.0.1", int(port)), timeout=20) as raw:
            with ctx.wrap_socket(raw, server_hostname=name):
                print("ok", flush=True)
    except ssl.SSLCertVerificationError as e:
        print("refused:", str(e).replace("\n", " "), flush=True)
