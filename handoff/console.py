from sanic import Blueprint
console=Blueprint("console", url_prefix="/console")
