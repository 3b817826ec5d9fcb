"""Serves a SavedModel over HTTP, at the paths of TensorFlow Serving."""

from affwild_omg.cli import app
from affwild_omg.cli.errors import UserError
from affwild_omg.serving.options import ServerOptions


@app.command(ServerOptions)
def main(options: ServerOptions) -> None:
    try:
        from affwild_omg.serving import server
    except ModuleNotFoundError as error:
        if error.name.startswith("affwild_omg"):
            raise
        raise UserError(
            f"{error.name} is not installed; "
            "pip install 'affwild_omg[serve]' brings what a server needs"
        ) from error
    server.run(options)


if __name__ == "__main__":
    main()
