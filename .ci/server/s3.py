"""moto's S3, which answers one request after the other.

Moto looks whether an object is there, and makes it, in two steps: of two who create it at the same moment both may
hear that they did, where S3 promises that one does.
"""

import threading

from moto import server


class OneAtATime(server.DomainDispatcherApplication):
    """The server's application behind a lock."""

    turn = threading.Lock()

    def __call__(self, environ, start_response):
        with self.turn:
            return [b"".join(super().__call__(environ, start_response))]


server.DomainDispatcherApplication = OneAtATime
server.main()
