from local.standins.control import parser, serve
from local.standins.shop.http import application

if __name__ == "__main__":
    serve(application(), parser("The stand-in of Shopify's shops.").parse_args().port)
