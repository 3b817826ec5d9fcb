"""Serves a SavedModel over HTTP, at the paths of TensorFlow Serving."""

from affwild_omg.cli import app
from affwild_omg.cli.errors import UserError
from affwild_omg.serving.options import ServerOptions


@app.command(ServerOptions)
def main(options: ServerOptions) -> None:
    extra = "cluster" if options.replicas else "serve"
    try:
        if extra == "cluster":
            from affwild_omg.serving import cluster as server
        else:
            from affwild_omg.serving import server
    except ModuleNotFoundError as error:
        if error.name.startswith("affwild_omg"):
            raise
        raise UserError(
            f"{error.name} is not installed; "
            f"pip install 'affwild_omg[{extra}]' brings what a server needs"
        ) from error
    server.run(options)


if __name__ == "__main__":
    main()
