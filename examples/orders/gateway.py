"""The way in: takes orders over HTTP and passes them on, so that customers see one address.

POST /orders          201 once the order is safe; 400 if it is wrong; 503 if it may be sent again
GET  /orders/{id}     what has happened to an order
GET  /books           the books, for a reconciliation
GET  /ready           whether orders are taken from here, for a load balancer in front
"""

import json
import urllib.parse
import uuid

import common
from common import log


class Gateway:
    def __init__(self, orders, books):
        self.orders, self.books = orders, books

    def place(self, _path, _query, body):
        try:
            document = json.loads(body)
            # The id is what makes an order repeatable. A customer who does not choose one cannot repeat the
            # order, but every retry behind this line still can.
            if isinstance(document, dict):
                document.setdefault("id", str(uuid.uuid4()))
            order = common.validate(document)
        except (common.Invalid, ValueError, RecursionError) as error:
            return 400, {"error": str(error)}
        status, answer = self.ask(self.orders, "POST", "/orders", json.dumps(order).encode())
        log("order_answered", order=order["id"], status=status)
        return status, answer

    def look_up(self, path, _query, _body):
        if len(path) != 2:
            return 404, {"error": "GET /orders/{id}"}
        return self.ask(self.books, "GET", "/orders/" + urllib.parse.quote(path[1], safe=""))

    def read_books(self, _path, query, _body):
        return self.ask(self.books, "GET", "/books?" + urllib.parse.urlencode(query))

    def ready(self, _path, _query, _body):
        return self.ask(self.orders, "GET", "/flowing", within=0.9)

    def ask(self, upstream, method, path, body=None, within=10.0):
        try:
            return upstream.request(method, path, body, within)
        except common.Unreachable as error:
            log("upstream_unreachable", error=str(error))
            return 503, {"error": upstream.host + " did not answer in time"}


def main():
    stop = common.stop_on_signals()
    gateway = Gateway(
        common.Upstream(common.setting("ORDERS_ADDRESS", "orders:8080")),
        common.Upstream(common.setting("BOOKS_ADDRESS", "books:8080")),
    )
    common.serve(
        {
            ("POST", "orders"): gateway.place,
            ("GET", "orders"): gateway.look_up,
            ("GET", "books"): gateway.read_books,
            ("GET", "ready"): gateway.ready,
        }
    )
    log("started")
    stop.wait()
    log("stopped")


if __name__ == "__main__":
    main()
