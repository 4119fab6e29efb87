from pathlib import Path

from local.standins.control import parser, serve
from local.standins.shop.http import application

if __name__ == "__main__":
    arguments = parser("The stand-in of Shopify's shops.")
    arguments.add_argument("--folder", type=Path, help="keeps the shops here until the next start")
    given = arguments.parse_args()
    serve(application(given.folder, f"http://127.0.0.1:{given.port}"), given.port)
